// SPDX-License-Identifier: Apache-2.0
// Clients that want something: their limits and budgets, and what happens to the robot when they go, or lose control, while
// their pictures are being made. Without a socket and without waiting for a clock.
#include "conversations.hpp"

#include <atomic>
#include <map>
#include <utility>

namespace chiral::test {
namespace {

using robot::Cause;
using std::chrono::milliseconds;

std::vector<std::uint8_t> message_of(const Want& want) {
    std::vector<std::uint8_t> message;
    wire::encode_obs_request({want, {}, 0.0}, message);
    return message;
}

Want of_size(int side, ImageEncoding image = ImageEncoding::png) {
    Want want;
    want.all.size = {side, side};
    want.all.image = image;
    return want;
}

// Long to make: an action needs a thousandth of that.
Want enormous() { return of_size(1000); }

// The reply that is being written next, whatever else there is to hear before.
void await_reply(Talk& talk) {
    while (!talk.sending) ASSERT_NO_FATAL_FAILURE(talk.hear());
}

TEST(AClientThatWantsSomething, GetsItFromTheHookOfEverybody) {
    Stage stage;
    const auto talk = Talk::in_control(stage.robot());
    talk->say(message_of(of_size(3)));
    await_reply(*talk);
    const CameraInfo& camera = talk->sending->result.obs.cameras.at(0);
    EXPECT_EQ(camera.image_shape, (std::vector<int>{3, 3, 3}));
    EXPECT_EQ(camera.image_encoding, ImageEncoding::png);
    EXPECT_EQ(stage.called("get_obs"), 1u);
    talk->written();
}

TEST(AClientThatWantsSomething, TooLargeIsRefusedBeforeAnythingIsMade) {
    Stage stage([](ServerOptions& options) { options.wants.max_bytes = 30'000; });
    const auto talk = Talk::in_control(stage.robot());
    talk->say(message_of(of_size(60)));  // 60 * 60 * (3 + 4)
    await_reply(*talk);
    talk->written();
    talk->say(message_of(of_size(70)));
    ASSERT_EQ(talk->closed.size(), 1u);
    EXPECT_EQ(talk->closed[0].first, Cause::bad_message);
    EXPECT_EQ(talk->closed[0].second, "obs_request: want: its pictures take 34300 bytes together, at most 30000 accepted");
    EXPECT_EQ(stage.called("get_obs"), 1u);
    EXPECT_EQ(stage.stats.protocol_errors.load(), 1u);
}

TEST(AClientThatWantsSomething, HasItsActionsAppliedWhileItsPicturesAreMade) {
    std::shared_ptr<Talk> talk;
    std::atomic<bool> waits{false};
    Stage stage(
        [](ServerOptions&) {},
        [&](HookedServer& server) { server.on_action = [&](const Action&) { waits = talk->notices.get().empty(); }; });
    talk = Talk::in_control(stage.robot());
    talk->say(message_of(enormous()));
    talk->say(one_action(1));
    ASSERT_TRUE(eventually([&] { return stage.applied() == 1; }));
    EXPECT_TRUE(waits) << "the observation comes later";
    await_reply(*talk);
    talk->written();
    talk.reset();  // the stage, whose hook looks at it, is older than it, and yet ends first
}

TEST(AClientThatWantsSomething, IsReplacedWhileItsPicturesAreMade) {
    Stage stage([](ServerOptions& options) { options.allow_takeover = true; });
    const auto first = Talk::in_control(stage.robot());
    first->say(message_of(enormous()));
    ASSERT_TRUE(eventually([&] { return stage.called("get_obs") == 1; }));
    const auto second = Talk::in_control(stage.robot(), true);
    second->say(one_action(2));
    ASSERT_TRUE(eventually([&] { return stage.applied() == 1; }));
    first->hear();  // that it lost control
    ASSERT_EQ(first->closed.size(), 1u);
    EXPECT_EQ(first->closed[0].first, Cause::control_lost);
    second->say(message_of(of_size(3)));
    await_reply(*second);
    second->written();
    first->hear();  // its observation, which nobody wants any more
    EXPECT_EQ(first->sending, nullptr);
}

TEST(AClientThatWantsSomething, LeavesItsSeatToOthersOnlyWhenNothingIsMadeOfWhatItLent) {
    Stage stage([](ServerOptions& options) { options.max_observers = 1; });
    const auto talk = Talk::with(stage.robot(), stage.robot().source->take_seat());
    talk->conversation->begin("viewer", talk->now);
    talk->say(message_of(enormous()));
    talk->end(Cause::broken);
    EXPECT_EQ(stage.robot().source->take_seat(), nullptr);
    talk->hear();
    EXPECT_NE(stage.robot().source->take_seat(), nullptr);
    EXPECT_EQ(talk->sending, nullptr);
}

TEST(AClientThatWantsSomething, DoesNotKeepARobotThatIsBeingStopped) {
    Stage stage;
    const auto talk = Talk::in_control(stage.robot());
    talk->say(message_of(enormous()));
    talk->say(message_of(enormous()));
    ASSERT_TRUE(eventually([&] { return stage.called("get_obs") == 1; }));
    stage.robot().stop();
    talk->hear();  // that control is over, which ends the conversation
    stage.robot().hooks.join();
    talk->hear();
    EXPECT_EQ(stage.called("get_obs"), 1u) << "the second was never asked for";
    EXPECT_EQ(talk->sending, nullptr);
}

// A client with a budget, on a link of which the test says how long it takes.
class AWantWithABudget : public testing::Test {
protected:
    AWantWithABudget() {
        want.all.image = ImageEncoding::jpeg;
        want.all.size = {20, 20};
        want.budget = WantBudget{0, 0.05, 40, 0.5, 2};
    }
    // Asks; time passes until the answer is there.
    const CameraInfo& ask(const std::map<std::string, wire::Have>& have = {}) {
        std::vector<std::uint8_t> message;
        wire::encode_obs_request({want, have, took}, message);
        talk->say(message);
        while (!talk->sending) {
            if (talk->wake && *talk->wake > talk->now) {
                talk->now = *talk->wake;
                talk->conversation->wake(talk->now);
            } else {
                talk->hear();
            }
        }
        return talk->sending->result.obs.cameras.at(0);
    }
    // One question and its answer, the writing of which takes so long.
    void answer(Duration taken) {
        shape = ask().image_shape;
        talk->now += taken;
        talk->written();
        talk->now += milliseconds(30);
    }

    Want want;
    double took{0};  // the answer before, as the client says
    Stage stage;
    std::shared_ptr<Talk> talk = Talk::in_control(stage.robot());
    std::vector<int> shape;
};

TEST_F(AWantWithABudget, IsCutDownToItsBoundsWhichIsSaidAndRecovers) {
    answer(milliseconds(100));
    EXPECT_TRUE(talk->extra.empty()) << "nothing is lowered yet";
    const TimePoint begin = talk->now;
    while (!talk->extra.contains("chiral.want_hz") && talk->now - begin < std::chrono::seconds(60))
        answer(milliseconds(100));
    EXPECT_EQ(talk->extra.at("chiral.want_quality"), ExtraValue(std::int64_t{40}));
    EXPECT_EQ(talk->extra.at("chiral.want_scale"), ExtraValue(0.5));
    EXPECT_EQ(shape, (std::vector<int>{10, 10, 3}));
    for (int i = 0; i < 20; ++i) answer(milliseconds(100));
    const TimePoint slow = talk->now;
    answer(milliseconds(100));
    EXPECT_GE(talk->now - slow, milliseconds(490)) << "two a second";
    const TimePoint good = talk->now;
    while (!talk->extra.empty() && talk->now - good < std::chrono::minutes(10)) answer(milliseconds(1));
    EXPECT_TRUE(talk->extra.empty());
    EXPECT_EQ(shape, (std::vector<int>{20, 20, 3}));
}

TEST_F(AWantWithABudget, FollowsTheClientsClockWhereTheNetworkHoldsWhatWasWrittenAtOnce) {
    took = 0.2;
    for (int i = 0; i < 100; ++i) answer(milliseconds(1));
    EXPECT_TRUE(talk->extra.contains("chiral.want_quality"));
    took = 0.01;
    for (int i = 0; i < 2000 && !talk->extra.empty(); ++i) answer(milliseconds(1));
    EXPECT_TRUE(talk->extra.empty());
}

TEST_F(AWantWithABudget, LeavesNothingOutThatTheClientHasInAnotherSize) {
    const std::vector<std::uint8_t> pixels(4 * 6 * 3, 90);
    ASSERT_TRUE(stage.robot().source->engine().update_image(0, pixels.data(), pixels.size()));
    // An observer sees what lies in this robot's engine; get_obs() here is of another.
    talk = Talk::with(stage.robot(), stage.robot().source->take_seat());
    talk->conversation->begin("viewer", talk->now);
    want.only_if_newer = true;
    double scale = 1.0;
    for (int i = 0; i < 200 && scale > 0.5; ++i) {
        const bool left_out = ask({{"wrist", {1, 1}}}).image_unchanged;
        const auto said = talk->extra.find("chiral.want_scale");
        const double now = said == talk->extra.end() ? 1.0 : std::get<double>(said->second);
        EXPECT_EQ(left_out, now == std::exchange(scale, now)) << now;
        talk->now += milliseconds(100);
        talk->written();
    }
    EXPECT_EQ(scale, 0.5);
}

}  // namespace
}  // namespace chiral::test
