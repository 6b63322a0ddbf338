// SPDX-License-Identifier: Apache-2.0
// The gate in a server: which hooks it keeps an action from, and how the client learns of it.
#include "support.hpp"

namespace chiral::test {
namespace {

using wire::RequestType;

Action rows(int D, std::vector<float> data) {
    Action action;
    action.D = D;
    action.N = static_cast<int>(data.size()) / D;
    action.data = std::move(data);
    return action;
}

ActionGateOptions two_joints() {
    ActionGateOptions options;
    options.dimension = 2;
    options.lower = {-1, -0.1};
    options.upper = {1, 0.1};
    return options;
}

TEST(TheActionGate, GuardsTheHooksAndTellsTheClientInItsNextObservation) {
    Watched<std::vector<std::vector<float>>> applied;
    Served<HookedServer> served(
        one_small_camera(), {},
        [](ServerOptions& options) {
            options.gate = two_joints();
            options.gate.max_step = {0.5, 0.5};
            options.gate.too_large_step = GatePolicy::clamp;
            options.action_timeout = Duration::zero();
        },
        [&](HookedServer& server) {
            server.on_action = [&](const Action& action) { applied.change([&](auto& all) { all.push_back(action.data); }); };
        });
    RawClient client = served.connect();
    client.send(rows(2, {0, 0}));
    client.send(rows(2, {1, 0}));        // a step of 1, clamped to 0.5
    client.send(rows(2, {0.5f, 0.2f}));  // outside
    client.send(rows(2, {0.5f, 0.3f}));  // outside
    client.send(rows(2, {0.5f, 0.1f}));
    ASSERT_TRUE(applied.wait([](const auto& all) { return all.size() == 3; }));
    const Observation obs = client.ask(RequestType::obs_request).result.obs;
    EXPECT_EQ(obs.extra.at("chiral.actions_rejected"), ExtraValue(std::int64_t{2}));
    EXPECT_EQ(obs.extra.at("chiral.actions_clamped"), ExtraValue(std::int64_t{1}));
    EXPECT_EQ(obs.extra.at("chiral.action_reason"),
              ExtraValue(std::string("joint 1 of row 0 is 0.3, expected -0.1 to 0.1")));
    EXPECT_TRUE(client.ask(RequestType::obs_request).result.obs.extra.empty()) << "told once";
    EXPECT_EQ(applied.get(), (std::vector<std::vector<float>>{{0, 0}, {0.5f, 0}, {0.5f, 0.1f}}));
    const ServerStats stats = served->stats();
    EXPECT_EQ(stats.actions_received, 5u);
    EXPECT_EQ(stats.actions_rejected, 2u);
    EXPECT_EQ(stats.actions_clamped, 1u);
    EXPECT_TRUE(eventually([&] { return served.log.count("action rejected: joint 1 of row 0 is 0.2") == 1; }));
    EXPECT_EQ(stats.protocol_errors, 0u) << "the connection is in order";
}

TEST(TheActionGate, AnswersARejectedStepWithoutCallingIt) {
    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) { options.gate = two_joints(); });
    RawClient client = served.connect();
    ByteVector message;
    wire::encode_legacy_action(rows(2, {0, 5}), message);
    client.send(message);
    const wire::Response response = client.receive_response();
    EXPECT_EQ(response.type, wire::ResponseType::step_response);
    EXPECT_EQ(response.result.obs.cameras.size(), 1u);
    EXPECT_EQ(response.result.info.at("chiral.action_rejected"), "joint 1 of row 0 is 5, expected -0.1 to 0.1");
    EXPECT_EQ(response.result.obs.extra.at("chiral.actions_rejected"), ExtraValue(std::int64_t{1}));
    EXPECT_FALSE(response.result.terminated || response.result.truncated);
    EXPECT_TRUE(served->calls.get().empty());
}

TEST(TheActionGate, ForgetsTheLastActionAtAResetAndAtANewClient) {
    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) {
        options.gate.dimension = 1;
        options.gate.max_step = {1};
    });
    {
        RawClient client = served.connect();
        client.send(rows(1, {0}));
        client.send(rows(1, {50}));  // rejected
        client.ask(RequestType::reset);
        client.send(rows(1, {50}));
        client.close();
    }
    RawClient client = served.connect_next();
    client.send(rows(1, {-50}));
    ASSERT_TRUE(eventually([&] { return served->stats().actions_applied == 3; }));
    EXPECT_EQ(served->stats().actions_rejected, 1u);
}

}  // namespace
}  // namespace chiral::test
