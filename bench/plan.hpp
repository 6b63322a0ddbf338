// SPDX-License-Identifier: Apache-2.0
// How much is measured: everything, the same in less time, or as little as shows that it works.
#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

namespace chiral::bench {

enum class Effort { full, quick, tiny };

enum class Load { idle, busy };
enum class WriterPace { flat_out, at_rate };

constexpr const char* to_string(Load load) { return load == Load::busy ? "busy" : "idle"; }
constexpr const char* to_string(WriterPace pace) { return pace == WriterPace::at_rate ? "at_rate" : "flat_out"; }

/// One combination of payload, pace and load, in which all comparators are measured by turns, with each of these numbers of
/// readers right after each other: what is compared is measured in the same moment.
struct ContentionCase {
    std::size_t bytes;
    std::vector<int> readers;
    WriterPace pace;
    Load load;
    std::chrono::milliseconds repetition;
};

/// One set of cameras of which observations are fetched.
struct ObservationCase {
    const char* name;
    int cameras, height, width;
    bool depth;
    int per_repetition;  ///< round trips
};

struct Plan {
    int repetitions;
    std::vector<ContentionCase> contention;
    std::vector<std::size_t> hold_up_bytes;
    std::vector<std::size_t> age_bytes;
    std::chrono::milliseconds age_repetition;
    std::vector<ObservationCase> observations;
    int actions;  ///< per load
};

Plan plan_for(Effort effort);

inline constexpr std::size_t kVgaBytes = std::size_t{640} * 480 * 3;
inline constexpr std::size_t kFullHdBytes = std::size_t{1920} * 1080 * 3;

}  // namespace chiral::bench
