// SPDX-License-Identifier: Apache-2.0
// What /metrics says, and that it is what happened.
#include "prometheus_text.hpp"
#include "support.hpp"

#include <chiral/slot.hpp>

namespace chiral::test {
namespace {

using wire::RequestType;

TEST(Http, MetricsOfARobotThatHasDoneNothingYet) {
    Served<HookedServer> served(one_small_camera(), {{"q", 2}});
    const RawClient::HttpAnswer answer = get(served->port(), "/metrics");
    EXPECT_EQ(field(answer, "Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
    const Metrics figures(answer.body);
    for (const auto& [kind, source] : {std::pair{"camera", "wrist"}, std::pair{"proprio", "q"}}) {
        EXPECT_EQ(figures.source("source_samples_total", kind, source), 0);
        EXPECT_EQ(figures.source("source_rate_hz", kind, source), 0);
        EXPECT_EQ(figures.source("source_age_seconds", kind, source), -1);
        EXPECT_EQ(figures.source("source_missed_total", kind, source), 0);
        EXPECT_EQ(figures.status(kind, source), "never");
    }
    for (const char* total : {"connections", "observations", "sent_bytes", "actions_received", "protocol_errors"})
        EXPECT_EQ(figures(std::string("chiral_") + total + "_total"), 0) << total;
    EXPECT_EQ(figures("chiral_clients"), 0);
    EXPECT_EQ(figures("chiral_action_latency_seconds_count"), 0);
}

TEST(Http, MetricsOfARobotWithoutSources) {
    Served<HookedServer> served(std::vector<CameraConfig>{});
    EXPECT_EQ(metrics(served->port())("chiral_observations_total"), 0);
}

TEST(Http, MetricsAgreeWithWhatHappened) {
    const auto gate = [](ServerOptions& options) {
        options.gate.dimension = 7;
        options.action_timeout = Duration::zero();
    };
    Served<HookedServer> served(one_small_camera(), {{"q", 2}}, gate);
    const std::vector<std::uint8_t> image(4 * 6 * 3, 1);
    const float sample[2] = {1, 2};
    std::uint64_t bytes = 0;
    RawClient client = served.connect();
    const auto observe = [&] {
        client.send(RequestType::obs_request);
        bytes += client.receive().payload.size();
    };
    // The first observation shows image 2 and sample 1; the second one image 7, so that it missed 3 to 6.
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(served->update_image(0, image.data(), image.size()).ok());
    ASSERT_TRUE(served->update_proprio(0, sample, 2).ok());
    observe();
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(served->update_image(0, image.data(), image.size()).ok());
    for (int i = 0; i < 3; ++i) observe();
    EXPECT_FALSE(served->update_image(0, image.data(), 5).ok());
    // An observer sees for itself, and misses nothing on the client's account.
    RawClient observer(served->port());
    ASSERT_EQ(observer.handshake("/observe").status, 101);
    observer.send(RequestType::obs_request);
    bytes += observer.receive().payload.size();

    for (int i = 0; i < 6; ++i) client.send(numbered_action(static_cast<float>(i)));
    for (int i = 0; i < 2; ++i) client.send(numbered_action(0, 3));
    ASSERT_TRUE(eventually([&] {
        const ServerStats stats = served->stats();
        return stats.actions_applied == 6 && stats.actions_rejected == 2 && stats.observations == 5;
    }));
    ASSERT_EQ(get(served->port(), "/nowhere").status, 426);
    client.send(bytes_of("no message"));
    EXPECT_EQ(client.receive_close().close_code(), 1007);
    RawClient next = served.connect_next();
    const std::uint64_t refused = served->stats().refused;
    RawClient third(served->port());
    ASSERT_EQ(third.handshake().status, 503);

    const Metrics figures = metrics(served->port());
    EXPECT_EQ(figures.source("source_samples_total", "camera", "wrist"), 7);
    EXPECT_EQ(figures.source("source_samples_total", "proprio", "q"), 1);
    EXPECT_EQ(figures.source("source_missed_total", "camera", "wrist"), 4);
    EXPECT_EQ(figures.source("source_missed_total", "proprio", "q"), 0);
    EXPECT_GE(figures.source("source_age_seconds", "camera", "wrist"), 0);
    EXPECT_EQ(figures("chiral_clients"), 1);
    EXPECT_EQ(figures("chiral_observers"), 1);
    EXPECT_EQ(figures("chiral_connections_total"), 2);
    EXPECT_EQ(figures("chiral_observer_connections_total"), 1);
    EXPECT_EQ(figures("chiral_refused_connections_total"), static_cast<double>(refused + 1));
    EXPECT_EQ(figures("chiral_observations_total"), 5);
    EXPECT_EQ(figures("chiral_copied_observations_total"), 0);
    // Of messages, without the frames around them.
    EXPECT_EQ(figures("chiral_sent_bytes_total"), static_cast<double>(bytes));
    EXPECT_EQ(figures("chiral_actions_received_total"), 8);
    EXPECT_EQ(figures("chiral_actions_applied_total"), 6);
    EXPECT_EQ(figures("chiral_actions_rejected_total"), 2);
    EXPECT_EQ(figures("chiral_protocol_errors_total"), 2);
    EXPECT_EQ(figures("chiral_update_errors_total"), 1);
    EXPECT_EQ(figures("chiral_action_latency_seconds_count"), 6);
    EXPECT_EQ(figures("chiral_answer_latency_seconds_count"), 4);
    EXPECT_GT(figures("chiral_answer_latency_seconds_sum"), 0);
    EXPECT_EQ(figures.type_of("chiral_observations_total"), "counter");
    EXPECT_EQ(figures.type_of("chiral_source_rate_hz"), "gauge");
    EXPECT_EQ(figures.type_of("chiral_action_latency_seconds"), "histogram");
}

TEST(Http, MetricsTellOfSlotsAsOfOtherSources) {
    Served<HookedServer> served({}, {}, [](ServerOptions& options) {
        options.engine.slots = {slot_config<int>("mode", DType::int32, {1}), slot_config<int>("secret")};
    });
    EXPECT_EQ(metrics(served->port()).status("slot", "mode"), "never");
    RawClient client = served.connect();
    const auto observe = [&] {
        client.send(RequestType::obs_request);
        static_cast<void>(client.receive());
    };
    Slot<int> mode(served->engine(), "mode"), secret(served->engine(), "secret");
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(mode.update(i).ok());
        observe();
        for (int k = 0; k < 3; ++k) ASSERT_TRUE(mode.update(k).ok());
        for (int k = 0; k < 2; ++k) ASSERT_TRUE(secret.update(k).ok());
    }
    const Metrics figures = metrics(served->port());
    EXPECT_EQ(figures.source("source_samples_total", "slot", "mode"), 12);
    EXPECT_EQ(figures.source("source_missed_total", "slot", "mode"), 6);
    EXPECT_GE(figures.source("source_age_seconds", "slot", "mode"), 0);
    EXPECT_NE(figures.status("slot", "mode"), "never");
    EXPECT_EQ(figures.source("source_samples_total", "slot", "secret"), 6);
    EXPECT_EQ(figures.source("source_missed_total", "slot", "secret"), 0) << "no observation carries it";
}

TEST(Http, MetricsTellAnAgeThatGrowsUntilTheSourceIsStale) {
    Served<HookedServer> served(one_small_camera());
    const std::vector<std::uint8_t> image(4 * 6 * 3, 1);
    ASSERT_TRUE(served->update_image(0, image.data(), image.size()).ok());
    const double first = metrics(served->port()).source("source_age_seconds", "camera", "wrist");
    EXPECT_TRUE(eventually([&] { return metrics(served->port()).source("source_age_seconds", "camera", "wrist") > first; }));
    EXPECT_TRUE(eventually([&] { return metrics(served->port()).status("camera", "wrist") == "stale"; }));
}

TEST(Http, MetricsCountARateBetweenTwoLooks) {
    Served<HookedServer> served(one_small_camera());
    const std::vector<std::uint8_t> image(4 * 6 * 3, 1);
    const auto begin = std::chrono::steady_clock::now();
    metrics(served->port());
    std::uint64_t published = 0;
    double rate = 0;
    ASSERT_TRUE(eventually([&] {
        if (served->update_image(0, image.data(), image.size()).ok()) ++published;
        rate = metrics(served->port()).source("source_rate_hz", "camera", "wrist");
        return rate > 0;
    }));
    // All images came between the two looks, which are half a second apart at least, and at most as far as the test took.
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    EXPECT_GE(1.001 * rate * seconds, static_cast<double>(published));
    EXPECT_LE(0.999 * rate * 0.5, static_cast<double>(published));
}

TEST(Http, NamesOfSourcesAreEscaped) {
    const std::vector<std::string> names = {"a \"quoted\" one", "back\\slash", "two\nlines", "\\n",
                                            "{}=,# x",          "gr\xc3\xbcn"};
    std::vector<CameraConfig> cameras;
    std::vector<ProprioConfig> proprios;
    for (const std::string& name : names) {
        cameras.push_back(camera(name, 2, 2, 1, false));
        proprios.push_back({name, 1});
    }
    Served<HookedServer> served(cameras, proprios);
    const float value = 1;
    ASSERT_TRUE(served->update_proprio(2, &value, 1).ok());
    const Metrics figures = metrics(served->port());
    for (std::size_t i = 0; i < names.size(); ++i) {
        SCOPED_TRACE(names[i]);
        EXPECT_EQ(figures.source("source_samples_total", "camera", names[i]), 0);
        EXPECT_EQ(figures.source("source_samples_total", "proprio", names[i]), i == 2 ? 1 : 0);
        EXPECT_EQ(figures.status("camera", names[i]), "never");
    }
}

}  // namespace
}  // namespace chiral::test
