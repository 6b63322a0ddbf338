// SPDX-License-Identifier: Apache-2.0
// When the robot's being told nothing new is a time-out, and when it is not. The conversation's thread, which is the test's,
// does nothing in between.
#include "conversations.hpp"

#include "robot/client_rate.hpp"

#include <chiral/pending_call.hpp>

namespace chiral::test {
namespace {

using robot::Cause;
using std::chrono::milliseconds;

std::function<void(ServerOptions&)> timeout_of(Duration timeout) {
    return [=](ServerOptions& options) { options.action_timeout = timeout; };
}
std::size_t timeouts(Stage& stage) { return stage.stats.action_timeouts.load(); }

TEST(TheWatchdog, CallsOnceForEachSilenceAndNeedsNoOtherThread) {
    Stage stage(timeout_of(milliseconds(20)));
    const auto talk = Talk::in_control(stage.robot());
    for (int i = 1; i <= 3; ++i) {
        talk->say(one_action(static_cast<float>(i)));
        ASSERT_TRUE(stage.server.control.wait(
            [&](const auto& events) { return std::count(events.begin(), events.end(), "timeout") == i; }));
    }
    EXPECT_EQ(timeouts(stage), 3u);
    EXPECT_TRUE(eventually([&] { return stage.log.count("on_action_timeout() was called") == 3; })) << "said once for each";
}

TEST(TheWatchdog, CountsWhatIsAppliedNotWhatComes) {
    Stage stage([](ServerOptions& options) {
        options.action_timeout = milliseconds(20);
        options.max_action_delay = std::chrono::hours(1);
    });
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(1));
    talk->arrived = talk->now - std::chrono::hours(2);
    ASSERT_TRUE(eventually([&] {
        talk->say(one_action(2));  // too late, every one of them
        return timeouts(stage) == 1;
    }));
    EXPECT_EQ(stage.applied(), 1u);
}

TEST(TheWatchdog, WaitsWhileAnActionIsBeingApplied) {
    Gate gate;
    Stage stage(timeout_of(milliseconds(20)), [&](HookedServer& server) {
        server.on_action = [&](const Action& action) {
            if (action.data[0] == 2) gate.pass();
        };
    });
    Stage control(timeout_of(milliseconds(20)));
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot()), other = Talk::in_control(control.robot());
    talk->say(one_action(1));  // from here on the next one is due
    talk->say(one_action(2));
    ASSERT_TRUE(gate.reached());
    for (std::size_t i = 1; i <= 3; ++i) {  // three time-outs' worth
        other->say(one_action(1));
        ASSERT_TRUE(eventually([&] { return timeouts(control) == i; }));
    }
    EXPECT_EQ(timeouts(stage), 0u);
    gate.open();
    EXPECT_TRUE(eventually([&] { return timeouts(stage) == 1; }));
}

TEST(TheWatchdog, CallsForAClientWhoseConnectionsThreadIsBlocked) {
    // The client's lease was revoked by its hook, and nobody has told the connection yet.
    Stage stage(timeout_of(milliseconds(20)), [](HookedServer& server) {
        server.on_action = [](const Action&) { throw std::runtime_error("motor off"); };
    });
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(1));
    EXPECT_TRUE(eventually([&] { return timeouts(stage) == 1; }));
}

TEST(TheWatchdog, HasNothingToSayOnceAnOnDisconnectOfTheRobotsOwnHasBeenCalled) {
    Stage stage(timeout_of(milliseconds(20)));
    Stage control(timeout_of(milliseconds(20)));
    const auto talk = Talk::in_control(stage.robot()), other = Talk::in_control(control.robot());
    talk->say(one_action(1));
    talk->end(Cause::left);
    other->say(one_action(1));
    ASSERT_TRUE(eventually([&] { return timeouts(control) == 1; }));
    const auto events = stage.server.control.get();
    ASSERT_FALSE(events.empty());
    const auto gone = std::find(events.begin(), events.end(), "disconnect: gone");
    EXPECT_EQ(std::count(gone, events.end(), "timeout"), 0);
}

// ---- hooks that fail while it has nothing to say ----

TEST(TheWatchdog, CallsAfterAResetThatFailedAndWhoseClientNobodyHasTold) {
    Stage stage(timeout_of(milliseconds(20)), [](HookedServer& server) {
        server.on_reset = []() -> std::pair<Observation, InfoMap> { throw std::runtime_error("half way"); };
    });
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(1));
    talk->say(wire::RequestType::reset);
    EXPECT_TRUE(eventually([&] { return stage.called("reset") == 1 && timeouts(stage) == 1; }));
}

