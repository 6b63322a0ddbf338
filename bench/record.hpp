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

}  // namespace chiral::bench
