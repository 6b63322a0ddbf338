// SPDX-License-Identifier: Apache-2.0
// Stop means stop: from the moment that a hook throws, stop() is called or control is lost, no further action of that client
// reaches a hook, whatever is queued and whoever is blocked. The thread of the conversation, which is the test's, does nothing
// in between.
#include "conversations.hpp"

#include <stdexcept>

namespace chiral::test {
namespace {

using robot::Cause;
using wire::RequestType;

void queue_many(Talk& talk, float value = 1) {
    for (int i = 0; i < 194; ++i) talk.say(one_action(value));
}
// Everything that was queued has had its turn.
void settle(Stage& stage) { stage.robot().hooks.join(); }

TEST(StopMeansStop, WhenApplyActionThrows) {
    Gate gate;
    Stage stage([](ServerOptions&) {},
                [&](HookedServer& server) {
                    server.on_action = [&](const Action&) {
                        gate.pass();
                        throw std::runtime_error("motor off");
                    };
                });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(0));
    ASSERT_TRUE(gate.reached());
    queue_many(*talk);
    gate.open();
    settle(stage);
    EXPECT_EQ(stage.called("apply_action"), 1u);
    EXPECT_EQ(stage.stats.actions_dropped.load(), 194u);
    talk->hear();
    ASSERT_EQ(talk->closed.size(), 1u);
    EXPECT_EQ(talk->closed[0], std::pair(Cause::hook_failed, std::string("apply_action() failed: motor off")));
}

// on_connect() or on_action_timeout() throws while ten actions wait; `before`: what was applied until then.
void expect_that_it_stops(const std::string& event, const char* hook, std::size_t before) {
    Gate gate;
    Stage stage([](ServerOptions& options) { options.action_timeout = std::chrono::milliseconds(1); },
                [&](HookedServer& server) {
                    server.on_control = [&](const std::string& now) {
                        if (now != event) return;
                        gate.pass();
                        throw std::runtime_error("the motors are off");
                    };
                });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    for (std::size_t i = 0; i < before; ++i) talk->say(one_action(1));
    ASSERT_TRUE(gate.reached());
    for (int i = 0; i < 10; ++i) talk->say(one_action(2));
    gate.open();
    talk->hear();
    ASSERT_EQ(talk->closed.size(), 1u);
    EXPECT_EQ(talk->closed[0].first, Cause::hook_failed);
    EXPECT_EQ(talk->closed[0].second, std::string(hook) + "() failed: the motors are off");
    ASSERT_TRUE(eventually([&] { return stage.stats.actions_dropped.load() == 10; }));
    EXPECT_EQ(stage.applied(), before);
}

TEST(StopMeansStop, WhenOnConnectThrows) { expect_that_it_stops("connect", "on_connect", 0); }
TEST(StopMeansStop, WhenOnActionTimeoutThrows) { expect_that_it_stops("timeout", "on_action_timeout", 1); }

TEST(StopMeansStop, WhenResetThrowsBehindAnObservationThatNobodyReads) {
    Gate observing, resetting;
    Stage stage([](ServerOptions&) {},
                [&](HookedServer& server) {
                    server.on_get_obs = [&]() -> Observation {
                        observing.pass();
                        return server.make_obs();
                    };
                    server.on_reset = [&]() -> std::pair<Observation, InfoMap> {
                        resetting.pass();
                        throw std::runtime_error("not homed");
                    };
                });
    const OpensAtEnd opener(observing), other(resetting);
    const auto talk = Talk::in_control(stage.robot());
    talk->say(RequestType::obs_request);
    ASSERT_TRUE(observing.reached());
    talk->say(RequestType::reset);
    ASSERT_TRUE(resetting.reached());
    queue_many(*talk);
    resetting.open();
    while (talk->closed.empty()) talk->hear();  // get_obs() has not returned yet
    EXPECT_EQ(talk->closed[0], std::pair(Cause::hook_failed, std::string("reset() failed: not homed")));
    EXPECT_TRUE(talk->sent.empty());
    observing.open();
    settle(stage);
    EXPECT_EQ(stage.called("apply_action"), 0u);
}

TEST(StopMeansStop, WhenStepThrows) {
    Gate gate;
    Stage stage([](ServerOptions&) {},
                [&](HookedServer& server) {
                    server.on_step = [&](const Action&) -> StepResult {
                        gate.pass();
                        throw std::runtime_error("collision");
                    };
                });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    std::vector<std::uint8_t> step;
    wire::encode_legacy_action(one_action(0), step);
    talk->say(step);
    ASSERT_TRUE(gate.reached());
    queue_many(*talk);
    gate.open();
    settle(stage);
    EXPECT_EQ(stage.called("apply_action"), 0u);
    EXPECT_EQ(stage.called("step"), 1u);
}

// Two actions wait behind a reset(), or a step(), that returns what `make` makes; nobody tries to send that.
void expect_that_it_fails(bool resets, const std::function<Observation(HookedServer&)>& make) {
    SCOPED_TRACE(resets ? "reset" : "step");
    Gate gate;
    Stage stage([](ServerOptions& options) { options.gate.dimension = 1; },
                [&](HookedServer& server) {
                    server.on_reset = [&] {
                        gate.pass();
                        return std::pair(make(server), InfoMap());
                    };
                    server.on_step = [&](const Action&) {
                        gate.pass();
                        StepResult result;
                        result.obs = make(server);
                        return result;
                    };
                });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(0, 2));  // which the gate objects to, and the answer says so
    std::vector<std::uint8_t> request;
    if (resets) wire::encode_request(RequestType::reset, request);
    else wire::encode_legacy_action(one_action(0), request);
    talk->say(request);
    ASSERT_TRUE(gate.reached());
    for (int i = 0; i < 2; ++i) talk->say(one_action(1));
    gate.open();
    settle(stage);
    EXPECT_EQ(stage.called("apply_action"), 0u);
    EXPECT_EQ(stage.stats.actions_dropped.load(), 2u);
    EXPECT_EQ(stage.stats.hook_errors.load(), 1u);
}

