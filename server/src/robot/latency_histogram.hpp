// SPDX-License-Identifier: Apache-2.0
// Counts durations by size, as Prometheus wants them.
//
// Thread rule: any thread. Wait-free, no allocation; a reader may see a duration in one figure and not yet in another.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace chiral::robot {

class LatencyHistogram {
public:
    using Nanoseconds = std::chrono::nanoseconds;
    /// Upper bounds of the classes; what is longer is counted in `total` only.
    static constexpr std::array<double, 12> kSeconds{1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 1e-1, 1.0};

    void record(Nanoseconds duration) noexcept {
        const double seconds = std::chrono::duration<double>(duration).count();
        for (std::size_t i = 0; i < kSeconds.size(); ++i)
            if (seconds <= kSeconds[i]) {
                classes_[i].fetch_add(1, std::memory_order_relaxed);
                break;
            }
        total_.fetch_add(1, std::memory_order_relaxed);
        sum_.fetch_add(static_cast<std::uint64_t>(duration.count() > 0 ? duration.count() : 0), std::memory_order_relaxed);
    }

    /// Of class i alone, not of all up to it.
    std::uint64_t in_class(std::size_t i) const noexcept { return classes_[i].load(std::memory_order_relaxed); }
    std::uint64_t total() const noexcept { return total_.load(std::memory_order_relaxed); }
    double sum_seconds() const noexcept { return 1e-9 * static_cast<double>(sum_.load(std::memory_order_relaxed)); }

private:
    std::array<std::atomic<std::uint64_t>, kSeconds.size()> classes_{};
    std::atomic<std::uint64_t> total_{0}, sum_{0};
};

}  // namespace chiral::robot