TEST(TheWatchdog, CallsThoughAResetCameThatMovedNothing) {
    Stage stage(timeout_of(milliseconds(50)));
    const auto talk = Talk::in_control(stage.robot());
    for (std::size_t i = 1; i <= 4; ++i) {  // each reset comes before the time-out, or on a busy machine behind it
        talk->say(one_action(1));
        talk->say(wire::RequestType::reset);
        ASSERT_TRUE(eventually([&] { return timeouts(stage) == i; })) << i;
        talk->take_answers(i);
    }
}

TEST(TheWatchdog, IsNotPutOffForEverByResets) {
    Stage stage(timeout_of(milliseconds(50)));
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(1));
    std::size_t resets = 0;
    EXPECT_TRUE(eventually([&] {  // one behind the other, more often than it is due
        talk->say(wire::RequestType::reset);
        talk->take_answers(++resets);
        return timeouts(stage) == 1;
    })) << resets;
}

TEST(TheWatchdog, IsPutOffByAResetOnceBehindEachAction) {
    const robot::Stage idle;
    robot::Watchdog watchdog(
        idle, idle, [] {}, [](const std::string&) {});
    const TimePoint now = Clock::now();
    const auto in_hours = [&](int hours) { return now + std::chrono::hours(hours); };
    watchdog.was_reset(in_hours(1));
    EXPECT_EQ(watchdog.due(), TimePoint::max()) << "nothing was due";
    for (int action = 10; action <= 30; action += 10) {
        watchdog.applied(in_hours(action + 5));
        watchdog.was_reset(in_hours(action));  // also to an earlier time: what a long chunk covered is over
        EXPECT_EQ(watchdog.due(), in_hours(action));
        watchdog.was_reset(in_hours(action + 1));
        EXPECT_EQ(watchdog.due(), in_hours(action));
    }
}

TEST(TheWatchdog, CallsAsSoonAsItCanWhereASecondResetTakesLong) {
    Gate gate;
    std::atomic<int> resets{0};
    Stage stage(timeout_of(milliseconds(50)), [&](HookedServer& server) {
        server.on_reset = [&] {
            if (++resets == 2) gate.pass();
            return std::pair(server.make_obs(), InfoMap());
        };
    });
    Stage control(timeout_of(milliseconds(50)));
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot()), other = Talk::in_control(control.robot());
    talk->say(one_action(1));
    talk->say(wire::RequestType::reset);
    talk->take_answers(1);
    talk->say(wire::RequestType::reset);
    ASSERT_TRUE(gate.reached());
    for (std::size_t i = 1; i <= 2; ++i) {
        other->say(one_action(1));
        ASSERT_TRUE(eventually([&] { return timeouts(control) == i; }));
    }
    gate.open();
    EXPECT_TRUE(eventually([&] { return timeouts(stage) == 1; }));
}

TEST(TheWatchdog, HasNothingToSayAfterTheResetOfARobotThatNobodyHasMoved) {
    Stage stage(timeout_of(milliseconds(20)));
    Stage control(timeout_of(milliseconds(20)));
    const auto talk = Talk::in_control(stage.robot()), other = Talk::in_control(control.robot());
    talk->say(wire::RequestType::reset);
    ASSERT_TRUE(eventually([&] { return stage.called("reset") == 1; }));
    for (std::size_t i = 1; i <= 3; ++i) {
        other->say(one_action(1));
        ASSERT_TRUE(eventually([&] { return timeouts(control) == i; }));
    }
    EXPECT_EQ(timeouts(stage), 0u);
}

TEST(TheWatchdog, CallsAfterAResetThatDidNotBegin) {
    Stage stage(timeout_of(milliseconds(20)), [](HookedServer& server) {
        server.on_reset = []() -> std::pair<Observation, InfoMap> { throw NotCalled(); };
    });
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(1));
    talk->say(wire::RequestType::reset);
    EXPECT_TRUE(eventually([&] { return stage.called("reset") >= 1 && timeouts(stage) == 1; }));
}

enum class Waits { action, step, reset };

