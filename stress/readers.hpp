// SPDX-License-Identifier: Apache-2.0
// The reading threads of this process: look, check, release, as often as they may.
#pragma once

#include "histogram.hpp"
#include "look_checker.hpp"
#include "pacer.hpp"
#include "progress.hpp"
#include "sensor_store.hpp"

#include <atomic>
#include <cstdint>

namespace chiral::stress {

struct ReaderPlan {
    double hz{0.0};       ///< 0: as fast as it can
    Nanoseconds hold{0};  ///< a look is held for this long before it is checked in full. 0: never
    Nanoseconds hold_every{500'000'000};
};

/// What the progress line shows while a reader runs.
struct alignas(64) LiveCounts {
    std::atomic<std::uint64_t> looks{0};
    std::atomic<std::uint64_t> full_looks{0};
    std::atomic<std::uint64_t> violations{0};

    void show(const Tally& tally) noexcept {
        looks.store(tally.looks, std::memory_order_relaxed);
        full_looks.store(tally.full_looks, std::memory_order_relaxed);
        violations.store(tally.violations(), std::memory_order_relaxed);
    }
};

/// What a reader measured. Its own until it has ended.
struct ReaderTimes {
    Histogram look;  ///< of taking a look: with an engine that copies, this is the copy
    std::uint32_t max_steps{0};
    std::uint64_t holds{0};

    void merge(const ReaderTimes& other) noexcept {
        look.merge(other.look);
        max_steps = max_steps > other.max_steps ? max_steps : other.max_steps;
        holds += other.holds;
    }
};

/// Looks until `stop`. At most an eighth of the time goes into full checks.
void read_store(StoreReader& reader, LookChecker& checker, const Progress& progress, const ReaderPlan& plan,
                const std::atomic<bool>& stop, LiveCounts& live, ReaderTimes& times);

}  // namespace chiral::stress