TEST(StopMeansStop, WhenTheAnswerOfAResetOrAStepContradictsItself) {
    for (const bool resets : {true, false})
        expect_that_it_fails(resets, [](HookedServer& server) {
            Observation obs = server.make_obs();
            obs.cameras.at(0).image_shape = {1, 1, 1};
            return obs;
        });
}

TEST(StopMeansStop, WhenTheAnswerOfAResetOrAStepHasNoRoomForWhatTheServerAdds) {
    for (const bool resets : {true, false})
        expect_that_it_fails(resets, [](HookedServer& server) {
            Observation obs = server.make_obs();
            for (std::size_t i = 0; i < wire::Limits().max_map_entries; ++i) obs.extra.emplace(std::to_string(i), true);
            return obs;
        });
}

TEST(StopMeansStop, WhenGetObsThrows) {
    Gate observing, acting;
    Stage stage([](ServerOptions&) {},
                [&](HookedServer& server) {
                    server.on_get_obs = [&]() -> Observation {
                        observing.pass();
                        throw std::runtime_error("camera gone");
                    };
                    server.on_action = [&](const Action&) { acting.pass(); };
                });
    const OpensAtEnd opener(observing), other(acting);
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(0));
    ASSERT_TRUE(acting.reached());
    queue_many(*talk);
    talk->say(RequestType::obs_request);
    observing.open();
    ASSERT_TRUE(talk->notices.wait([](const auto& waiting) { return !waiting.empty(); }));
    acting.open();
    settle(stage);
    EXPECT_EQ(stage.called("apply_action"), 1u);
}

TEST(StopMeansStop, WhenTheServerIsStoppedInAHookAndTheNetworkThreadIsBlocked) {
    Gate gate;
    Stage* here = nullptr;
    Stage stage([](ServerOptions&) {},
                [&](HookedServer& server) {
                    server.on_action = [&](const Action&) {
                        gate.pass();
                        here->robot().stop();
                    };
                });
    here = &stage;
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(0));
    ASSERT_TRUE(gate.reached());
    queue_many(*talk);
    gate.open();
    settle(stage);
    EXPECT_EQ(stage.called("apply_action"), 1u);
    EXPECT_FALSE(Talk::with(stage.robot())->conversation->take_control(true)) << "nobody gets control any more";
}

