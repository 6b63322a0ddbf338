// SPDX-License-Identifier: Apache-2.0
// One row of raw results, as JSON.
#pragma once

#include "samples.hpp"

#include <nlohmann/json.hpp>

#include <string>

namespace chiral::bench {

using Json = nlohmann::ordered_json;

/// Quantiles in nanoseconds. One beyond which no sample lies is null.
Json summarise(SampleSet&& set);

/// The quantiles of plain values, under the same rule.
Json summarise(Values values);

/// A row in a line for people: what was measured, and how long it took in microseconds.
std::string text_of(const Json& row);

}  // namespace chiral::bench
