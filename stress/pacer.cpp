// SPDX-License-Identifier: Apache-2.0
#include "pacer.hpp"

#include <ctime>

#include <algorithm>

namespace chiral::stress {

void sleep_until(SteadyTime time, const std::atomic<bool>& stop) noexcept {
    using std::chrono::steady_clock;
    for (SteadyTime now = steady_clock::now(); now < time && !stop.load(std::memory_order_relaxed);
         now = steady_clock::now()) {
        const SteadyTime until = std::min(time, now + std::chrono::milliseconds(50));
        const auto since = std::chrono::duration_cast<Nanoseconds>(until.time_since_epoch()).count();
        const timespec at{static_cast<time_t>(since / 1'000'000'000), static_cast<long>(since % 1'000'000'000)};
        ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);  // std::chrono::steady_clock is CLOCK_MONOTONIC
    }
}

Nanoseconds Pacer::wait(const std::atomic<bool>& stop) noexcept {
    const SteadyTime before = std::chrono::steady_clock::now();
    if (before >= next_ + period_) {
        const auto passed = (before - next_) / period_;
        next_ += passed * period_;
        skipped_ += static_cast<std::uint64_t>(passed);
    }
    sleep_until(next_, stop);
    const Nanoseconds late = std::chrono::steady_clock::now() - next_;
    next_ += period_;
    return late;
}

}  // namespace chiral::stress
