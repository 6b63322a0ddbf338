// SPDX-License-Identifier: Apache-2.0
// Carries a conversation over Zenoh: what comes from one client's key, and what is sent under another. What a client may say
// and is told is the conversation's business.
//
// There is no connection to see break. Ours has a liveliness token, and is gone when that is. A documented client has none: it
// is gone when nobody subscribes to its answers any more, or when it has said nothing for ZenohOptions::silence.
//
// Thread rule: network thread, except notify().
#pragma once

#include "net/handler_memory.hpp"
#include "robot/answer_encoder.hpp"
#include "robot/conversation.hpp"
#include "zenoh/inbox.hpp"
#include "zenoh/sender.hpp"
#include "zenoh/service.hpp"

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace chiral::zenoh {

class Session final : public robot::Carrier {
public:
    /// `client`: the id of one of ours; empty for a documented one. With a seat it observes; without one it has to take
    /// control before it is started.
    Session(Service& service, std::string client, std::shared_ptr<Inbox> inbox,
            std::unique_ptr<robot::ObservationSource::Seat> seat);

    bool take_control(bool take_over) { return conversation_.take_control(take_over); }
    void start(net::ZenohPublisher publisher);
    /// Tells one of ours that it is in. Again, if it asks again.
    void welcome();
    /// Something has come into the inbox.
    void read();
    /// It is over, and the client is told if that is possible.
    void finish(robot::Cause cause, const std::string& why);
    /// The same, also where there is no memory for it.
    void abort() noexcept;

    // Carrier.
    void send(robot::Reply& reply) override;
    void close(robot::Cause cause, const std::string& reason) override { finish(cause, reason); }
    void read_on() override { read(); }
    void wake_at(TimePoint time) override;
    void notify(robot::Notice notice) noexcept override;

private:
    std::shared_ptr<Session> self() { return std::static_pointer_cast<Session>(shared_from_this()); }
    bool documented() const noexcept { return client_.empty(); }
    void say(net::ZenohNote::Kind kind, std::uint16_t code, const std::string& text);
    std::vector<chiral_zenoh_bytes> gather(const robot::Reply& reply);
    std::shared_ptr<void> until_written();
    void on_written();
    void watch_write();
    void watch_silence();
    std::string peer() const;
    std::string who() const;

    Service& service_;
    const std::string client_;
    enum class Phase { before, open, finished } phase_{Phase::before};
    const std::shared_ptr<Inbox> inbox_;
    Sender* sender_{nullptr};  // the service's: until it has sent what was said last

    TimePoint heard_at_, watched_at_{};
    std::deque<std::uint64_t> asked_;  // numbers of requests that are not answered
    bool writing_{false};
    std::size_t written_bytes_{0};  // when that is done
    std::string write_failed_;
    Service::Timer wake_, deadline_, silence_;

    robot::AnswerEncoder encoder_;

    struct {
        net::HandlerMemory wake, written;
        std::array<net::HandlerMemory, static_cast<std::size_t>(robot::Notice::count_)> notice;
    } memory_;

    std::optional<robot::Present> present_;  // once it has been let in
    robot::Conversation conversation_;       // last: it holds what it lends to the pieces
};

}  // namespace chiral::zenoh
