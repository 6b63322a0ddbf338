// SPDX-License-Identifier: Apache-2.0
// Wakes a thread at absolute times, so that lateness does not add up, and tells how late it woke.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace chiral::stress {

using SteadyTime = std::chrono::steady_clock::time_point;
using Nanoseconds = std::chrono::nanoseconds;

/// Sleeps until `time` (clock_nanosleep, absolute), or until `stop` is set: that is seen within 50 ms.
void sleep_until(SteadyTime time, const std::atomic<bool>& stop) noexcept;

class Pacer {
public:
    Pacer(Nanoseconds period, SteadyTime first) noexcept : period_(period), next_(first) {}

    /// Sleeps until the next slot. Returns how late the thread woke. Slots that have passed entirely are skipped, as a camera
    /// drops frames that nobody fetched.
    Nanoseconds wait(const std::atomic<bool>& stop) noexcept;

    std::uint64_t skipped() const noexcept { return skipped_; }

private:
    Nanoseconds period_;
    SteadyTime next_;
    std::uint64_t skipped_{0};
};

}  // namespace chiral::stress
