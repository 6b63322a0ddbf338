// SPDX-License-Identifier: Apache-2.0
// Keeps a loop at a rate by absolute times, so that the time a round takes does not slow it down.
#pragma once

#include <algorithm>
#include <chrono>
#include <stop_token>
#include <thread>

namespace chiral::tools {

class Pace {
public:
    using Clock = std::chrono::steady_clock;

    explicit Pace(double hz)
        : period_(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1.0 / hz))),
          next_(Clock::now()) {}

    /// Sleeps until the next round is due; false when `stop` was asked for. A loop that is late by more than a period goes on
    /// from now instead of running after the lost rounds.
    bool wait(const std::stop_token& stop) {
        next_ = std::max(next_ + period_, Clock::now() - period_);
        // Slow rates are slept in pieces, so that a stop is noticed soon.
        while (!stop.stop_requested()) {
            const auto now = Clock::now();
            if (now >= next_) return true;
            std::this_thread::sleep_until(std::min(next_, now + std::chrono::milliseconds(50)));
        }
        return false;
    }

private:
    Clock::duration period_;
    Clock::time_point next_;
};

}  // namespace chiral::tools
