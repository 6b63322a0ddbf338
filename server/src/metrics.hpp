// The figures of /metrics, in Prometheus' text format 0.0.4.
#pragma once

#include "observation_source.hpp"
#include "server_core.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace chiral {

/// Any thread.
std::string metrics_text(const StatCounters& stats, const std::vector<SourceReport>& sources, std::uint64_t copied_observations);

}  // namespace chiral
