// SPDX-License-Identifier: Apache-2.0
// Hooks that run one at a time: whoever waits for its turn is judged when it has it, and keeps nobody from stopping the robot.
#include "conversations.hpp"

#include <chiral/pending_call.hpp>

#include <atomic>

namespace chiral::test {
namespace {

using robot::Cause;
using wire::RequestType;

/// Its get_obs() stands at a gate, and an action waits for that to end.
class HeldUp {
public:
    /// `waited`: for how long the action has done so already when it comes.
    explicit HeldUp(
        const std::function<void(ServerOptions&)>& adjust = [](ServerOptions&) {}, Duration waited = Duration::zero())
        : stage(
              [&](ServerOptions& options) {
                  options.hooks_one_at_a_time = true;
                  adjust(options);
              },
              [this](HookedServer& server) {
                  server.on_get_obs = [this, &server] {
                      gate_.pass();
                      return server.make_obs();
                  };
              }) {
        talk = Talk::in_control(stage.robot());
        talk->say(one_action(1));
        EXPECT_TRUE(eventually([&] { return stage.applied() == 1; }));
        talk->say(RequestType::obs_request);
        EXPECT_TRUE(gate_.reached());
        talk->arrived = talk->now - waited;
        talk->say(one_action(2));
    }
    ~HeldUp() { gate_.open(); }
    void let_go_on() {
        gate_.open();
        stage.robot().hooks.join();
    }
    bool told(const std::string& event) {
        return stage.server.control.wait([&](const auto& events) { return !events.empty() && events.back() == event; });
    }

private:
    Gate gate_;

public:
    Stage stage;
    std::shared_ptr<Talk> talk;
};

TEST(AnActionThatWaitsForItsTurn, IsAppliedWhenItHasIt) {
    HeldUp held;
    held.let_go_on();
    EXPECT_EQ(held.stage.applied(), 2U);
}

TEST(AnActionThatWaitsForItsTurn, IsNotAppliedOnceTheServerIsStopped) {
    HeldUp held;
    held.stage.robot().stop();
    held.let_go_on();
    EXPECT_EQ(held.stage.applied(), 1U);
    EXPECT_EQ(held.stage.stats.actions_dropped.load(), 1U);
}

TEST(AnActionThatWaitsForItsTurn, IsNotAppliedOnceItIsTooOld) {
    HeldUp held([](ServerOptions& options) { options.max_action_delay = std::chrono::hours(1); }, std::chrono::hours(2));
    EXPECT_TRUE(eventually([&] { return held.stage.stats.actions_late.load() == 1; })) << "it waits no longer than that";
    held.let_go_on();
    EXPECT_EQ(held.stage.applied(), 1U);
}

TEST(AnActionThatWaitsForItsTurn, KeepsNeitherTheTimeoutNorTheDepartureWaiting) {
    HeldUp held([](ServerOptions& options) { options.action_timeout = std::chrono::milliseconds(20); });
    EXPECT_TRUE(held.told("timeout"));
    held.talk->end(Cause::broken);
    EXPECT_TRUE(held.told("disconnect: gone"));
    held.let_go_on();
    EXPECT_EQ(held.stage.applied(), 1U);
}

// As a hook does that begins what control stands and falls with.
TEST(AHookThatKeepsTheEndOfControl, EndsItsClientsWheneverThatIsCalledAndNobodyElses) {
    std::function<void(std::string_view)> end;
    Gate gate;
    Stage stage([](ServerOptions& options) { options.action_timeout = Duration::zero(); },
                [&](HookedServer& server) {
                    server.on_control = [&](const std::string& event) {
                        if (event == "connect" && !end) end = PendingCall::of_this_thread()->ender();
                    };
                    server.on_action = [&](const Action&) { gate.pass(); };
                });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    for (const float value : {1.0F, 2.0F}) talk->say(one_action(value));
    ASSERT_TRUE(gate.reached());
    end("the arm is gone");
    gate.open();
    talk->hear();
    ASSERT_EQ(talk->closed.size(), 1U);
    EXPECT_EQ(talk->closed[0], std::pair(Cause::hook_failed, std::string("the arm is gone")));
    const auto next = Talk::in_control(stage.robot());
    end("again");
    next->say(one_action(3));
    stage.robot().hooks.join();
    EXPECT_EQ(stage.server.control.get(),
              (std::vector<std::string>{"connect", "action 1", "disconnect: the arm is gone", "connect", "action 3"}));
    EXPECT_EQ(stage.stats.actions_dropped.load(), 1U);
}

// As a hook does that waits for an interpreter.
TEST(AHookThatWaitsBeforeItBegins, IsAsIfItHadNotBeenCalledOnceTheClientHasLostControl) {
    Gate gate;
    std::atomic<int> counted{0};
    Stage stage([](ServerOptions&) {},
                [&](HookedServer& server) {
                    server.on_action = [&](const Action& action) {
                        const PendingCall& call = *PendingCall::of_this_thread();
                        if (action.data.at(0) != 1) gate.pass();
                        if (!call.counts()) throw NotCalled();
                        ++counted;
                    };
                });
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(1));
    talk->say(one_action(2));
    EXPECT_TRUE(gate.reached());
    stage.robot().stop();
    gate.open();
    stage.robot().hooks.join();
    EXPECT_EQ(counted.load(), 1);
    EXPECT_EQ(stage.applied(), 1U);
    EXPECT_EQ(stage.stats.actions_dropped.load(), 1U);
    EXPECT_EQ(stage.stats.hook_errors.load(), 0U);
    EXPECT_EQ(PendingCall::of_this_thread(), nullptr);
}

TEST(HooksOneAtATime, NeverMeetAndAllHaveTheirTurn) {
    std::atomic<int> inside{0}, met{0};
    const auto alone = [&] {
        if (inside.fetch_add(1) != 0) ++met;
        std::this_thread::yield();
        inside.fetch_sub(1);
    };
    Stage stage([](ServerOptions& options) { options.hooks_one_at_a_time = true; },
                [&](HookedServer& server) {
                    server.on_action = [&](const Action&) { alone(); };
                    server.on_get_obs = [&] {
                        alone();
                        return server.make_obs();
                    };
                    server.on_reset = [&] {
                        alone();
                        return std::pair(server.make_obs(), InfoMap{});
                    };
                });
    const auto talk = Talk::in_control(stage.robot());
    for (std::size_t i = 1; i <= 50; ++i) {
        for (int k = 0; k < 3; ++k) talk->say(one_action(1));
        talk->say(i % 10 == 0 ? RequestType::reset : RequestType::obs_request);
        talk->take_answers(i);
    }
    stage.robot().hooks.join();
    EXPECT_EQ(stage.applied(), 150U);
    EXPECT_EQ(met, 0);
}

}  // namespace
}  // namespace chiral::test
