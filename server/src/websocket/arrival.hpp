// SPDX-License-Identifier: Apache-2.0
// When a message arrived at the earliest, though it was read later.
//
// TCP does not say when bytes came. But as long as a read is pending and the event loop turns, what comes is read at once. If
// there was a gap in that (the process was stopped, its thread blocked, the connection held back), what the kernel holds at
// its end may have come at any time since its beginning: that is then the time of every message of which the kernel held the
// end. No socket and no clock: counts and the time are passed in.
#pragma once

#include <chiral/time.hpp>

#include <algorithm>
#include <cstdint>

namespace chiral::websocket {

class ArrivalClock {
public:
    /// `longest_turn`: a shorter gap is none.
    ArrivalClock(Duration longest_turn, TimePoint from) noexcept : longest_turn_(longest_turn), read_at_(from) {}

    /// At this moment something is read, or a read is pending; `received`: bytes that the kernel has ever received, a function
    /// that is called if there was a gap.
    template <class Received>
    void turn(TimePoint now, Received&& received) {
        if (now - read_at_ > longest_turn_) {
            if (!in_backlog_) since_ = read_at_;
            in_backlog_ = true;
            backlog_ends_ = received();
        }
        read_at_ = now;
    }
    bool in_backlog() const noexcept { return in_backlog_; }
    /// The arrival of a message that has just been read, after turn(). `taken`: bytes that have been taken out of the kernel,
    /// looked at in a backlog only.
    template <class Taken>
    TimePoint arrival(TimePoint now, Taken&& taken) {
        if (in_backlog_ && taken() > backlog_ends_) in_backlog_ = false;
        return in_backlog_ ? since_ : now;
    }

private:
    Duration longest_turn_;
    TimePoint read_at_;
    TimePoint since_{};
    bool in_backlog_{false};
    std::uint64_t backlog_ends_{0};  // bytes received when it began
};

}  // namespace chiral::websocket
