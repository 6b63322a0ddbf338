// SPDX-License-Identifier: Apache-2.0
// A client asks a server for what its policy needs, and gets that; one that asks for nothing gets what it always got.
#include "support.hpp"

#include <chiral/client.hpp>

#include <cstring>
#include <string>
#include <utility>

#ifdef __linux__
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include <sys/resource.h>
#endif

namespace chiral::test {
namespace {

std::vector<CameraConfig> two_cameras() {
    std::vector<CameraConfig> cameras{camera("wrist", 48, 64, 3, true), camera("head", 48, 64, 3, false)};
    for (CameraConfig& config : cameras) config.intrinsics << 60, 0, 31.5, 0, 60, 23.5, 0, 0, 1;
    return cameras;
}

Want small_jpegs() {
    Want want;
    want.all = {{24, 24}, Fit::crop, ImageEncoding::jpeg, 90, ColourOrder::rgb, DepthEncoding::millimetres};
    return want;
}

class WantedObservations : public testing::Test {
protected:
    WantedObservations() {
        publish(100);
        client.connect();
    }
    void publish(std::uint8_t level) {
        const std::vector<std::uint8_t> image(48 * 64 * 3, level);
        const std::vector<float> depth(48 * 64, 1.2344f);
        for (std::size_t i : {0u, 1u}) EXPECT_TRUE(served->update_image(i, image.data(), image.size()));
        EXPECT_TRUE(
            served->update_depth(0, reinterpret_cast<const std::uint8_t*>(depth.data()), depth.size() * sizeof(float)));
    }
    std::string address(const std::string& path = "") { return "ws://127.0.0.1:" + std::to_string(served->port()) + path; }