TEST(StopMeansStop, WhenAnotherClientTakesOver) {
    Gate gate;
    Stage stage([](ServerOptions&) {},
                [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
    const OpensAtEnd opener(gate);
    const auto first = Talk::in_control(stage.robot());
    first->say(one_action(1));
    ASSERT_TRUE(gate.reached());
    queue_many(*first, 1);
    const auto second = Talk::in_control(stage.robot(), true);
    second->say(one_action(2));
    gate.open();
    settle(stage);
    EXPECT_EQ(stage.server.control.get(),
              (std::vector<std::string>{"connect", "action 1", "disconnect: another client has taken over", "connect",
                                        "action 2"}));
}

ActionGateOptions small_steps() {
    ActionGateOptions gate;
    gate.dimension = 1;
    gate.max_step = {0.1};
    return gate;
}

TEST(AResetThatFails, ForgetsNoActionAndAJumpBehindItDoesNotPass) {
    Gate gate;
    Stage stage([](ServerOptions& options) { options.gate = small_steps(); },
                [&](HookedServer& server) {
                    server.on_reset = [&]() -> std::pair<Observation, InfoMap> {
                        gate.pass();
                        throw std::runtime_error("not homed");
                    };
                });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(0));
    talk->say(RequestType::reset);
    talk->say(one_action(100));
    gate.open();
    settle(stage);
    EXPECT_EQ(stage.server.control.get(), (std::vector<std::string>{"connect", "action 0"}));
}

TEST(AnActionThatWasNotApplied, IsNoPlaceToStepFrom) {
    Stage stage([](ServerOptions& options) {
        options.gate = small_steps();
        options.max_action_delay = std::chrono::hours(1);
    });
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(0));
    talk->arrived = talk->now - std::chrono::hours(2);
    talk->say(one_action(0.1f));  // too late: the robot never went there
    talk->arrived = talk->now;
    talk->say(one_action(0.2f));
    settle(stage);
    EXPECT_EQ(stage.applied(), 1u);
    EXPECT_EQ(stage.stats.actions_rejected.load(), 1u);
}

// Each transport's thread has a queue of its own, and the action thread takes from the longest one first.
TEST(ClientsOfSeveralTransports, AreMetAndLeftInTheOrderInWhichTheyWereInControl) {
    Gate gate;
    Stage stage([](ServerOptions& options) { options.action_timeout = Duration::zero(); },
                [&](HookedServer& server) {
                    server.on_action = [&](const Action& action) {
                        if (action.data[0] == 1) gate.pass();
                    };
                });
    const OpensAtEnd opener(gate);
    const auto first = Talk::in_control(stage.robot());
    first->say(one_action(1));
    ASSERT_TRUE(gate.reached());
    first->end(Cause::broken);
    const auto second = Talk::in_control(stage.robot());
    second->end(Cause::broken);
    std::thread([&] {  // of another transport
        const auto third = Talk::in_control(stage.robot());
        for (int i = 0; i < 100; ++i) third->say(one_action(3));
        gate.open();
        ASSERT_TRUE(eventually([&] { return stage.applied() == 101; }));
        EXPECT_EQ(stage.called("apply_action"), 101u);
        std::vector<std::string> expected{"connect", "action 1", "disconnect: another client has come", "connect"};
        expected.insert(expected.end(), 100, "action 3");
        auto events = stage.server.control.get();
        if (events.size() > 2 && events[2] == "disconnect: gone") expected[2] = events[2];  // it was told in its place
        EXPECT_EQ(events, expected);
        third->end(Cause::left);
    })
        .join();
    ASSERT_TRUE(stage.server.control.wait([](const auto& events) { return events.size() == 105; }));
}

