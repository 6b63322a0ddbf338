// SPDX-License-Identifier: Apache-2.0
// The figures of /metrics, in Prometheus' text format 0.0.4.
#pragma once

#include "robot/observation_source.hpp"
#include "robot/stat_counters.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace chiral::http {

/// Any thread.
std::string metrics_text(const robot::StatCounters& stats, const std::vector<robot::SourceReport>& sources,
                         std::uint64_t copied_observations);

}  // namespace chiral::http
