// SPDX-License-Identifier: Apache-2.0
// When a message arrived at the earliest, though it was read later. No socket and no clock: counts and times are passed in.
#pragma once

#include <chiral/time.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

namespace chiral::robot {

/// By what this end knows. TCP does not say when bytes came. But as long as a read is pending and the event loop turns, what comes
/// is read at once. If there was a gap in that (the process was stopped, its thread blocked, the connection held back), what the
/// kernel holds at its end may have come at any time since its beginning: that is then the time of every message that was taken out
/// of the kernel together with bytes of the gap. One read may take several messages, of the gap and of after it: which of them it
/// cannot tell, so all of them are old.
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

/// How often an event loop should turn so that a gap is noticed well within what an action may wait: `most` where nothing limits
/// that.
inline Duration turn_for(Duration max_action_delay, Duration most) noexcept {
    if (max_action_delay <= Duration::zero()) return most;
    return std::min(most, std::max<Duration>(max_action_delay / 4, std::chrono::milliseconds(10)));
}

/// By what the sender says: when it sent, on a clock of its own. The message that came fastest so far took no time, and any
/// other one what it came later than that. A sender that lies about its clock deceives itself only.
class SenderClock {
public:
    /// The earliest arrival of a message that was sent at `sent_ns` by the sender's clock and is read at `now`.
    TimePoint arrival(std::uint64_t sent_ns, TimePoint now) noexcept {
        constexpr int drift = 5000;                              // two clocks part by at most 200 ppm
        constexpr Duration year = std::chrono::hours(24 * 365);  // nothing waits for so long
        // Modulo 2^64: there is nothing that a sender may not say.
        const std::uint64_t ahead = static_cast<std::uint64_t>(now.time_since_epoch().count()) - sent_ns;
        const std::uint64_t expected = least_ahead_ + static_cast<std::uint64_t>((now - at_).count() / drift);
        const Duration waited(static_cast<std::int64_t>(ahead - expected));
        if (!known_ || waited <= Duration::zero()) {
            known_ = true;
            least_ahead_ = ahead;
            at_ = now;
            return now;
        }
        return now - std::min(waited, year);
    }

private:
    bool known_{false};
    // Of the message that came fastest: by how many nanoseconds our clock was ahead of the sender's, and when.
    std::uint64_t least_ahead_{0};
    TimePoint at_{};
};

}  // namespace chiral::robot