// The first has lost control to one of another transport and has not heard of it yet; both wait.
TEST(ClientsOfSeveralTransports, AreAllToldWhenThereIsRoomForActions) {
    Gate gate;
    Stage stage([](ServerOptions& options) { options.max_queued_actions = 4; },
                [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
    const OpensAtEnd opener(gate);
    const auto first = Talk::in_control(stage.robot());
    for (int i = 0; i < 4; ++i) first->say(one_action(1));
    ASSERT_TRUE(gate.reached());
    const auto second = Talk::in_control(stage.robot(), true);
    EXPECT_FALSE(second->conversation->wants_message(second->now));
    EXPECT_FALSE(first->conversation->wants_message(first->now));
    gate.open();
    second->hear();
    EXPECT_EQ(second->read_ons, 1);
}

TEST(ClientsThatAreLongGone, CostTheNextOneNothing) {
    Gate gate;
    Stage stage([](ServerOptions&) {},
                [&](HookedServer& server) {
                    server.on_control = [&](const std::string& event) {
                        if (event == "connect") gate.pass();
                    };
                });
    const OpensAtEnd opener(gate);
    const auto first = Talk::in_control(stage.robot());
    ASSERT_TRUE(gate.reached());  // in the hook of the first
    first->end(Cause::left);
    for (int i = 0; i < 100; ++i) Talk::in_control(stage.robot())->end(i % 2 == 0 ? Cause::left : Cause::broken);
    const auto last = Talk::in_control(stage.robot());
    last->say(one_action(7));
    gate.open();
    settle(stage);
    EXPECT_EQ(stage.server.control.get(), (std::vector<std::string>{"connect", "disconnect: gone", "connect", "action 7"}));
}

TEST(AClientThatLeftInOrder, MovesTheRobotForABoundedTimeOnly) {
    for (const bool bounded : {true, false}) {
        Gate gate;
        Stage stage(
            [&](ServerOptions& options) { options.departed_action_time = bounded ? Duration::zero() : Duration(kDeadline); },
            [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
        const OpensAtEnd opener(gate);
        const auto talk = Talk::in_control(stage.robot());
        talk->say(one_action(0));
        ASSERT_TRUE(gate.reached());
        queue_many(*talk);
        talk->end(Cause::left);
        gate.open();
        settle(stage);
        EXPECT_EQ(stage.called("apply_action"), bounded ? 1u : 195u);
        EXPECT_EQ(stage.server.control.get().back(), "disconnect: gone");
    }
}

TEST(EveryEnding, ThatHasACodeLeavesNothingBehindUnlessTheClientMeantIt) {
    for (const robot::Ending& ending : robot::kEndings) {
        const bool meant = ending.cause == Cause::left || ending.cause == Cause::text_message ||
                           ending.cause == Cause::bad_message || ending.cause == Cause::not_for_observers;
        EXPECT_EQ(ending.tail == robot::Tail::counts, meant) << static_cast<int>(ending.cause);
        EXPECT_TRUE(ending.close_code == 0 || (ending.close_code >= 1000 && ending.close_code <= 1011));
    }
}

// ---- serving ----

TEST(Stopping, FromALogCallbackInsideServeDoesNotDeadlock) {
    HookedServer* server = nullptr;
    ServerOptions options;
    options.quiesce = Duration::zero();
    options.log = [&](const std::string&) {
        if (server) server->stop();
    };
    HookedServer open_to_all(one_small_camera(), {}, "0.0.0.0", 0, options);  // which is worth a warning
    server = &open_to_all;
    open_to_all.serve();
    open_to_all.wait();
}

TEST(Stopping, JustBeforeALaterRunIsNotLost) {
    LogBook log;
    HookedServer server(one_small_camera(), {}, "127.0.0.1", 0, quiet(log));
    for (int i = 0; i < 3; ++i) {
        server.stop();
        server.run();
    }
}

TEST(Stopping, NamesTheHookThatItWaitsFor) {
    Gate gate;
    Served<HookedServer> served(
        one_small_camera(), {}, [](ServerOptions&) {},
        [&](HookedServer& server) {
            server.on_reset = [&] {
                gate.pass();
                return std::pair(server.make_obs(), InfoMap{});
            };
        });
    const OpensAtEnd opener(gate);
    RawClient client = served.connect();
    client.send(RequestType::reset);
    ASSERT_TRUE(gate.reached());
    served->stop();
    EXPECT_TRUE(served.log.wait_for("stopping waits for a hook: reset() has not returned for "));
}

}  // namespace
}  // namespace chiral::test
