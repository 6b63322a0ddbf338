// SPDX-License-Identifier: Apache-2.0
// How long a client may be silent before that means something: by what it sent last, and by how often it does. The time is passed in.
#pragma once

#include <chiral/time.hpp>

#include <algorithm>
#include <chrono>

namespace chiral::robot {

/// How long a robot that plays rows at `control_rate_hz`, or at 0 none by itself, is busy with an action. A client is believed for
/// a minute, unless the robot's gate says how many rows there may be (`max_chunk`, 0 if not).
inline Duration time_covered(int rows, double control_rate_hz, int max_chunk) noexcept {
    if (control_rate_hz <= 0.0) return Duration::zero();
    const std::chrono::duration<double> all(rows / control_rate_hz), believed = std::chrono::minutes(1);
    return std::chrono::duration_cast<Duration>(max_chunk > 0 ? all : std::min(all, believed));
}

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
