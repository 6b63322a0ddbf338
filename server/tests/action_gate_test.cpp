// SPDX-License-Identifier: Apache-2.0
// Actions that this robot should not execute: what the gate objects to, what becomes of it, and how the client learns of it.
#include "support.hpp"

#include "robot/action_gate.hpp"

#include <cmath>
#include <limits>

namespace chiral::test {
namespace {

using wire::RequestType;
using Verdict = ActionGate::Verdict;

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

struct Checked {
    Verdict verdict;
    std::vector<float> data;
    std::string reason;
};
Checked check(ActionGate& gate, Action action, TimePoint now = Clock::now()) {
    std::string reason = "left over";
    const Verdict verdict = gate.check(action, now, reason);
    return {verdict, action.data, reason};
}

TEST(TheActionGate, PassesEverythingUnlessItIsTold) {
    ActionGate gate{{}};
    for (const Action& action : {rows(1, {1e30f}), rows(7, std::vector<float>(700, -1e30f)), rows(3, {1, 2, 3})}) {
        const Checked checked = check(gate, action);
        EXPECT_EQ(checked.verdict, Verdict::pass);
        EXPECT_EQ(checked.data, action.data);
        EXPECT_EQ(checked.reason, "");
    }
}

TEST(TheActionGate, RejectsAnotherShapeAndSaysWhichCame) {
    ActionGateOptions options;
    options.dimension = 2;
    options.max_chunk = 3;
    ActionGate gate(options);
    EXPECT_EQ(check(gate, rows(2, {0, 0, 0, 0, 0, 0})).verdict, Verdict::pass);
    Checked checked = check(gate, rows(3, {0, 0, 0}));
    EXPECT_EQ(checked.verdict, Verdict::rejected);
    EXPECT_EQ(checked.reason, "action has shape [1, 3], expected [N, 2]");
    checked = check(gate, rows(2, std::vector<float>(8)));
    EXPECT_EQ(checked.verdict, Verdict::rejected);
    EXPECT_EQ(checked.reason, "action has shape [4, 2], expected at most 3 rows");
}

TEST(TheActionGate, RejectsWhatIsOutsideTheLimitsAndPassesTheLimitsThemselves) {
    ActionGate gate(two_joints());
    EXPECT_EQ(check(gate, rows(2, {1, 0.1f, -1, -0.1f})).verdict, Verdict::pass) << "0.1f is more than 0.1";
    const Checked checked = check(gate, rows(2, {0, 0, 0, std::nextafter(0.1f, 1.f)}));
    EXPECT_EQ(checked.verdict, Verdict::rejected);
    EXPECT_EQ(checked.reason, "joint 1 of row 1 is 0.1, expected -0.1 to 0.1");
    EXPECT_EQ(check(gate, rows(2, {-1.5f, 0})).reason, "joint 0 of row 0 is -1.5, expected -1 to 1");
}

TEST(TheActionGate, ClampsOrAcceptsWhatIsOutsideWhereItIsTold) {
    ActionGateOptions options = two_joints();
    options.outside_limits = GatePolicy::clamp;
    ActionGate clamping(options);
    const Checked clamped = check(clamping, rows(2, {5, 0, 0.5f, -7}));
    EXPECT_EQ(clamped.verdict, Verdict::clamped);
    EXPECT_EQ(clamped.data, (std::vector<float>{1, 0, 0.5f, -0.1f}));
    EXPECT_EQ(clamped.reason, "joint 0 of row 0 is 5, expected -1 to 1");
    options.outside_limits = GatePolicy::accept;
    ActionGate accepting(options);
    const Checked accepted = check(accepting, rows(2, {5, 0}));
    EXPECT_EQ(accepted.verdict, Verdict::pass);
    EXPECT_EQ(accepted.data, (std::vector<float>{5, 0}));
    EXPECT_EQ(accepted.reason, "");
}

TEST(TheActionGate, LimitsTheStepFromTheLastRowThatPassedNotFromARejectedOne) {
    ActionGateOptions options;
    options.dimension = 1;
    options.max_step = {0.5};
    ActionGate gate(options);
    EXPECT_EQ(check(gate, rows(1, {100})).verdict, Verdict::pass) << "the first may be anywhere";
    EXPECT_EQ(check(gate, rows(1, {100.5f, 101, 100.5f})).verdict, Verdict::pass) << "rows step by 0.5 each";
    const Checked checked = check(gate, rows(1, {100.5f, 102}));
    EXPECT_EQ(checked.verdict, Verdict::rejected);
    EXPECT_EQ(checked.reason, "joint 0 of row 1 steps by 1.5, expected at most 0.5");
    EXPECT_EQ(check(gate, rows(1, {102})).verdict, Verdict::rejected);
    EXPECT_EQ(check(gate, rows(1, {100})).verdict, Verdict::pass);
    gate.forget();
    EXPECT_EQ(check(gate, rows(1, {-100})).verdict, Verdict::pass);
}

TEST(TheActionGate, ClampsAStepTowardsItsTargetAndNeverOutOfTheLimits) {
    ActionGateOptions options;
    options.dimension = 1;
    options.max_step = {1};
    options.lower = {0};
    options.upper = {2.5};
    options.too_large_step = options.outside_limits = GatePolicy::clamp;
    ActionGate gate(options);
    EXPECT_EQ(check(gate, rows(1, {-3})).data, std::vector<float>{0});
    EXPECT_EQ(check(gate, rows(1, {9})).data, std::vector<float>{1});
    EXPECT_EQ(check(gate, rows(1, {9, 9, 9})).data, (std::vector<float>{2, 2.5f, 2.5f}));
}

TEST(TheActionGate, RejectsWhatRestsOnAnOldObservation) {
    ActionGateOptions options;
    options.max_observation_age = std::chrono::milliseconds(500);
    ActionGate gate(options);
    const TimePoint now = Clock::now();
    Action action = rows(1, {0});
    EXPECT_EQ(check(gate, action, now).verdict, Verdict::pass) << "it does not say";
    action.obs_timestamps = {{"wrist", to_seconds(now) - 60}, {"head", to_seconds(now) - 0.4}};
    EXPECT_EQ(check(gate, action, now).verdict, Verdict::pass) << "the newest image counts";
    action.obs_timestamps = {{"wrist", to_seconds(now) - 60}, {"head", to_seconds(now) - 0.75}};
    const Checked checked = check(gate, action, now);
    EXPECT_EQ(checked.verdict, Verdict::rejected);
    EXPECT_NE(checked.reason.find("rests on an observation 0.75"), std::string::npos) << checked.reason;
    options.stale = GatePolicy::accept;
    ActionGate accepting(options);
    EXPECT_EQ(check(accepting, action, now).verdict, Verdict::pass);
}

TEST(TheActionGate, RefusesOptionsThatMakeNoSense) {
    const auto refused = [](const std::function<void(ActionGateOptions&)>& change, const std::string& part) {
        ActionGateOptions options = two_joints();
        change(options);
        try {
            ActionGate gate(options);
            ADD_FAILURE() << "accepted: " << part;
        } catch (const std::invalid_argument& error) {
            EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
        }
    };
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    refused([](auto& o) { o.dimension = 0; }, "lower is given, but not the dimension");
    refused([](auto& o) { o.dimension = -1; }, "dimension is -1");
    refused([](auto& o) { o.upper.push_back(1); }, "upper has 3 values, expected 2");
    refused([](auto& o) { o.lower = {2, 0}; }, "lower is above upper at joint 0");
    refused([&](auto& o) { o.max_step = {nan, 1}; }, "max_step holds a NaN");
    refused([](auto& o) { o.max_step = {1, 0}; }, "max_step is 0");
    refused([](auto& o) { o.max_chunk = -1; }, "max_chunk is -1");
    refused([](auto& o) { o.stale = GatePolicy::clamp; }, "an age cannot be clamped");
    refused([](auto& o) { o.max_observation_age = -std::chrono::seconds(1); }, "max_observation_age is negative");
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
    client.send(rows(2, {9, 0}));        // a step of 9, clamped to 0.5
    client.send(rows(2, {0.5f, 0.2f}));  // outside
    client.send(rows(2, {0.5f, 0.3f}));  // outside
    client.send(rows(2, {0.5f, 0.1f}));
    const Observation obs = client.ask(RequestType::obs_request).result.obs;
    EXPECT_EQ(obs.extra.at("chiral.actions_rejected"), ExtraValue(std::int64_t{2}));
    EXPECT_EQ(obs.extra.at("chiral.actions_clamped"), ExtraValue(std::int64_t{1}));
    EXPECT_EQ(obs.extra.at("chiral.action_reason"),
              ExtraValue(std::string("joint 1 of row 0 is 0.3, expected -0.1 to 0.1")));
    EXPECT_TRUE(client.ask(RequestType::obs_request).result.obs.extra.empty()) << "told once";
    ASSERT_TRUE(applied.wait([](const auto& all) { return all.size() == 3; }));
    EXPECT_EQ(applied.get(), (std::vector<std::vector<float>>{{0, 0}, {0.5f, 0}, {0.5f, 0.1f}}));
    const ServerStats stats = served->stats();
    EXPECT_EQ(stats.actions_received, 5u);
    EXPECT_EQ(stats.actions_rejected, 2u);
    EXPECT_EQ(stats.actions_clamped, 1u);
    EXPECT_EQ(served.log.count("action rejected: joint 1 of row 0 is 0.2"), 1u);
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
