// SPDX-License-Identifier: Apache-2.0
// Which hook answers which message, for servers that implement one dialect, both or neither.
#include "support.hpp"

namespace chiral::test {
namespace {

using wire::RequestType;
using wire::ResponseType;

std::vector<std::uint8_t> legacy_action(const Action& action) {
    ByteVector message;
    wire::encode_legacy_action(action, message);
    return message;
}

// As the guide's C++ servers are.
class StepOnly : public OpenServer {
public:
    using OpenServer::OpenServer;
    Watched<std::vector<float>> applied;
    StepResult step(const Action& action) override {
        applied.change([&](auto& values) { values.push_back(action.data[0]); });
        StepResult result;
        result.obs = make_obs(action.data[0] * 2);
        result.reward = 0.5f;
        result.terminated = true;
        result.info = {{"key", "value"}};
        return result;
    }
};

// As the guide's Python servers are.
class ActionOnly : public OpenServer {
public:
    using OpenServer::OpenServer;
    Watched<std::vector<float>> applied;
    void apply_action(const Action& action) override {
        applied.change([&](auto& values) { values.push_back(action.data[0]); });
    }
    Observation get_obs() override { return make_obs(42.0); }
};

TEST(Dialects, AServerWithOnlyStepServesDecoupledClients) {
    Served<StepOnly> served;
    RawClient client = served.connect();
    client.send(numbered_action(3));
    EXPECT_TRUE(served->applied.wait([](const auto& values) { return values == std::vector<float>{3}; }));
    EXPECT_EQ(client.ask(RequestType::obs_request).type, ResponseType::obs_response);
    EXPECT_EQ(served->stats().hook_errors, 0u);
}

TEST(Dialects, AServerWithOnlyStepServesLegacyClients) {
    Served<StepOnly> served;
    RawClient client = served.connect();
    client.send(legacy_action(numbered_action(3)));
    const wire::Response answer = client.receive_response();
    EXPECT_EQ(answer.type, ResponseType::step_response);
    EXPECT_EQ(answer.result.obs.timestamp, 6.0);
    EXPECT_EQ(answer.result.reward, 0.5f);
    EXPECT_TRUE(answer.result.terminated);
    EXPECT_FALSE(answer.result.truncated);
    EXPECT_EQ(answer.result.info, (InfoMap{{"key", "value"}}));
}

TEST(Dialects, AServerWithOnlyApplyActionAndGetObsServesLegacyClients) {
    Served<ActionOnly> served;
    RawClient client = served.connect();
    client.send(legacy_action(numbered_action(5)));
    const wire::Response answer = client.receive_response();
    EXPECT_EQ(answer.type, ResponseType::step_response);
    EXPECT_EQ(answer.result.obs.timestamp, 42.0);
    EXPECT_EQ(answer.result.reward, 0.f);
    EXPECT_FALSE(answer.result.terminated);
    EXPECT_FALSE(answer.result.truncated);
    EXPECT_EQ(served->applied.get(), std::vector<float>{5});
}

TEST(Dialects, AServerWithOnlyApplyActionAndGetObsServesDecoupledClients) {
    Served<ActionOnly> served;
    RawClient client = served.connect();
    client.send(numbered_action(1));
    client.send(numbered_action(2));
    EXPECT_TRUE(served->applied.wait([](const auto& values) { return values == std::vector<float>{1, 2}; }));
    EXPECT_EQ(client.ask(RequestType::obs_request).result.obs.timestamp, 42.0);
}

TEST(Dialects, OneClientMaySpeakBoth) {
    Served<ActionOnly> served;
    RawClient client = served.connect();
    client.send(numbered_action(1));
    client.send(legacy_action(numbered_action(2)));
    EXPECT_EQ(client.receive_response().type, ResponseType::step_response);
    client.send(numbered_action(3));
    EXPECT_EQ(client.ask(RequestType::reset).type, ResponseType::reset_response);
    EXPECT_EQ(served->applied.get(), (std::vector<float>{1, 2, 3}));
}

TEST(Dialects, AnActionToAServerWithoutEitherHookClosesWithAClearReason) {
    for (const bool legacy : {false, true}) {
        SCOPED_TRACE(legacy ? "legacy" : "decoupled");
        Served<OpenServer> served;
        RawClient client = served.connect();
        client.send(legacy ? legacy_action(numbered_action(1)) : action_message(numbered_action(1)));
        const RawClient::Frame end = client.receive_close();
        EXPECT_EQ(end.close_code(), 1011);
        EXPECT_NE(end.close_reason().find("overrides neither apply_action() nor step()"), std::string::npos)
            << end.close_reason();
        EXPECT_EQ(served->stats().hook_errors, 1u);
        expect_serves_the_next_client(served);
    }
}

TEST(Dialects, DefaultHooksObserveAndSayNothingElse) {
    Served<OpenServer> served({camera("wrist", 4, 6, 3, true)}, {{"joint_pos", 7}});
    RawClient client = served.connect();
    EXPECT_EQ(client.ask(RequestType::metadata).metadata, InfoMap{});
    const wire::Response reset = client.ask(RequestType::reset);
    EXPECT_EQ(reset.type, ResponseType::reset_response);
    EXPECT_EQ(reset.result.info, InfoMap{});
    EXPECT_EQ(reset.result.obs.timestamp, 0.0);
    const Observation obs = client.ask(RequestType::obs_request).result.obs;
    ASSERT_EQ(obs.cameras.size(), 1u);
    EXPECT_EQ(obs["wrist"].image_shape, (std::vector<int>{4, 6, 3}));
    EXPECT_EQ(obs["wrist"].depth_shape, (std::vector<int>{4, 6}));
    EXPECT_EQ(obs["wrist"].image.size(), 72u);
    EXPECT_EQ(obs["wrist"].status, SourceStatus::never);
    EXPECT_EQ(obs["wrist"].timestamp, 0.0);
    EXPECT_EQ(obs.proprio("joint_pos").data, std::vector<float>(7, 0.f));
}

TEST(Dialects, MetadataAndResetInfoArrive) {
    Served<HookedServer> served(
        one_small_camera(), {}, [](ServerOptions&) {},
        [](HookedServer& server) {
            server.on_metadata = [] { return InfoMap{{"action_dim", "7"}, {"robot", "ärm"}}; };
            server.on_reset = [&server] { return std::pair{server.make_obs(1.5), InfoMap{{"episode", "12"}}}; };
        });
    RawClient client = served.connect();
    EXPECT_EQ(client.ask(RequestType::metadata).metadata, (InfoMap{{"action_dim", "7"}, {"robot", "ärm"}}));
    const wire::Response reset = client.ask(RequestType::reset);
    EXPECT_EQ(reset.result.info, (InfoMap{{"episode", "12"}}));
    EXPECT_EQ(reset.result.obs.timestamp, 1.5);
}

TEST(Dialects, AnActionArrivesWithItsShapeItsTimestampsAndItsTimeOfArrival) {
    Watched<std::vector<Action>> actions;
    Served<HookedServer> served(
        one_small_camera(), {}, [](ServerOptions&) {},
        [&](HookedServer& server) {
            server.on_action = [&](const Action& action) { actions.change([&](auto& all) { all.push_back(action); }); };
        });
    RawClient client = served.connect();
    const double before = to_seconds(Clock::now());
    Action chunk;
    chunk.N = 2;
    chunk.D = 3;
    chunk.data = {1, 2, 3, 4, 5, 6};
    chunk.obs_timestamps = {{"wrist", 12.25}};
    client.send(chunk);
    client.send(action_message(numbered_action(9, 4), true));
    ASSERT_TRUE(actions.wait([](const auto& all) { return all.size() == 2; }));
    const std::vector<Action> got = actions.get();
    EXPECT_EQ(got[0].N, 2);
    EXPECT_EQ(got[0].D, 3);
    EXPECT_EQ(got[0].data, chunk.data);
    EXPECT_EQ(got[0].obs_timestamps, chunk.obs_timestamps);
    EXPECT_GE(got[0].received_at, before);
    EXPECT_LE(got[0].received_at, got[1].received_at);
    EXPECT_LE(got[1].received_at, to_seconds(Clock::now()));
    EXPECT_EQ(got[1].N, 1);
    EXPECT_EQ(got[1].D, 4);
    EXPECT_EQ(got[1].data, (std::vector<float>{9, 0, 0, 0}));
    EXPECT_TRUE(got[1].obs_timestamps.empty());
}

TEST(Dialects, WhatSensorThreadsPublishIsWhatTheClientSees) {
    Served<OpenServer> served({camera("wrist", 2, 3, 1, true), camera("head", 1, 2, 3, false)}, {{"q", 2}});
    const ByteVector image = {1, 2, 3, 4, 5, 6};
    const std::vector<float> depth = {0.5f, 1.5f, 2.5f, 3.5f, 4.5f, 5.5f};
    Eigen::Matrix3d K;
    K << 1, 2, 3, 4, 5, 6, 7, 8, 9;
    Eigen::Matrix4d T;
    T << 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16;
    const std::vector<float> q = {0.25f, -0.25f};
    const double before = to_seconds(Clock::now());
    ASSERT_TRUE(served->update_image(0, image.data(), image.size()).ok());
    ASSERT_TRUE(served->update_depth(0, reinterpret_cast<const std::uint8_t*>(depth.data()), depth.size() * 4).ok());
    ASSERT_TRUE(served->update_intrinsics(0, K).ok());
    ASSERT_TRUE(served->update_extrinsics(0, T).ok());
    ASSERT_TRUE(served->update_proprio(0, q.data(), q.size()).ok());
    const double after = to_seconds(Clock::now());

    RawClient client = served.connect();
    const Observation obs = client.ask(RequestType::obs_request).result.obs;
    EXPECT_EQ(obs["wrist"].image, ByteBuffer(image));
    EXPECT_EQ(std::memcmp(obs["wrist"].depth_data.data(), depth.data(), 24), 0);
    EXPECT_EQ(obs["wrist"].intrinsics, K);
    EXPECT_EQ(obs["wrist"].extrinsics, T);
    EXPECT_GE(obs["wrist"].timestamp, before);
    EXPECT_LE(obs["wrist"].timestamp, after);
    EXPECT_EQ(obs["wrist"].sequence, 1u);
    EXPECT_FALSE(obs["head"].has_depth);
    EXPECT_EQ(obs["head"].status, SourceStatus::never);
    EXPECT_EQ(obs.proprio("q").data, q);
    EXPECT_GE(obs.snapshot_time, after);
    EXPECT_EQ(obs.timestamp, 0.0);
}

}  // namespace
}  // namespace chiral::test
