// SPDX-License-Identifier: Apache-2.0
// A robot with its hook threads, and clients that talk to it through nothing: what a transport would do, the test does, at
// times that it chooses.
#pragma once

#include "robot/checked_options.hpp"
#include "robot/conversation.hpp"
#include "support.hpp"

#include <chiral/log.hpp>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace chiral::test {

/// The robot side of a server that is not served.
class Stage {
public:
    explicit Stage(
        const std::function<void(ServerOptions&)>& adjust = [](ServerOptions&) {},
        const std::function<void(HookedServer&)>& prepare = [](HookedServer&) {})
        : server(one_small_camera(), {}, "127.0.0.1", 0, quiet(log)),
          options_(robot::checked(adjusted(adjust), one_small_camera(), said_)),
          source_(std::make_shared<robot::ObservationSource>(one_small_camera(), std::vector<ProprioConfig>(),
                                                             options_.engine, robot::seats_of(options_), log.sink())) {
        prepare(server);
        robot_.emplace(server, options_, stats, source_);
    }
    ~Stage() { robot_->hooks.join(); }
    robot::Robot& robot() { return *robot_; }
    std::size_t applied() const { return stats.actions_applied.load(); }
    std::size_t called(const std::string& hook) const {
        const auto names = server.calls.get();
        return static_cast<std::size_t>(std::count(names.begin(), names.end(), hook));
    }

    LogBook log;
    HookedServer server;
    robot::StatCounters stats;

private:
    ServerOptions adjusted(const std::function<void(ServerOptions&)>& adjust) {
        ServerOptions options = quiet(log);
        options.max_action_delay = Duration::zero();  // the time of a Talk stands still while that of the hooks goes on
        adjust(options);
        return options;
    }
    Log said_{log.sink()};
    ServerOptions options_;
    std::shared_ptr<robot::ObservationSource> source_;
    std::optional<robot::Robot> robot_;
};

/// One client. `now` is its time.
class Talk final : public robot::Carrier {
public:
    static std::shared_ptr<Talk> with(robot::Robot& robot, std::unique_ptr<robot::ObservationSource::Seat> seat = nullptr) {
        auto talk = std::make_shared<Talk>();
        talk->conversation.emplace(robot, *talk, std::move(seat));
        return talk;
    }
    /// In control from now on.
    static std::shared_ptr<Talk> in_control(robot::Robot& robot, bool take_over = false) {
        auto talk = with(robot);
        EXPECT_TRUE(talk->conversation->take_control(take_over));
        talk->conversation->begin("peer", talk->now);
        return talk;
    }

    void say(const std::vector<std::uint8_t>& message) { conversation->message(message, arrived.value_or(now), now); }
    void say(wire::RequestType type) {
        wire::encode_request(type, buffer_);
        say(buffer_);
    }
    void say(const Action& action) {
        wire::encode_apply_action(action, false, buffer_);
        say(buffer_);
    }
    /// Hands over one notice when it has come.
    void hear() {
        robot::Notice notice{};
        ASSERT_TRUE(notices.wait([](const auto& waiting) { return !waiting.empty(); }));
        notices.change([&](auto& waiting) {
            notice = waiting.front();
            waiting.pop_front();
        });
        conversation->notice(notice, now);
    }
    /// As long as the server would not read: what it waits for happens.
    void make_room() {
        while (!conversation->wants_message(now) && !testing::Test::HasFatalFailure()) {
            if (sending) written();
            else hear();
        }
    }
    /// So many answers were sent and written in all.
    void take_answers(std::size_t count) {
        while ((sent.size() < count || sending) && !testing::Test::HasFatalFailure()) {
            if (sending) written();
            else hear();
        }
    }
    /// What was sent last has been written.
    void written() {
        sending = nullptr;
        conversation->sent(100, now);
    }
    /// The connection breaks, or the client leaves.
    void end(robot::Cause cause) { conversation->over(cause, "gone", now); }

    void send(robot::Reply& reply) override {
        EXPECT_EQ(sending, nullptr) << "one at a time";
        sending = &reply;
        sent.push_back(reply.type);
        extra = reply.result.obs.extra;
    }
    void close(robot::Cause cause, const std::string& reason) override {
        closed.emplace_back(cause, reason);
        conversation->over(cause, reason, now);
    }
    void read_on() override { ++read_ons; }
    void wake_at(TimePoint time) override { wake = time; }
    void notify(robot::Notice notice) noexcept override {
        notices.change([&](auto& waiting) { waiting.push_back(notice); });
    }

    TimePoint now = Clock::now();
    std::optional<TimePoint> arrived;  // of messages, if not now
    robot::Reply* sending{nullptr};
    std::vector<wire::RequestType> sent;
    ExtraMap extra;  // of what was sent last
    std::vector<std::pair<robot::Cause, std::string>> closed;
    int read_ons{0};
    std::optional<TimePoint> wake;
    Watched<std::deque<robot::Notice>> notices;
    std::optional<robot::Conversation> conversation;  // last

private:
    std::vector<std::uint8_t> buffer_;
};

inline Action one_action(float value, std::size_t size = 1) {
    Action action;
    action.N = 1;
    action.D = static_cast<int>(size);
    action.data.assign(size, value);
    return action;
}

inline std::vector<std::uint8_t> step_request(float value) {
    std::vector<std::uint8_t> message;
    wire::encode_legacy_action(one_action(value), message);
    return message;
}

}  // namespace chiral::test