// The first action is applied; what comes next has to wait for as long as the test likes before it can begin.
class AHookThatWaitsToBegin : public testing::TestWithParam<Waits> {
protected:
    void TearDown() override {
        gate.open();
        may_begin = true;
    }
    void ask(Talk& talk) {
        switch (GetParam()) {
            case Waits::action: return talk.say(one_action(2));
            case Waits::step: return talk.say(step_request(2));
            case Waits::reset: return talk.say(wire::RequestType::reset);
        }
    }
    void wait_to_begin() {
        while (!may_begin.load()) {
            if (!PendingCall::of_this_thread()->counts()) throw NotCalled();
            std::this_thread::yield();
        }
        ++begun;
    }

    Gate gate;
    std::atomic<bool> may_begin{false};
    std::atomic<int> begun{0};
    Stage stage{timeout_of(milliseconds(100)), [this](HookedServer& server) {
                    server.on_action = [this](const Action& action) { action.data[0] == 1 ? gate.pass() : wait_to_begin(); };
                    server.on_reset = [this, &server] {
                        wait_to_begin();
                        return std::pair(server.make_obs(), InfoMap{});
                    };
                }};
};

TEST_P(AHookThatWaitsToBegin, DoesNotSilenceTheWatchdogHoweverLongItMayWait) {
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(1));
    ask(*talk);
    gate.open();
    EXPECT_TRUE(eventually([&] { return timeouts(stage) == 1; }));
    may_begin = true;
    ASSERT_TRUE(eventually([&] { return begun == 1; })) << "it waits on";
    const bool acts = GetParam() != Waits::reset;
    EXPECT_TRUE(eventually([&] { return timeouts(stage) == (acts ? 2u : 1u); })) << "the silence behind it";
    talk->end(Cause::left);
    stage.robot().hooks.join();
    EXPECT_EQ(stage.applied(), acts ? 2u : 1u);
    EXPECT_EQ(timeouts(stage), acts ? 2u : 1u) << "once for each silence";
    EXPECT_EQ(begun, 1);
    EXPECT_EQ(stage.stats.hook_errors.load() + stage.stats.actions_dropped.load() + stage.stats.actions_late.load(), 0u);
}

TEST_P(AHookThatWaitsToBegin, IsGivenUpBehindTheTimeOutIfControlEndsMeanwhile) {
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(1));
    ask(*talk);
    gate.open();
    ASSERT_TRUE(eventually([&] { return timeouts(stage) == 1; }));
    talk->end(Cause::broken);
    ASSERT_TRUE(stage.server.control.wait(
        [](const auto& events) { return !events.empty() && events.back() == "disconnect: gone"; }));
    EXPECT_EQ(begun, 0);
    EXPECT_EQ(timeouts(stage), 1u);
    EXPECT_EQ(stage.stats.actions_dropped.load(), GetParam() == Waits::reset ? 0u : 1u);
}

INSTANTIATE_TEST_SUITE_P(Of, AHookThatWaitsToBegin, testing::Values(Waits::action, Waits::step, Waits::reset));

// Whoever leaves: the server that stops has no later time-out, and a robot that is not watched none at all.
TEST(AnOnDisconnect, ThatFailsIsFollowedByOnActionTimeout) {
    for (const bool stops : {false, true}) {
        Stage stage(timeout_of(stops ? std::chrono::hours(1) : milliseconds(0)), [](HookedServer& server) {
            server.on_control = [](const std::string& event) {
                if (event.starts_with("disconnect")) throw std::runtime_error("no route to the arm");
            };
        });
        const auto talk = Talk::in_control(stage.robot());
        talk->say(one_action(1));
        ASSERT_TRUE(eventually([&] { return stage.called("apply_action") == 1; }));
        if (stops) stage.robot().stop();
        talk->end(stops ? Cause::stopping : Cause::left);
        EXPECT_TRUE(
            stage.server.control.wait([](const auto& events) { return !events.empty() && events.back() == "timeout"; }));
    }
}

