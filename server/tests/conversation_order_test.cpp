// SPDX-License-Identifier: Apache-2.0
// What is answered and applied behind what, and what must not wait for what: through nothing but a conversation.
#include "conversations.hpp"

#include <numeric>

namespace chiral::test {
namespace {

using wire::RequestType;

constexpr auto without_haste = [](ServerOptions& options) { options.max_messages_per_second = 1'000'000; };

TEST(TheOrderOfAConversation, OfDifferentRequestsIsThatOfTheQuestions) {
    Stage stage(without_haste);
    const auto talk = Talk::in_control(stage.robot());
    std::vector<RequestType> expected;
    std::uint32_t random = 1;
    for (int i = 0; i < 300; ++i) {
        random = random * 1664525u + 1013904223u;
        const RequestType type = std::array{RequestType::metadata, RequestType::obs_request, RequestType::reset,
                                            RequestType::action}[random >> 30];
        talk->make_room();
        if (type == RequestType::action) talk->say(step_request(1));
        else talk->say(type);
        talk->make_room();
        talk->say(one_action(2));  // answered by nothing
        expected.push_back(type);
    }
    talk->take_answers(expected.size());
    EXPECT_EQ(talk->sent, expected);
    EXPECT_EQ(stage.stats.hook_errors.load(), 0u);
}

TEST(TheOrderOfAConversation, KeepsResetAndStepInTheirPlaceAmongTheActions) {
    Stage stage(without_haste);
    const auto talk = Talk::in_control(stage.robot());
    std::vector<std::string> expected;
    std::size_t answers = 0;
    const auto say = [&](const auto& what, std::initializer_list<const char*> hooks, bool answered) {
        talk->make_room();
        talk->say(what);
        expected.insert(expected.end(), hooks.begin(), hooks.end());
        answers += answered;
    };
    for (int i = 0; i < 60; ++i) {
        say(one_action(1), {"apply_action"}, false);
        if (i % 3 == 0) say(RequestType::reset, {"reset"}, true);
        if (i % 5 == 0) say(step_request(1), {"step", "apply_action", "get_obs"}, true);  // the default step() calls these
    }
    say(RequestType::reset, {"reset"}, true);
    talk->take_answers(answers);
    EXPECT_EQ(stage.server.calls.get(), expected);
}

TEST(TheOrderOfAConversation, OfTenThousandActionsIsThatInWhichTheyCameAndNoneIsLost) {
    constexpr int kActions = 10'000;
    Watched<std::vector<float>> applied;
    Stage stage(without_haste, [&](HookedServer& server) {
        server.on_action = [&](const Action& action) {
            applied.change([&](auto& numbers) { numbers.push_back(action.data[0]); });
        };
    });
    const auto talk = Talk::in_control(stage.robot());
    for (int i = 0; i < kActions; ++i) {
        talk->make_room();
        talk->say(one_action(static_cast<float>(i)));
    }
    ASSERT_TRUE(applied.wait([](const auto& numbers) { return numbers.size() == kActions; }));
    std::vector<float> expected(kActions);
    std::iota(expected.begin(), expected.end(), 0.f);
    EXPECT_EQ(applied.get(), expected);
    EXPECT_TRUE(eventually([&] { return stage.applied() == kActions; }));
    EXPECT_EQ(stage.stats.actions_received.load(), std::uint64_t{kActions});
}

TEST(TheOrderOfAConversation, OfRequestsIsKeptWhenTheirHookWasBlocked) {
    Gate gate;
    std::int64_t next = 0;
    Stage stage(without_haste, [&](HookedServer& server) {
        server.on_get_obs = [&] {
            gate.pass();
            Observation obs = server.make_obs();
            obs.extra["number"] = next++;
            return obs;
        };
    });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    for (std::size_t i = 0; i < robot::kReplies; ++i) talk->say(RequestType::obs_request);
    ASSERT_TRUE(gate.reached());
    EXPECT_TRUE(talk->sent.empty());
    gate.open();
    for (std::int64_t i = 0; i < 50; ++i) {
        while (!talk->sending) talk->hear();
        ASSERT_EQ(talk->extra.at("number"), ExtraValue(i));
        talk->written();
        talk->say(RequestType::obs_request);
    }
}

TEST(AnAction, DoesNotWaitForABlockedGetObs) {
    Gate gate;
    Stage stage(without_haste, [&](HookedServer& server) {
        server.on_get_obs = [&] {
            gate.pass();
            return server.make_obs();
        };
    });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    talk->say(RequestType::obs_request);
    ASSERT_TRUE(gate.reached());
    for (int i = 0; i < 100; ++i) talk->say(one_action(1));
    EXPECT_TRUE(eventually([&] { return stage.applied() == 100; }));
    EXPECT_TRUE(talk->sent.empty());
    gate.open();
    talk->take_answers(1);
}

TEST(AnObservation, DoesNotWaitForABlockedAction) {
    Gate gate;
    Stage stage(without_haste, [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(1));
    ASSERT_TRUE(gate.reached());
    for (std::size_t i = 1; i <= 100; ++i) {
        talk->say(RequestType::obs_request);
        talk->take_answers(i);
    }
    EXPECT_EQ(stage.applied(), 0u);
}

}  // namespace
}  // namespace chiral::test
