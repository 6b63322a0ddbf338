// SPDX-License-Identifier: Apache-2.0
// The registry of models. A model is a few tiny threads that use the core, run by Relacy in many executions.
//
// These executions are, first, all those with at most so many preemptions (a switch away from a thread that could have gone
// on), in a depth-first search over schedules and stale loads; then random ones, which reach the schedules with many
// preemptions that no search can exhaust.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace chiral::model {

/// How much of a model to execute.
struct Effort {
    unsigned preemptions;  // bound of the search
    std::uint64_t random;  // executions in random order
};

/// The efforts are chosen so that a search ends by itself; this is where it is cut off if a change made a model larger.
inline constexpr std::uint64_t kSearchLimit = 10'000'000;
inline constexpr std::uint64_t kLongSearchLimit = 1'000'000'000;

struct Outcome {
    bool failed{false};
    bool complete{true};          // the search ended before its limit
    std::uint64_t executions{0};  // up to and with the failing one
    std::string what;             // Relacy's verdict and its history of the failing execution
};

enum class Search { preemption_bounded, random };

struct Model {
    const char* name;
    int threads;
    const char* summary;
    Effort quick;
    Effort thorough;
    Outcome (*run)(Search, unsigned preemptions, std::uint64_t limit);
};

/// Where the models register themselves; and all of them, those with few threads first.
std::vector<Model>& registry();
std::vector<Model> models();

}  // namespace chiral::model
