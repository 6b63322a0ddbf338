// SPDX-License-Identifier: Apache-2.0
// Requests and actions behind one another in the bytes of a connection. Their order by itself is in conversation_order_test.cpp.
#include "support.hpp"

#include <numeric>

namespace chiral::test {
namespace {

using wire::RequestType;
using wire::ResponseType;

constexpr auto unchanged = [](ServerOptions&) {};

// get_obs() numbers its observations in `extra`.
void number_observations(HookedServer& server, int& next) {
    server.on_get_obs = [&server, &next] {
        Observation obs = server.make_obs();
        obs.extra["number"] = std::int64_t{next++};
        return obs;
    };
}

std::int64_t number_of(const wire::Response& response) {
    return std::get<std::int64_t>(response.result.obs.extra.at("number"));
}

TEST(Pipeline, RequestsSentAtOnceAreAllAnsweredInOrder) {
    // Fewer, as many, and many more than the server keeps waiting at a time, in one piece and in many.
    for (const int requests : {1, 7, 8, 9, 16, 17, 200}) {
        for (const bool one_piece : {true, false}) {
            SCOPED_TRACE(std::to_string(requests) + (one_piece ? " in one piece" : ""));
            int next = 0;
            Served<HookedServer> served(one_small_camera(), {}, unchanged,
                                        [&](HookedServer& server) { number_observations(server, next); });
            RawClient client = served.connect();
            ByteVector all;
            for (int i = 0; i < requests; ++i) {
                const ByteVector frame = websocket_frame(RawClient::kBinary, request(RequestType::obs_request));
                if (one_piece) all.insert(all.end(), frame.begin(), frame.end());
                else client.send_bytes(frame);
            }
            client.send_bytes(all);
            for (int i = 0; i < requests; ++i) ASSERT_EQ(number_of(client.receive_response()), i);
            client.close();
            EXPECT_EQ(served->stats().observations, static_cast<std::uint64_t>(requests));
        }
    }
}

TEST(Pipeline, ASlowHookHoldsTheSenderBackAndNothingIsLost) {
    // 400 actions of 64 KiB do not fit into the buffers of a connection.
    constexpr int kActions = 400, kSize = 16 * 1024;
    constexpr std::size_t kBound = 16;
    Gate gate;
    Watched<std::vector<float>> applied;
    Served<HookedServer> served(
        one_small_camera(), {}, [](ServerOptions& options) { options.max_queued_actions = kBound; },
        [&](HookedServer& server) {
            server.on_action = [&](const Action& action) {
                gate.pass();
                applied.change([&](auto& numbers) { numbers.push_back(action.data[0]); });
            };
        });
    const OpensAtEnd opener(gate);
    RawClient client = served.connect();
    ByteVector all;
    for (int i = 0; i < kActions; ++i) {
        const ByteVector frame =
            websocket_frame(RawClient::kBinary, action_message(numbered_action(static_cast<float>(i), kSize)));
        all.insert(all.end(), frame.begin(), frame.end());
    }
    std::size_t sent = client.send_until_held_back(all, std::chrono::milliseconds(500));
    EXPECT_LT(sent, all.size());
    ASSERT_TRUE(gate.reached());
    EXPECT_TRUE(eventually([&] { return served->stats().actions_received == kBound; }));
    sent += client.send_until_held_back(std::span(all).subspan(sent), std::chrono::milliseconds(100));
    EXPECT_LT(sent, all.size());
    EXPECT_EQ(served->stats().actions_received, kBound);
    gate.open();
    client.send_bytes(std::span(all).subspan(sent));
    ASSERT_TRUE(applied.wait([](const auto& numbers) { return numbers.size() == kActions; }));
    std::vector<float> expected(kActions);
    std::iota(expected.begin(), expected.end(), 0.f);
    EXPECT_EQ(applied.get(), expected);
    EXPECT_EQ(client.ask(RequestType::obs_request).type, ResponseType::obs_response);
}

TEST(Pipeline, AClientThatIsHeldBackIsNotTakenForASilentOne) {
    const auto short_idle = [](ServerOptions& options) {
        options.deaf_timeout = options.idle_timeout = std::chrono::milliseconds(300);
        options.handshake_timeout = std::chrono::seconds(1);  // for the close of the silent
        options.max_queued_actions = 2;
    };
    for (const bool full_of_actions : {true, false}) {
        SCOPED_TRACE(full_of_actions ? "the action queue is full" : "all replies are taken");
        Gate gate;
        Watched<int> applied{0};
        Served<HookedServer> served(one_small_camera(), {}, short_idle, [&](HookedServer& server) {
            server.on_action = [&](const Action&) {
                gate.pass();
                applied.change([](int& count) { ++count; });
            };
            server.on_get_obs = [&] {
                gate.pass();
                return server.make_obs();
            };
        });
        Served<HookedServer> control(one_small_camera(), {}, short_idle);
        const OpensAtEnd opener(gate);
        RawClient client = served.connect();
        for (int i = 0; i < 10; ++i)
            client.send(full_of_actions ? action_message(numbered_action(1)) : request(RequestType::obs_request));
        // The control measures time: three silent clients in a row are dropped.
        for (int i = 0; i < 3; ++i) {
            RawClient silent = control.connect_next();
            silent.read_to_end();
        }
        gate.open();
        for (int i = 0; i < 10 && !full_of_actions; ++i)
            EXPECT_EQ(client.receive_response().type, ResponseType::obs_response);
        EXPECT_TRUE(applied.wait([&](int count) { return count == (full_of_actions ? 10 : 0); }));
        EXPECT_EQ(client.ask(RequestType::metadata).type, ResponseType::metadata_response);
    }
}

// Eight cameras of 640x480 with depth: 17 MB, far more than the buffers of a connection. Camera c of frame n is filled
// with the byte 16 n + c and with the depth 100 n + c.
class LargeRig : public OpenServer {
public:
    static constexpr int kCameras = 8, kHeight = 480, kWidth = 640;
    static std::vector<CameraConfig> cameras() {
        std::vector<CameraConfig> all;
        for (int i = 0; i < kCameras; ++i) all.push_back(camera("cam" + std::to_string(i), kHeight, kWidth, 3, true));
        return all;
    }
    using OpenServer::OpenServer;
    void publish(int n) {
        for (int c = 0; c < kCameras; ++c) {
            Frame frame = begin_frame(static_cast<std::size_t>(c));
            const auto image = frame.image();
            const auto depth = frame.depth();
            std::fill(image.begin(), image.end(), static_cast<std::uint8_t>(16 * n + c));
            std::fill(depth.begin(), depth.end(), static_cast<float>(100 * n + c));
            ASSERT_TRUE(frame.commit().ok());
        }
    }
    static void expect_shows(const Observation& obs, int n) {
        ASSERT_EQ(obs.cameras.size(), std::size_t{kCameras});
        for (int c = 0; c < kCameras; ++c) {
            const CameraInfo& info = obs.cameras[static_cast<std::size_t>(c)];
            const ByteVector image(std::size_t{kHeight} * kWidth * 3, static_cast<std::uint8_t>(16 * n + c));
            const std::vector<float> depth(std::size_t{kHeight} * kWidth, static_cast<float>(100 * n + c));
            ASSERT_EQ(info.image.size(), image.size());
            EXPECT_EQ(std::memcmp(info.image.data(), image.data(), image.size()), 0) << info.name;
            ASSERT_EQ(info.depth_data.size(), depth.size() * 4);
            EXPECT_EQ(std::memcmp(info.depth_data.data(), depth.data(), depth.size() * 4), 0) << info.name;
        }
    }
    Watched<int> applied{0};
    void apply_action(const Action&) override {
        applied.change([](int& count) { ++count; });
    }
};

TEST(Pipeline, AnActionBehindAnUnreadObservationIsAppliedAtOnceAndTheObservationStaysWhole) {
    Served<LargeRig> served(LargeRig::cameras());
    served->publish(1);
    RawClient client = served.connect(4096);
    client.send(RequestType::obs_request);
    client.await_input();  // the observation is being written, and cannot be written to the end
    for (int i = 0; i < 100; ++i) client.send(numbered_action(1));
    EXPECT_TRUE(served->applied.wait([](int count) { return count == 100; }));
    EXPECT_EQ(served->stats().observations, 0u);
    for (int n = 2; n < 10; ++n) served->publish(n);  // the slots on their way to the socket stay as they are
    LargeRig::expect_shows(client.receive_response().result.obs, 1);
    LargeRig::expect_shows(client.ask(RequestType::obs_request).result.obs, 9);
    EXPECT_EQ(served->stats().copied_observations, 0u);
}

TEST(Pipeline, AMessageInFragmentsWithPingsInBetweenIsOneMessage) {
    Watched<std::vector<float>> applied;
    Served<HookedServer> served(one_small_camera(), {}, unchanged, [&](HookedServer& server) {
        server.on_action = [&](const Action& action) { applied.set(action.data); };
    });
    RawClient client = served.connect();
    const Action action = numbered_action(7, 50);
    const ByteVector message = action_message(action);
    const std::size_t cut[] = {0, 1, 5, message.size() / 2, message.size()};
    for (int i = 0; i < 4; ++i) {
        client.send_frame(i == 0 ? RawClient::kBinary : RawClient::kContinuation,
                          std::span(message).subspan(cut[i], cut[i + 1] - cut[i]), i == 3);
        if (i < 3) client.send_frame(RawClient::kPing, bytes_of("are you there"));
    }
    EXPECT_TRUE(applied.wait([&](const auto& data) { return data == action.data; }));
    for (int i = 0; i < 3; ++i) {
        const RawClient::Frame pong = client.read_frame();
        EXPECT_EQ(pong.opcode, RawClient::kPong);
        EXPECT_EQ(pong.payload, bytes_of("are you there"));
    }
}

}  // namespace
}  // namespace chiral::test
