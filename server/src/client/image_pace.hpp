// SPDX-License-Identifier: Apache-2.0
// When a camera's next image is due, as those came that were seen.
#pragma once

#include <chiral/time.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

namespace chiral::client {

class ImagePace {
public:
    /// Image `number` was published then, which may be any time: another process says so. Has no effect for one that is not newer
    /// than those before; between two that were seen there may be others.
    void note(std::uint64_t number, TimePoint published) noexcept {
        if (number <= number_) return;
        const Duration since = number_ > 0 ? difference(published, published_) : Duration::zero();
        if (since <= Duration::zero() || since > kLongest) {
            interval_ = Duration::zero();
        } else {
            const auto images = static_cast<Duration::rep>(std::min<std::uint64_t>(number - number_, kMostBetween));
            const Duration interval = since / images;
            // Smoothed: one that is late must not move the next by twice that.
            interval_ = interval_ == Duration::zero() ? interval : interval_ + (interval - interval_) / kSmoothing;
        }
        number_ = number;
        published_ = published;
    }

    /// Nothing as long as two have not been seen, or after a pause.
    std::optional<TimePoint> due() const noexcept {
        if (interval_ <= Duration::zero() || difference(TimePoint::max(), published_) < interval_) return std::nullopt;
        return published_ + interval_;
    }

private:
    static constexpr Duration kLongest = std::chrono::minutes(1);
    static constexpr std::uint64_t kMostBetween = 1'000'000;
    static constexpr int kSmoothing = 8;

    std::uint64_t number_{0};
    TimePoint published_{};
    Duration interval_{0};  // 0: not known
};

}  // namespace chiral::client
