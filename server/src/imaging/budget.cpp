// SPDX-License-Identifier: Apache-2.0
#include "imaging/budget.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace chiral::imaging {

namespace {

constexpr Duration window_length = std::chrono::milliseconds(500);
constexpr double room = 0.7;  // of the budget: a step up is tried below it
constexpr int steps = 4;      // each of quality, size and rate
constexpr int longest_patience = 64;
constexpr int full_quality = 85;

// How far the stage that begins behind `before` steps has gone: 0 to 1.
double progress(int level, int before) noexcept { return std::clamp(level - before, 0, steps) / double(steps); }

}  // namespace

void Budget::set(const WantBudget& budget, TimePoint now) {
    if (budget == budget_ && window_.begin != TimePoint{}) return;
    *this = Budget();
    budget_ = budget;
    window_.begin = now;
}

void Budget::answered(std::size_t bytes, Duration latency, TimePoint now) {
    ++window_.answers;
    window_.bytes += static_cast<double>(bytes);
    window_.latency += std::chrono::duration<double>(latency).count();
    const double seconds = std::chrono::duration<double>(now - window_.begin).count();
    if (now - window_.begin < window_length) return;
    double cost = 0;
    if (budget_.bytes_per_second > 0) cost = window_.bytes / seconds / budget_.bytes_per_second;
    if (budget_.latency > 0) cost = std::max(cost, window_.latency / double(window_.answers) / budget_.latency);
    if (level_ <= 2 * steps) full_hz_ = double(window_.answers) / seconds;
    window_ = {now};
    judge(cost);
}

void Budget::judge(double cost) {
    if (cost > 1) {
        if (went_up_) patience_ = std::min(2 * patience_, longest_patience);
        went_up_ = false;
        calm_ = 0;
        level_ = std::min(level_ + 1, 3 * steps);
    } else if (cost < room && level_ > 0 && ++calm_ >= patience_) {
        calm_ = 0;
        went_up_ = true;
        --level_;
    } else if (cost <= 1 && calm_ == 0 && went_up_ && cost >= room) {
        went_up_ = false;  // the step up holds
        patience_ = 2;
    }
}

Reduction Budget::reduction() const noexcept {
    const double quality = progress(level_, 0), scale = progress(level_, steps);
    const int least = std::min(budget_.min_quality, full_quality);
    return {level_ == 0 ? 100 : static_cast<int>(std::lround(full_quality + (least - full_quality) * quality)),
            std::pow(budget_.min_scale, scale)};
}

Duration Budget::period() const noexcept {
    if (level_ <= 2 * steps || full_hz_ <= budget_.min_hz) return Duration::zero();
    const double hz = full_hz_ * std::pow(budget_.min_hz / full_hz_, progress(level_, 2 * steps));
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(1 / hz));
}

void Budget::write_to(ExtraMap& extra) const {
    if (level_ == 0) return;
    extra["chiral.want_quality"] = std::int64_t{reduction().quality};
    extra["chiral.want_scale"] = reduction().scale;
    if (period() > Duration::zero()) extra["chiral.want_hz"] = 1 / std::chrono::duration<double>(period()).count();
}

}  // namespace chiral::imaging