// A chunk that covers an hour, and then an action that covers nothing: the watchdog sleeps for the first one already.
TEST(TheWatchdog, IsInTimeForAnActionThatIsDueBeforeTheOneBeforeItWas) {
    const robot::Stage idle;
    Watched<std::string> order;
    const auto says = [&order](char name) { return [&order, name] { order.change([&](auto& text) { text += name; }); }; };
    const auto said = [&order](char name) {
        return order.wait([name](const auto& text) { return text.find(name) != std::string::npos; });
    };
    int in_time = 0;
    constexpr int kTries = 5;
    for (int i = 0; i < kTries; ++i) {
        order.set({});
        robot::Watchdog earlier(idle, idle, says('e'), [](const std::string&) {});
        robot::Watchdog first(idle, idle, says('f'), [](const std::string&) {});
        robot::Watchdog later(idle, idle, says('l'), [](const std::string&) {});
        earlier.applied(Clock::now() + std::chrono::hours(1));
        first.applied(Clock::now() + milliseconds(10));
        ASSERT_TRUE(said('f'));  // that long the other one has had to fall asleep
        const TimePoint due = Clock::now() + milliseconds(10);
        later.applied(due + milliseconds(150));
        earlier.applied(due);
        ASSERT_TRUE(said('e') && said('l'));
        in_time += order.get() == "fel" ? 1 : 0;
    }
    EXPECT_GT(in_time, kTries / 2) << "it came after one that was due later";
}

TEST(TheWatchdog, NamesAHookThatDoesNotReturn) {
    Gate gate;
    Stage stage(timeout_of(milliseconds(20)),
                [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(1));
    EXPECT_TRUE(stage.log.wait_for("apply_action() has not returned for "));
}

// ---- how long a client may be silent ----

TEST(AClientsRate, ThatIsSlowMakesItsSilenceLonger) {
    robot::ClientRate rate;
    const Duration timeout = milliseconds(250);
    TimePoint now{std::chrono::hours(1)};
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(rate.allowed_silence(timeout), timeout) << "not known yet";
        rate.sent(now += milliseconds(500), timeout);
    }
    EXPECT_EQ(rate.allowed_silence(timeout), milliseconds(1250));
}

TEST(AClientsRate, ThatIsFastShortensNothingAndASilenceIsNoRate) {
    robot::ClientRate rate;
    const Duration timeout = milliseconds(250);
    TimePoint now{std::chrono::hours(1)};
    for (int i = 0; i < 20; ++i) rate.sent(now += milliseconds(10), timeout);
    EXPECT_EQ(rate.allowed_silence(timeout), timeout);
    for (int i = 0; i < 20; ++i) rate.sent(now += std::chrono::seconds(30), timeout);
    EXPECT_EQ(rate.allowed_silence(timeout), timeout) << "who sends twice a minute has no rate";
}

TEST(AClientsRate, NeverMakesTheTimeoutMoreThanTenTimesAsLong) {
    robot::ClientRate rate;
    const Duration timeout = milliseconds(250);
    TimePoint now{std::chrono::hours(1)};
    for (int i = 0; i < 20; ++i) rate.sent(now += milliseconds(2400), timeout);
    EXPECT_EQ(rate.allowed_silence(timeout), 10 * timeout);
}

TEST(AChunk, CoversTheTimeThatTheRobotTakesForIt) {
    const auto at_ten_hertz = [](ServerOptions& options) {
        options.action_timeout = milliseconds(20);
        options.control_rate_hz = 10;
    };
    Stage stage(at_ten_hertz), control(at_ten_hertz);
    const auto talk = Talk::in_control(stage.robot()), other = Talk::in_control(control.robot());
    Action chunk = one_action(1);
    chunk.N = 500;  // 50 s
    chunk.data.assign(500, 1.0f);
    talk->say(chunk);
    for (std::uint64_t silences = 1; silences <= 3; ++silences) {  // one alone could come first by chance
        other->say(one_action(1));
        ASSERT_TRUE(eventually([&] { return timeouts(control) == silences; }));
    }
    EXPECT_EQ(timeouts(stage), 0u);
}

TEST(AChunk, IsBelievedForAMinuteUnlessTheGateSaysHowLongItMayBe) {
    EXPECT_EQ(robot::time_covered(1 << 20, 10, 0), std::chrono::minutes(1));
    EXPECT_EQ(robot::time_covered(1000, 10, 1000), std::chrono::seconds(100));
    EXPECT_EQ(robot::time_covered(50, 10, 0), std::chrono::seconds(5));
    EXPECT_EQ(robot::time_covered(50, 0, 0), Duration::zero());
}

TEST(TheDefaults, FitTheDocumentedClient) {
    const ServerOptions options;
    EXPECT_GE(options.action_timeout, milliseconds(250)) << "actions come at 10 Hz";
    EXPECT_EQ(options.idle_timeout, Duration::zero()) << "who infers says nothing";
    EXPECT_GT(options.deaf_timeout, std::chrono::seconds(60)) << "and may leave an answer unread";
    EXPECT_GT(options.max_action_delay, Duration::zero());
}

}  // namespace
}  // namespace chiral::test