    Served<HookedServer> served{two_cameras(), {{"joints", 3}, {"torque", 3}}};
    PolicyClient client{address()};
};

TEST_F(WantedObservations, ArePlainArraysInTheSizeThatWasAskedFor) {
    const Observation obs = client.get_obs(small_jpegs());
    for (const CameraInfo& info : obs.cameras) {
        EXPECT_EQ(info.image_shape, (std::vector<int>{24, 24, 3}));
        ASSERT_EQ(info.image.size(), 24u * 24 * 3);
        EXPECT_NEAR(info.image[0], 100, 2);
        EXPECT_DOUBLE_EQ(info.intrinsics(0, 0), 30);
        EXPECT_EQ(info.image_encoding, ImageEncoding::jpeg) << "as which it came";
    }
    ASSERT_EQ(obs["wrist"].depth_data.size(), 24u * 24 * sizeof(float));
    float metres = 0;
    std::memcpy(&metres, obs["wrist"].depth_data.data(), sizeof metres);
    EXPECT_FLOAT_EQ(metres, 1.234f);
    EXPECT_FALSE(obs["head"].has_depth);
    EXPECT_EQ(obs.proprios.size(), 2u);
}

TEST_F(WantedObservations, TakeLessOfTheNetwork) {
    const Observation whole = client.get_obs();
    const std::uint64_t before = client.stats().bytes_received;
    client.get_obs(small_jpegs());
    EXPECT_LT(10 * (client.stats().bytes_received - before), before);
}

TEST_F(WantedObservations, StandBesideThoseOfAClientThatWantsNothing) {
    client.get_obs(small_jpegs());
    const Observation plain = client.get_obs();
    EXPECT_EQ(plain["wrist"].image.size(), 48u * 64 * 3);
    EXPECT_EQ(plain["wrist"].intrinsics(0, 0), 60);
    EXPECT_EQ(plain["wrist"].depth_sequence, 0u) << "which is sent to those who asked only";
}

TEST_F(WantedObservations, NameWhatIsUnchangedAndShowItAllTheSame) {
    Want want = small_jpegs();
    want.only_if_newer = true;
    EXPECT_FALSE(client.get_obs(want)["wrist"].image_unchanged);
    const std::uint64_t before = client.stats().bytes_received;
    const Observation same = client.get_obs(want);
    const std::uint64_t header_only = client.stats().bytes_received - before;
    EXPECT_TRUE(same["wrist"].image_unchanged && same["wrist"].depth_unchanged);
    EXPECT_NEAR(same["wrist"].image[0], 100, 2);
    EXPECT_EQ(same["wrist"].depth_data.size(), 24u * 24 * sizeof(float));
    served->update_extrinsics(0, Eigen::Matrix4d::Identity() * 2);
    const Observation moved = client.get_obs(want);
    EXPECT_TRUE(moved["wrist"].image_unchanged) << "a pose is no picture";
    EXPECT_EQ(moved["wrist"].extrinsics(0, 0), 2);
    publish(200);
    const Observation newer = client.get_obs(want);
    EXPECT_FALSE(newer["wrist"].image_unchanged);
    EXPECT_NEAR(newer["wrist"].image[0], 200, 2);
    EXPECT_GT(client.stats().bytes_received - before, 3 * header_only);
}

TEST_F(WantedObservations, AreDecodedIntoTheCallersMemory) {
    Observation obs;
    const auto memory = [&] {
        client.get_obs(obs, small_jpegs());
        const CameraInfo& camera = std::as_const(obs)["wrist"];
        return std::pair(std::as_const(camera.image).data(), std::as_const(camera.depth_data).data());
    };
    const auto first = memory();
    for (int i = 0; i < 5; ++i) EXPECT_EQ(memory(), first);
}

TEST_F(WantedObservations, AreStreamedToo) {
    client.start_obs_stream(200, small_jpegs());
    std::shared_ptr<const Observation> obs;
    for (int i = 0; i < 5; ++i) {
        obs = client.wait_obs(obs, kDeadline);
        ASSERT_TRUE(obs);
        EXPECT_EQ((*obs)["wrist"].image.size(), 24u * 24 * 3);
    }
}

TEST_F(WantedObservations, AreForObserversToo) {
    PolicyClient observer(address("/observe"));
    observer.connect();
    EXPECT_EQ(observer.get_obs(small_jpegs())["wrist"].image.size(), 24u * 24 * 3);
}

TEST_F(WantedObservations, ShowWhatAHookHasDrawn) {
    served->on_get_obs = [&] {
        Observation obs = served->make_obs(1.5);
        obs["wrist"].image = std::vector<std::uint8_t>(48 * 64 * 3, 7);
        return obs;
    };
    const Observation obs = client.get_obs(small_jpegs());
    EXPECT_NEAR(obs["wrist"].image[0], 7, 2);
    EXPECT_NEAR(obs["head"].image[0], 100, 2);
    EXPECT_EQ(obs.timestamp, 1.5);
}

TEST_F(WantedObservations, OfSizesOutOfBoundsAreRefusedBeforeTheyAreAskedFor) {
    Want want;
    want.all.size = {100000, 1};
    EXPECT_THROW(client.get_obs(want), std::invalid_argument);
    EXPECT_NO_THROW(client.get_obs(small_jpegs())) << "on the same connection";
}

TEST_F(WantedObservations, ChangeNotAByteForADocumentedClientBesideThem) {
    client.close();
    PolicyClient observer(address("/observe"));
    observer.connect();
    RawClient documented = served.connect_next();
    const auto ask = [&] {
        documented.send(wire::RequestType::obs_request);
        auto payload = documented.receive().payload;
        return std::vector<std::uint8_t>(payload.begin() + static_cast<std::ptrdiff_t>(wire::payload_offset(payload)),
                                         payload.end());
    };
    const auto before = ask();
    EXPECT_EQ(before.size(), 2 * 48u * 64 * 3 + 48 * 64 * sizeof(float) + 2 * 3 * sizeof(float));
    observer.get_obs(small_jpegs());
    EXPECT_EQ(ask(), before);
    EXPECT_EQ(documented.ask(wire::RequestType::reset).result.obs["wrist"].image.size(), 48u * 64 * 3);
}

TEST_F(WantedObservations, PassTheGateByTheImagesThatTheyShow) {
    client.close();
    Watched<std::size_t> applied;
    Served<HookedServer> gated(
        two_cameras(), {}, [](ServerOptions& options) { options.gate.max_observation_age = std::chrono::minutes(10); },
        [&](HookedServer& server) {
            server.on_action = [&](const Action& action) {
                EXPECT_EQ(action.obs_timestamps.size(), 1u);
                EXPECT_TRUE(action.obs_timestamps.contains("wrist"));
                applied.change([](std::size_t& count) { ++count; });
            };
        });
    const TimePoint now = Clock::now();
    const std::vector<std::uint8_t> image(48 * 64 * 3, 100);
    EXPECT_TRUE(gated->update_image(0, image.data(), image.size(), now));
    EXPECT_TRUE(gated->update_image(1, image.data(), image.size(), now - std::chrono::hours(1)));
    PolicyClient policy("ws://127.0.0.1:" + std::to_string(gated->port()));
    policy.connect();
    Want want = small_jpegs();
    policy.get_obs(want);
    policy.apply_action(numbered_action(1));  // rests on an image of an hour ago
    EXPECT_TRUE(eventually([&] { return gated->stats().actions_rejected == 1; }));
    want.only_if_newer = true;
    want.cameras["head"].image = ImageEncoding::none;  // which the policy does not look at
    policy.get_obs(want);
    policy.get_obs(want);
    policy.apply_action(numbered_action(2));
    EXPECT_TRUE(applied.wait([](std::size_t count) { return count == 1; }));
    EXPECT_EQ(gated->stats().actions_rejected, 1u);
}

#ifdef __linux__

// The nice values of this process' threads of that name.
std::vector<int> nice_values_of(const std::string& name) {
    std::vector<int> values;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream file(thread.path() / "stat");
        const std::string stat{std::istreambuf_iterator<char>(file), {}};
        const std::size_t end = stat.rfind(')');
        if (end == std::string::npos || stat.find('(' + name + ')') == std::string::npos) continue;
        std::istringstream fields(stat.substr(end + 1));
        std::string field;
        for (int i = 3; i <= 19; ++i) fields >> field;  // proc(5): the 19th is nice
        values.push_back(std::stoi(field));
    }
    return values;
}

TEST_F(WantedObservations, AreMadeOnAFewThreadsOfLowPriorityHoweverTheyDiffer) {
    EXPECT_TRUE(nice_values_of("chiral-encode").empty()) << "nobody wants anything yet";
    PolicyClient observer(address("/observe"));
    observer.connect();
    Want want = small_jpegs();
    for (int side = 10; side < 30; ++side) {
        want.all.size = {side, side};
        client.get_obs(want);
        want.all.size = {side, side + 1};
        observer.get_obs(want);
    }
    const int own = getpriority(PRIO_PROCESS, 0);
    EXPECT_EQ(nice_values_of("chiral-encode"), (std::vector<int>(2, std::max(own, 10))));
}

#endif

}  // namespace
}  // namespace chiral::test
