// SPDX-License-Identifier: Apache-2.0
// What one client says and is told, whatever carries it: the client in control, or an observer.
//
// No socket, no clock, no thread: messages and the time go in; replies to write, endings, and when it wants to be called
// again go out, through a Carrier. So a transport is a carrier and nothing else.
//
// Messages are taken all the time, also while a large observation is being written, so that an action behind it is applied at
// once. Requests are answered in the order in which they came, one answer being written at a time. get_obs() is called when
// its turn to be written has come, so an observation is never older than it must be; reset() and step() are queued for the
// action thread on arrival, so that they keep their place among the actions. No message is wanted while kReplies requests are
// unanswered, the action queue is full or messages come too fast: the client then feels its transport's back-pressure, and no
// memory grows.
//
// An observer has a seat: a reader of its own. It asks for metadata and observations only, at a bounded rate, reaches no
// hook but get_metadata(), and what it asks for is made on the observers' thread.
//
// Thread rule: one thread, that of its carrier. Times are those of Clock and do not go back.
#pragma once

#include "imaging/budget.hpp"
#include "robot/carrier.hpp"
#include "robot/rate_limit.hpp"
#include "robot/reply.hpp"
#include "robot/robot.hpp"

#include <chiral/wire.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <string>

namespace chiral::robot {

class Conversation {
public:
    /// With a seat it observes; without one it is to be given control. The carrier owns it, and so outlives it.
    Conversation(Robot& robot, Carrier& carrier, std::unique_ptr<ObservationSource::Seat> seat);
    /// Whoever could not begin, for want of memory, is not in control for ever.
    ~Conversation();
    Conversation(const Conversation&) = delete;

    bool observes() const noexcept { return observes_; }
    /// Before it begins: makes this the client in control. False: see Control::take().
    bool take_control(bool take_over);
    /// Whether what it says may move the robot still.
    bool in_control(TimePoint now) const noexcept { return lease_ && lease_->holds(now); }
    /// The client is there. May end at once, if control was lost meanwhile.
    void begin(const std::string& peer, TimePoint now);

    /// Whether a message is to be read now. If not, Carrier::read_on() is called when that may have changed.
    bool wants_message(TimePoint now);
    /// A whole message, and when it arrived at the earliest.
    void message(wire::Bytes bytes, TimePoint arrived, TimePoint now);
    /// The reply that was sent last has been written: so many bytes.
    void sent(std::size_t bytes, TimePoint now);
    /// The reply that was to be sent cannot be encoded, and was not.
    void unsendable(const std::string& why);
    /// Carrier::notify() was called.
    void notice(Notice notice, TimePoint now);
    /// The time of Carrier::wake_at() has come.
    void wake(TimePoint now);

    /// It has ended: the lease with it, and what it holds is given back. Does nothing the second time.
    void over(Cause cause, const std::string& reason, TimePoint now);
    /// While a reply was being written it had to wait with giving that back: the carrier is done with it.
    void let_go();

    std::size_t asked() const noexcept { return asked_; }  // requests, which are to be answered
    std::size_t answered() const noexcept { return answered_; }

private:
    bool fits(const Want& want);
    void take_action(TimePoint arrived);
    void take_request(TimePoint arrived, TimePoint now);
    void advance(TimePoint now);
    void ask(Reply& reply, std::size_t index, TimePoint now);
    bool within_budget(Reply& reply, TimePoint now);
    bool may_answer();
    void send(Reply& reply);
    void wake_by(TimePoint time);
    void read_on();
    void leave_seat();
    ReplyTicket ticket(std::size_t index);

    Robot& robot_;
    Carrier& carrier_;
    const bool observes_;
    std::unique_ptr<ObservationSource::Seat> seat_;  // before the replies, which hold what it lends
    std::shared_ptr<Lease> lease_;

    enum class Phase { before, open, over } phase_{Phase::before};
    bool held_back_{false};  // a message was not wanted
    bool sending_{false};
    std::atomic<bool> gone_{false};  // nobody waits for replies
    TimePoint wake_at_{TimePoint::max()};

    RateLimit messages_;
    RateLimit looks_;  // of an observer
    struct {
        imaging::Budget control;
        TimePoint not_before{};  // the next answer
        TimePoint begun{};       // that which is being made
        Duration took{};         // the one before, as the client has measured it
        double scale{1.0};       // of the last one
    } budget_;                   // of a client that names one

    wire::Request request_;
    std::array<Reply, kReplies> replies_;
    std::size_t asked_{0};     // requests so far; the newest reply is at (asked_ - 1) % kReplies
    std::size_t answered_{0};  // answers written so far
};

}  // namespace chiral::robot
