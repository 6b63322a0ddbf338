// SPDX-License-Identifier: Apache-2.0
// Order, pacing, back-pressure and limits of a conversation, without a socket and without waiting for a clock.
#include "conversations.hpp"

namespace chiral::test {
namespace {

using robot::Cause;
using std::chrono::milliseconds;
using wire::RequestType;

TEST(AConversation, AnswersInTheOrderOfTheQuestionsOneAtATime) {
    Stage stage;
    const auto talk = Talk::in_control(stage.robot());
    const std::vector<RequestType> questions{RequestType::metadata, RequestType::obs_request, RequestType::reset,
                                             RequestType::obs_request};
    for (const RequestType question : questions) talk->say(question);
    for (std::size_t i = 0; i < questions.size(); ++i) {
        while (!talk->sending) talk->hear();
        EXPECT_EQ(talk->sent.size(), i + 1);
        talk->written();
    }
    EXPECT_EQ(talk->sent, questions);
    EXPECT_TRUE(talk->closed.empty());
}

TEST(AConversation, AsksForAnObservationOnlyWhenItsTurnHasCome) {
    Stage stage;
    const auto talk = Talk::in_control(stage.robot());
    for (int i = 0; i < 3; ++i) talk->say(RequestType::obs_request);
    talk->hear();
    ASSERT_TRUE(talk->sending);
    EXPECT_EQ(stage.called("get_obs"), 1u) << "the second would grow old behind the first";
    talk->written();
    talk->hear();
    EXPECT_EQ(stage.called("get_obs"), 2u);
}

TEST(AConversation, WantsNoMoreThanEightUnansweredRequests) {
    Stage stage;
    const auto talk = Talk::in_control(stage.robot());
    for (std::size_t i = 0; i < robot::kReplies; ++i) {
        EXPECT_TRUE(talk->conversation->wants_message(talk->now)) << i;
        talk->say(RequestType::obs_request);
    }
    EXPECT_FALSE(talk->conversation->wants_message(talk->now));
    talk->hear();
    EXPECT_EQ(talk->read_ons, 0) << "being written is not being answered";
    talk->written();
    EXPECT_EQ(talk->read_ons, 1);
    EXPECT_TRUE(talk->conversation->wants_message(talk->now));
}

TEST(AConversation, HoldsAFastSenderBackUntilItsRateAllowsTheNextMessage) {
    Stage stage([](ServerOptions& options) { options.max_messages_per_second = 100; });
    const auto talk = Talk::in_control(stage.robot());
    int at_once = 0;
    for (; talk->conversation->wants_message(talk->now); ++at_once) talk->say(one_action(0));
    EXPECT_EQ(at_once, 11) << "a tenth of a second's worth, and the one that is one too many";
    ASSERT_TRUE(talk->wake);
    EXPECT_EQ(*talk->wake - talk->now, milliseconds(10));
    talk->now = *talk->wake;
    talk->conversation->wake(talk->now);
    EXPECT_EQ(talk->read_ons, 1);
    EXPECT_TRUE(talk->conversation->wants_message(talk->now));
}

TEST(AConversation, PacesAnObserverAndLosesNoneOfItsRequests) {
    Stage stage([](ServerOptions& options) { options.max_observer_hz = 10; });
    const auto talk = Talk::with(stage.robot(), stage.robot().source->take_seat());
    talk->conversation->begin("viewer", talk->now);
    for (int i = 0; i < 3; ++i) talk->say(RequestType::obs_request);
    const TimePoint begin = talk->now;
    for (int i = 0; i < 3; ++i) {
        talk->hear();
        talk->written();
        if (i == 2) break;
        ASSERT_TRUE(talk->wake);
        EXPECT_EQ(*talk->wake - begin, (i + 1) * milliseconds(100));
        EXPECT_EQ(talk->sent.size(), static_cast<std::size_t>(i + 1)) << "not before its time";
        talk->now = *talk->wake;
        talk->conversation->wake(talk->now);
    }
    EXPECT_EQ(talk->sent.size(), 3u);
    EXPECT_EQ(stage.called("get_obs"), 0u) << "an observer reaches no hook";
    talk->end(Cause::left);
}

TEST(AConversation, ClosesAnObserverThatWantsToMoveTheRobot) {
    Stage stage;
    const auto talk = Talk::with(stage.robot(), stage.robot().source->take_seat());
    talk->conversation->begin("viewer", talk->now);
    talk->say(one_action(1));
    ASSERT_EQ(talk->closed.size(), 1u);
    EXPECT_EQ(talk->closed[0].first, Cause::not_for_observers);
    EXPECT_EQ(stage.stats.protocol_errors.load(), 1u);
}

TEST(AConversation, GivesAnObserversSeatBackOnlyWhenNothingThatItLentIsInUse) {
    Stage stage([](ServerOptions& options) { options.max_observers = 1; });
    const auto talk = Talk::with(stage.robot(), stage.robot().source->take_seat());
    talk->conversation->begin("viewer", talk->now);
    talk->say(RequestType::obs_request);
    talk->hear();
    ASSERT_TRUE(talk->sending);
    talk->end(Cause::broken);
    EXPECT_EQ(stage.robot().source->take_seat(), nullptr) << "it is still being written";
    talk->conversation->let_go();
    EXPECT_NE(stage.robot().source->take_seat(), nullptr);
}

TEST(AConversation, WantsNoMessageWhileTheActionQueueIsFullAndIsToldWhenThereIsRoom) {
    Gate gate;
    Stage stage([](ServerOptions& options) { options.max_queued_actions = 4; },
                [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(0));
    ASSERT_TRUE(gate.reached());
    int taken = 1;
    for (; talk->conversation->wants_message(talk->now); ++taken) talk->say(one_action(1));
    EXPECT_EQ(taken, 4);
    gate.open();
    talk->hear();
    EXPECT_EQ(talk->read_ons, 1);
    EXPECT_TRUE(talk->conversation->wants_message(talk->now));
}

// An action of so many bytes, in its values or in the name of a camera that it says it saw.
Action large_action(std::size_t bytes, bool in_a_name) {
    Action action = one_action(1, in_a_name ? 1 : bytes / sizeof(float));
    if (in_a_name) action.obs_timestamps[std::string(bytes, 'n')] = 0.0;
    return action;
}

TEST(AConversation, BoundsTheBytesOfQueuedActionsToo) {
    for (const bool in_a_name : {false, true}) {
        Gate gate;
        constexpr std::size_t kLimit = 1 << 20, kEach = kLimit / 4;
        Stage stage([](ServerOptions& options) { options.max_queued_action_bytes = kLimit; },
                    [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
        const OpensAtEnd opener(gate);
        const auto talk = Talk::in_control(stage.robot());
        std::size_t taken = 0;
        for (; talk->conversation->wants_message(talk->now) && taken < 100; ++taken)
            talk->say(large_action(kEach, in_a_name));
        EXPECT_LE(taken, kLimit / kEach) << "of at most 256";
        gate.open();
        talk->hear();
        EXPECT_EQ(talk->read_ons, 1);
    }
}

TEST(AConversation, KeepsNoMemoryOfALargeAction) {
    constexpr std::size_t kLarge = 1 << 18;
    for (const bool in_a_name : {false, true}) {
        Stage stage;
        const auto talk = Talk::in_control(stage.robot());
        talk->say(large_action(kLarge, in_a_name));
        talk->say(one_action(2, 16));
        ASSERT_TRUE(eventually([&] { return stage.applied() == 2; }));
        std::size_t kept = 0;
        for (int i = 0; i < 100; ++i) {
            const Action used = stage.robot().hooks.used_action();
            kept = std::max(kept, used.data.capacity());
            for (const auto& [name, seconds] : used.obs_timestamps) kept = std::max(kept, name.size());
        }
        EXPECT_GE(kept, 16u) << "the memory of a small one serves again";
        EXPECT_LT(kept, kLarge / sizeof(float));
    }
}

TEST(AConversation, ThatIsDestroyedBeforeItBeganLeavesControlToTheNext) {
    Stage stage;
    {
        const auto first = Talk::with(stage.robot());
        ASSERT_TRUE(first->conversation->take_control(false));
    }
    const auto next = Talk::in_control(stage.robot());
    next->say(one_action(1));
    EXPECT_TRUE(eventually([&] { return stage.applied() == 1; }));
}

TEST(LooksAtTheSources, ThatStrangersCauseAreBoundedInNumber) {
    Gate gate;
    Stage stage;
    const OpensAtEnd opener(gate);
    robot::Hooks& hooks = stage.robot().hooks;
    int asked = 0;
    for (; !hooks.many_looks_wait() && asked < 1000; ++asked)
        hooks.push(robot::ObserverJob(robot::ReportSources{[&](const auto&) { gate.pass(); }}));
    EXPECT_LT(asked, 100);
    gate.open();
    EXPECT_TRUE(eventually([&] { return !hooks.many_looks_wait(); }));
}

TEST(AConversation, AppliesWhatWasSaidBeforeABadMessageAndEndsWithItsCause) {
    Stage stage;
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(1));
    talk->say(std::vector<std::uint8_t>{1, 2, 3});
    ASSERT_EQ(talk->closed.size(), 1u);
    EXPECT_EQ(talk->closed[0].first, Cause::bad_message);
    EXPECT_EQ(stage.stats.protocol_errors.load(), 1u);
    EXPECT_TRUE(eventually([&] { return stage.applied() == 1; }));
}

TEST(AConversation, ThatIsReplacedEndsOnce) {
    Stage stage;
    const auto first = Talk::in_control(stage.robot());
    ASSERT_TRUE(stage.server.control.wait([](const auto& events) { return events.size() == 1; }));
    const auto second = Talk::in_control(stage.robot(), true);
    first->hear();
    ASSERT_EQ(first->closed.size(), 1u);
    EXPECT_EQ(first->closed[0].first, Cause::control_lost);
    first->end(Cause::broken);
    ASSERT_TRUE(stage.server.control.wait([](const auto& events) { return events.size() == 3; }));
    second->end(Cause::left);
    ASSERT_TRUE(stage.server.control.wait([](const auto& events) { return events.size() == 4; }));
    EXPECT_EQ(stage.server.control.get(), (std::vector<std::string>{"connect", "disconnect: another client has taken over",
                                                                    "connect", "disconnect: gone"}));
}

TEST(AClientThatIsReplacedInTheMiddleOfItsHandshake, IsNeverInControl) {
    Stage stage;
    const auto first = Talk::with(stage.robot()), second = Talk::with(stage.robot());
    ASSERT_TRUE(first->conversation->take_control(false));
    ASSERT_TRUE(second->conversation->take_control(true));
    first->conversation->begin("first", first->now);  // too late
    second->conversation->begin("second", second->now);
    for (int i = 0; i < 3; ++i) {
        first->say(one_action(1));
        second->say(one_action(2));
    }
    ASSERT_TRUE(eventually([&] { return stage.applied() == 3; }));
    second->end(Cause::left);
    ASSERT_TRUE(stage.server.control.wait([](const auto& events) { return events.size() == 5; }));
    EXPECT_EQ(stage.server.control.get(),
              (std::vector<std::string>{"connect", "action 2", "action 2", "action 2", "disconnect: gone"}));
    ASSERT_EQ(first->closed.size(), 1u);
    EXPECT_EQ(first->closed[0].first, Cause::control_lost);
}

TEST(AConversation, CannotTakeControlBesideAnotherOne) {
    Stage stage;
    const auto first = Talk::in_control(stage.robot());
    const auto second = Talk::with(stage.robot());
    EXPECT_FALSE(second->conversation->take_control(false));
    first->end(Cause::left);
    EXPECT_TRUE(second->conversation->take_control(false));
}

TEST(AnActionThatComesTooLate, ReachesNoHookIsCountedAndToldToTheClient) {
    Stage stage([](ServerOptions& options) { options.max_action_delay = std::chrono::hours(1); });
    const auto talk = Talk::in_control(stage.robot());
    talk->arrived = talk->now - std::chrono::hours(2);
    for (int i = 0; i < 3; ++i) talk->say(one_action(1));
    talk->arrived = talk->now;
    talk->say(one_action(2));
    ASSERT_TRUE(eventually([&] { return stage.applied() == 1; }));
    EXPECT_EQ(stage.stats.actions_late.load(), 3u);
    EXPECT_EQ(stage.called("apply_action"), 1u);
    talk->say(RequestType::obs_request);
    talk->hear();
    EXPECT_EQ(talk->extra.at("chiral.actions_late"), ExtraValue(std::int64_t{3}));
    EXPECT_TRUE(eventually([&] { return stage.log.count("action came too late") == 2; })) << "the first and the second";
}

// A hook that takes long is not followed by a burst of what was meant for the past.
TEST(AnActionThatComesTooLate, IsOneThatWaitedBehindASlowHook) {
    Gate gate;
    Stage stage([](ServerOptions& options) { options.max_action_delay = milliseconds(100); },
                [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(0));
    ASSERT_TRUE(gate.reached());
    for (int i = 0; i < 20; ++i) talk->say(one_action(1));
    // They have waited long enough when this clock says so; nothing else can tell.
    const TimePoint late = Clock::now() + milliseconds(100);
    ASSERT_TRUE(eventually([&] { return Clock::now() > late; }));
    gate.open();
    ASSERT_TRUE(eventually([&] { return stage.stats.actions_late.load() == 20; }));
    EXPECT_EQ(stage.applied(), 1u);
}

}  // namespace
}  // namespace chiral::test
