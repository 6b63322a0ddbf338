// SPDX-License-Identifier: Apache-2.0
// When a message arrived at the earliest, though it was read later.
//
// TCP does not say when bytes came. But as long as a read is pending and the event loop turns, what comes is read at once. If
// there was a gap in that (the process was stopped, its thread blocked, the connection held back), what the kernel holds at
// its end may have come at any time since its beginning: that is then the time of every message that was taken out of the
// kernel together with bytes of the gap. One read may take several messages, of the gap and of after it: which of them it
// cannot tell, so all of them are old. No socket and no clock: counts and the time are passed in.
#pragma once

#include <chiral/time.hpp>

#include <cstdint>
#include <optional>

namespace chiral::websocket {

class ArrivalClock {
public:
    /// Of one connection, since it began. Bytes may come while they are counted: what was taken lies between two bounds.
    struct Bytes {
        std::uint64_t received;  ///< by the kernel
        std::uint64_t taken_at_least;
        std::uint64_t taken_at_most;
    };

    /// `longest_turn`: a shorter gap is none.
    ArrivalClock(Duration longest_turn, TimePoint from) noexcept : longest_turn_(longest_turn), read_at_(from) {}

    /// At this moment something is read, or a read is pending. `count`: std::optional<Bytes>(), called if there was a gap.
    template <class Count>
    void turn(TimePoint now, Count&& count) {
        if (now - read_at_ > longest_turn_) {
            if (!in_backlog_) since_ = read_at_;
            in_backlog_ = true;
            noticed_ = now;
            if (const std::optional<Bytes> bytes = count()) {
                backlog_ends_ = bytes->received;
                taken_ = bytes->taken_at_most;
            }
        }
        read_at_ = now;
    }
    bool in_backlog() const noexcept { return in_backlog_; }
    /// The arrival of a message that has just been read, after turn(). `count`: likewise, called in a backlog only. Where the
    /// system does not count, a backlog is all that comes within a turn of when the gap was noticed.
    template <class Count>
    TimePoint arrival(TimePoint now, Count&& count) {
        if (!in_backlog_) return now;
        if (const std::optional<Bytes> bytes = count()) {
            // All of the gap was out of the kernel at the message before, and this one needed more than that.
            in_backlog_ = taken_ < backlog_ends_ || bytes->taken_at_least <= taken_;
            taken_ = bytes->taken_at_most;
        } else {
            in_backlog_ = now - noticed_ <= longest_turn_;
        }
        return in_backlog_ ? since_ : now;
    }

private:
    Duration longest_turn_;
    TimePoint read_at_;
    TimePoint since_{};
    TimePoint noticed_{};
    bool in_backlog_{false};
    std::uint64_t backlog_ends_{0};  // bytes received when it was noticed
    std::uint64_t taken_{0};         // at most, at the message before, or then
};

}  // namespace chiral::websocket
