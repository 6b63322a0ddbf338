// SPDX-License-Identifier: Apache-2.0
// What a run proved: one line per promise of the engine, kept or broken, with the figures.
#pragma once

#include "options.hpp"
#include "run.hpp"

#include <string>
#include <vector>

namespace chiral::stress {

struct Promise {
    std::string promise;
    std::string measured;
    bool kept;
};

struct Verdict {
    std::vector<Promise> promises;
    std::vector<std::string> failures;  ///< a sentence per broken promise, then what was seen

    bool pass() const noexcept { return failures.empty(); }
};

Verdict judge(const Options& options, const RunResult& result);

/// When a run fails, for people. Indented lines.
std::string describe_rules();

/// In how many updates writers may give up the core by themselves where their canaries, which wait for nobody, did so
/// `canary_slept` times.
std::uint64_t allowed_sleeps(std::uint64_t updates, std::uint64_t canary_slept);

/// How much slower than its canary a writer may be: factor x canary + margin.
struct Limits {
    int factor;
    Nanoseconds median_margin;
    Nanoseconds tail_margin;
    Nanoseconds longest_margin;
};

/// How `under_test` is slower than `canary` by more than noise on a busy machine explains; empty if it is not. See
/// describe_rules().
std::string excess_over_canary(const Histogram& under_test, const Histogram& canary, const Limits& limits);

}  // namespace chiral::stress
