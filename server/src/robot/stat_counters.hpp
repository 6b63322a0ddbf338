// SPDX-License-Identifier: Apache-2.0
// What a server counts while it serves. Any thread; nobody waits for anybody.
#pragma once

#include "robot/latency_histogram.hpp"

#include <chiral/stats.hpp>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

namespace chiral::robot {

/// A text of which the last one is kept.
class LastText {
public:
    /// Left out while somebody reads: nobody waits here.
    void set(const std::string& text) {
        const std::unique_lock lock(mutex_, std::try_to_lock);
        if (lock) text_ = text;
    }
    std::string get() const {
        const std::lock_guard lock(mutex_);
        return text_;
    }

private:
    mutable std::mutex mutex_;
    std::string text_;
};

/// ServerStats, as it is counted.
struct StatCounters {
    std::atomic<std::uint64_t> connections{0}, refused{0}, observers{0}, observations{0}, bytes_sent{0}, actions_received{0},
        actions_applied{0}, actions_rejected{0}, actions_clamped{0}, actions_dropped{0}, actions_late{0}, action_timeouts{0},
        half_open{0}, protocol_errors{0}, hook_errors{0}, update_errors{0};
    std::atomic<std::int64_t> longest_half_open_ns{0}, longest_timeout_delay_ns{0}, round_trip_us{0};
    LastText last_objection;                    // why an action was not passed on as it was
    std::atomic<int> clients{0}, observing{0};  // at present
    LatencyHistogram action_latency;            // from arrival to the call of the hook
    LatencyHistogram answer_latency;            // from request to the end of the answer's write
};

inline void count(std::atomic<std::uint64_t>& counter, std::uint64_t by = 1) noexcept {
    counter.fetch_add(by, std::memory_order_relaxed);
}
inline void keep_longest(std::atomic<std::int64_t>& longest, Duration duration) noexcept {
    std::int64_t known = longest.load(std::memory_order_relaxed);
    while (known < duration.count() && !longest.compare_exchange_weak(known, duration.count(), std::memory_order_relaxed)) {}
}

/// A client that has been let in: counted once, and as present for as long as this lives, whatever fails meanwhile.
class Present {
public:
    Present(StatCounters& stats, bool observes) noexcept : now_(observes ? stats.observing : stats.clients) {
        count(observes ? stats.observers : stats.connections);
        now_.fetch_add(1, std::memory_order_relaxed);
    }
    ~Present() { now_.fetch_sub(1, std::memory_order_relaxed); }
    Present(const Present&) = delete;

private:
    std::atomic<int>& now_;
};

/// The counters as users get them.
ServerStats summary(const StatCounters& counters, std::uint64_t copied_observations) noexcept;

}  // namespace chiral::robot
