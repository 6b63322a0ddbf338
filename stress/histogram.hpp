// SPDX-License-Identifier: Apache-2.0
// Durations in logarithmic buckets of 3 % width, as HdrHistogram keeps them: constant memory, no allocation when recording.
//
// One thread at a time. The longest value is kept exactly, so a quantile never exceeds what was really measured.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace chiral::stress {

class Histogram {
public:
    using Duration = std::chrono::nanoseconds;

    void record(Duration value) noexcept {
        const auto nanoseconds = static_cast<std::uint64_t>(std::max<std::int64_t>(value.count(), 0));
        ++buckets_[bucket(nanoseconds)];
        ++count_;
        longest_ = std::max(longest_, nanoseconds);
    }

    void merge(const Histogram& other) noexcept {
        for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
        count_ += other.count_;
        longest_ = std::max(longest_, other.longest_);
    }

    std::uint64_t count() const noexcept { return count_; }
    Duration max() const noexcept { return Duration(static_cast<std::int64_t>(longest_)); }

    /// The value that all but `k` of the recorded ones do not exceed, to within a bucket; 0 if there are no more than k.
    Duration all_but(std::uint64_t k) const noexcept {
        std::uint64_t longer = 0;
        for (std::size_t i = buckets_.size(); i-- > 0;) {
            longer += buckets_[i];
            if (longer > k) return Duration(static_cast<std::int64_t>(std::min(upper_edge(i), longest_)));
        }
        return Duration(0);
    }

    /// quantile(0.99) is what 99 % of the recorded values do not exceed.
    Duration quantile(double q) const noexcept {
        return all_but(static_cast<std::uint64_t>((1.0 - q) * static_cast<double>(count_)));
    }

private:
    // 32 buckets per power of two. Values below 64 ns have a bucket each.
    static constexpr std::size_t kBuckets = 32 * 44;

    static std::size_t bucket(std::uint64_t value) noexcept {
        const int shift = std::max(static_cast<int>(std::bit_width(value)) - 6, 0);
        return std::min(static_cast<std::size_t>(32 * static_cast<std::uint64_t>(shift) + (value >> shift)), kBuckets - 1);
    }
    static std::uint64_t upper_edge(std::size_t index) noexcept {
        const std::size_t shift = index < 64 ? 0 : index / 32 - 1;
        return ((static_cast<std::uint64_t>(index - 32 * shift) + 1) << shift) - 1;
    }

    std::array<std::uint64_t, kBuckets> buckets_{};
    std::uint64_t count_{0};
    std::uint64_t longest_{0};
};

}  // namespace chiral::stress
