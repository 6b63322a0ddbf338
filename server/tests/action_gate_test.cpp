// SPDX-License-Identifier: Apache-2.0
// Actions that this robot should not execute: what the gate objects to, and what becomes of it.
#include "robot/action_gate.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace chiral::test {
namespace {

using robot::ActionGate;
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

std::vector<CameraConfig> two_cameras() {
    std::vector<CameraConfig> cameras(2);
    cameras[0].name = "wrist";
    cameras[1].name = "head";
    return cameras;
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
    ActionGate gate({}, {});
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
    ActionGate gate(options, two_cameras());
    EXPECT_EQ(check(gate, rows(2, {0, 0, 0, 0, 0, 0})).verdict, Verdict::pass);
    Checked checked = check(gate, rows(3, {0, 0, 0}));
    EXPECT_EQ(checked.verdict, Verdict::rejected);
    EXPECT_EQ(checked.reason, "action has shape [1, 3], expected [N, 2]");
    checked = check(gate, rows(2, std::vector<float>(8)));
    EXPECT_EQ(checked.verdict, Verdict::rejected);
    EXPECT_EQ(checked.reason, "action has shape [4, 2], expected at most 3 rows");
}

TEST(TheActionGate, RejectsWhatIsOutsideTheLimitsAndPassesTheLimitsThemselves) {
    ActionGate gate(two_joints(), two_cameras());
    EXPECT_EQ(check(gate, rows(2, {1, 0.1f, -1, -0.1f})).verdict, Verdict::pass) << "0.1f is more than 0.1";
    const Checked checked = check(gate, rows(2, {0, 0, 0, std::nextafter(0.1f, 1.f)}));
    EXPECT_EQ(checked.verdict, Verdict::rejected);
    EXPECT_EQ(checked.reason, "joint 1 of row 1 is 0.1, expected -0.1 to 0.1");
    EXPECT_EQ(check(gate, rows(2, {-1.5f, 0})).reason, "joint 0 of row 0 is -1.5, expected -1 to 1");
}

TEST(TheActionGate, ClampsOrAcceptsWhatIsOutsideWhereItIsTold) {
    ActionGateOptions options = two_joints();
    options.outside_limits = GatePolicy::clamp;
    ActionGate clamping(options, two_cameras());
    const Checked clamped = check(clamping, rows(2, {5, 0, 0.5f, -7}));
    EXPECT_EQ(clamped.verdict, Verdict::clamped);
    EXPECT_EQ(clamped.data, (std::vector<float>{1, 0, 0.5f, -0.1f}));
    EXPECT_EQ(clamped.reason, "joint 0 of row 0 is 5, expected -1 to 1");
    options.outside_limits = GatePolicy::accept;
    ActionGate accepting(options, two_cameras());
    const Checked accepted = check(accepting, rows(2, {5, 0}));
    EXPECT_EQ(accepted.verdict, Verdict::pass);
    EXPECT_EQ(accepted.data, (std::vector<float>{5, 0}));
    EXPECT_EQ(accepted.reason, "");
}

TEST(TheActionGate, LimitsTheStepFromTheLastRowThatPassedNotFromARejectedOne) {
    ActionGateOptions options;
    options.dimension = 1;
    options.max_step = {0.5};
    ActionGate gate(options, two_cameras());
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

TEST(TheActionGate, LimitsTheStepFromTheRowBeforeAnActionThatWasTakenBack) {
    ActionGateOptions options;
    options.dimension = 1;
    options.max_step = {0.5};
    ActionGate gate(options, two_cameras());
    EXPECT_EQ(check(gate, rows(1, {7})).verdict, Verdict::pass);
    gate.take_back();
    EXPECT_EQ(check(gate, rows(1, {1})).verdict, Verdict::pass) << "the first that stays may be anywhere";
    EXPECT_EQ(check(gate, rows(1, {1.5f})).verdict, Verdict::pass);
    gate.take_back();
    EXPECT_EQ(check(gate, rows(1, {2})).verdict, Verdict::rejected) << "the robot is at 1 still";
    EXPECT_EQ(check(gate, rows(1, {1.5f})).verdict, Verdict::pass);
}

TEST(TheActionGate, ClampsAStepTowardsItsTargetAndNeverOutOfTheLimits) {
    ActionGateOptions options;
    options.dimension = 1;
    options.max_step = {1};
    options.lower = {0};
    options.upper = {2.5};
    options.too_large_step = options.outside_limits = GatePolicy::clamp;
    ActionGate gate(options, two_cameras());
    EXPECT_EQ(check(gate, rows(1, {-3})).data, std::vector<float>{0});
    EXPECT_EQ(check(gate, rows(1, {9})).data, std::vector<float>{1});
    EXPECT_EQ(check(gate, rows(1, {9, 9, 9})).data, (std::vector<float>{2, 2.5f, 2.5f}));
}

TEST(TheActionGate, JudgesLimitsOnWhatCameNotOnWhatAClampedStepMadeOfIt) {
    ActionGateOptions options;
    options.dimension = 1;
    options.lower = {0};
    options.upper = {2.5};
    options.max_step = {1};
    options.outside_limits = GatePolicy::reject;
    options.too_large_step = GatePolicy::clamp;
    ActionGate gate(options, two_cameras());
    EXPECT_EQ(check(gate, rows(1, {0})).verdict, Verdict::pass);
    for (int i = 0; i < 5; ++i) {
        const Checked checked = check(gate, rows(1, {1e6f}));
        EXPECT_EQ(checked.verdict, Verdict::rejected);
        EXPECT_EQ(checked.reason, "joint 0 of row 0 is 1e+06, expected 0 to 2.5");
    }
    EXPECT_EQ(check(gate, rows(1, {2})).data, std::vector<float>{1}) << "nothing crept towards it meanwhile";
}

TEST(TheActionGate, NamesTheObjectionThatDecided) {
    ActionGateOptions options;
    options.dimension = 2;
    options.lower = {0, 0};
    options.upper = {10, 10};
    options.max_step = {1, 1};
    options.too_large_step = GatePolicy::clamp;
    ActionGate gate(options, two_cameras());
    EXPECT_EQ(check(gate, rows(2, {0, 0})).verdict, Verdict::pass);
    Checked checked = check(gate, rows(2, {5, 11}));
    EXPECT_EQ(checked.verdict, Verdict::rejected);
    EXPECT_EQ(checked.reason, "joint 1 of row 0 is 11, expected 0 to 10") << "not the step of joint 0";
    checked = check(gate, rows(2, {5, 7}));
    EXPECT_EQ(checked.verdict, Verdict::clamped);
    EXPECT_EQ(checked.reason, "joint 0 of row 0 steps by 5, expected at most 1") << "the first of several";

    options.outside_limits = GatePolicy::clamp;
    options.too_large_step = GatePolicy::reject;
    ActionGate other(options, two_cameras());
    EXPECT_EQ(check(other, rows(2, {0, 0})).verdict, Verdict::pass);
    checked = check(other, rows(2, {1e6f, 0}));
    EXPECT_EQ(checked.verdict, Verdict::rejected);
    EXPECT_EQ(checked.reason, "joint 0 of row 0 steps by 10, expected at most 1") << "what the limits left of it";
    options.outside_limits = GatePolicy::accept;
    ActionGate careless(options, two_cameras());
    checked = check(careless, rows(2, {-5, 0}));
    EXPECT_EQ(checked.verdict, Verdict::pass);
    EXPECT_EQ(checked.reason, "");
}

TEST(TheActionGate, NeverRoundsAClampedStepUp) {
    ActionGateOptions options;
    options.dimension = 1;
    options.max_step = {0.1};
    options.too_large_step = GatePolicy::clamp;
    ActionGate gate(options, two_cameras());
    float at = 0.3f;
    EXPECT_EQ(check(gate, rows(1, {at})).verdict, Verdict::pass);
    for (int i = 0; i < 1000; ++i) {
        const float next = check(gate, rows(1, {1e6f})).data[0];
        ASSERT_LE(static_cast<double>(next) - at, 0.1) << "from " << at;
        ASSERT_GT(next, at);
        at = next;
    }
}

struct AgeCase {
    const char* what;
    std::map<std::string, double> ages;  // seconds before now
    const char* reason;                  // part of it; empty: passes
};

TEST(TheActionGate, RejectsWhatRestsOnOldUnknownOrFutureImages) {
    ActionGateOptions options;
    options.max_observation_age = std::chrono::milliseconds(200);
    options.future_tolerance = std::chrono::milliseconds(20);
    const TimePoint now = Clock::now();
    const double to_epoch =
        to_seconds(now) - std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    const AgeCase cases[] = {
        {"does not say", {}, ""},
        {"both young", {{"wrist", 0.19}, {"head", 0}}, ""},
        {"a clock a little ahead", {{"wrist", -0.019}}, ""},
        {"old", {{"wrist", 0.75}}, "rests on an image of camera 'wrist' 0.75 s old, expected at most 0.2 s"},
        {"one hides the other", {{"head", 0}, {"wrist", 100}}, "camera 'wrist' 100 s old"},
        {"5 s ahead", {{"wrist", -5}}, "camera 'wrist' from 5 s in the future, expected at most 0.02 s"},
        {"the end of time", {{"wrist", -1e300}}, "from 1e+300 s in the future"},
        {"the beginning of time", {{"wrist", 1e300}}, "1e+300 s old"},
        {"epoch time", {{"wrist", to_epoch}}, "s in the future"},
        {"unknown", {{"wrist", 0}, {"thumb", 0}}, "camera 'thumb' that this robot does not have"},
        {"a name for the terminal", {{"\x1b[31mthumb", 0}}, "camera '?[31mthumb' that this robot does not have"},
    };
    for (const AgeCase& item : cases) {
        SCOPED_TRACE(item.what);
        ActionGate gate(options, two_cameras());
        Action action = rows(1, {0});
        for (const auto& [camera, age] : item.ages) action.obs_timestamps[camera] = to_seconds(now) - age;
        const Checked checked = check(gate, action, now);
        EXPECT_EQ(checked.verdict, *item.reason == '\0' ? Verdict::pass : Verdict::rejected);
        EXPECT_NE(checked.reason.find(item.reason), std::string::npos) << checked.reason;
        options.stale = GatePolicy::accept;
        ActionGate accepting(options, two_cameras());
        EXPECT_EQ(check(accepting, action, now).verdict, Verdict::pass);
        options.stale = GatePolicy::reject;
    }
}

TEST(TheActionGate, TakesTheAgeLimitOfEachCameraThatHasOneOfItsOwn) {
    ActionGateOptions options;
    options.max_observation_age = std::chrono::milliseconds(200);
    options.max_camera_age["head"] = std::chrono::seconds(2);
    const TimePoint now = Clock::now();
    const auto verdict = [&](const std::map<std::string, double>& ages) {
        ActionGate gate(options, two_cameras());
        Action action = rows(1, {0});
        for (const auto& [camera, age] : ages) action.obs_timestamps[camera] = to_seconds(now) - age;
        return check(gate, action, now).verdict;
    };
    EXPECT_EQ(verdict({{"head", 1.5}, {"wrist", 0.1}}), Verdict::pass);
    EXPECT_EQ(verdict({{"head", 2.5}, {"wrist", 0.1}}), Verdict::rejected);
    EXPECT_EQ(verdict({{"head", 1.5}, {"wrist", 1.5}}), Verdict::rejected);
    options.max_observation_age = Duration::zero();
    EXPECT_EQ(verdict({{"head", 1.5}, {"wrist", 60}}), Verdict::pass);
    EXPECT_EQ(verdict({{"head", 2.5}, {"wrist", 0}}), Verdict::rejected);
    EXPECT_EQ(verdict({{"wrist", -60}}), Verdict::rejected) << "from the future all the same";
}

TEST(TheActionGate, RefusesOptionsThatMakeNoSense) {
    const auto refused = [](const std::function<void(ActionGateOptions&)>& change, const std::string& part) {
        ActionGateOptions options = two_joints();
        change(options);
        try {
            ActionGate gate(options, two_cameras());
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
    refused([](auto& o) { o.future_tolerance = -std::chrono::seconds(1); }, "future_tolerance is negative");
    refused([](auto& o) { o.max_camera_age["head"] = Duration::zero(); }, "max_camera_age of 'head' is 0 s");
    refused([](auto& o) { o.max_camera_age["thumb"] = std::chrono::seconds(1); }, "'thumb', which is no camera");
}

}  // namespace
}  // namespace chiral::test
