// SPDX-License-Identifier: Apache-2.0
// How often a client sends actions, and so how long its silence may be before it means something. The time is passed in.
#pragma once

#include <chiral/time.hpp>

#include <algorithm>

namespace chiral::robot {

class ClientRate {
public:
    /// Periods that a client may leave out, and how much longer than the configured time-out they may make it.
    static constexpr double kPeriods = 2.5;
    static constexpr int kMostTimeouts = 10;

    /// An action that arrived then was applied.
    void sent(TimePoint arrived, Duration timeout) noexcept {
        const Duration interval = arrived - last_;
        last_ = arrived;
        if (interval < Duration::zero() ||
            interval > kMostTimeouts * timeout) {  // the first one, or the first after a pause
            intervals_ = 0;
            return;
        }
        period_ = intervals_ == 0 ? interval : period_ + (interval - period_) / 4;
        intervals_ = std::min(intervals_ + 1, kKnown);
    }

    /// How long this client may be silent: `timeout`, or longer if it has shown that it is slow.
    Duration allowed_silence(Duration timeout) const noexcept {
        if (intervals_ < kKnown) return timeout;
        const auto own = std::chrono::duration_cast<Duration>(kPeriods * std::chrono::duration<double>(period_));
        return std::clamp<Duration>(own, timeout, kMostTimeouts * timeout);
    }

private:
    static constexpr int kKnown = 4;  // intervals in a row that make a rate

    TimePoint last_{};
    Duration period_{};
    int intervals_{0};
};

}  // namespace chiral::robot
