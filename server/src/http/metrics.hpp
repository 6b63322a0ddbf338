// SPDX-License-Identifier: Apache-2.0
// The figures of /metrics, in Prometheus' text format 0.0.4.
#pragma once

#include "imaging/want_pool.hpp"
#include "robot/control.hpp"
#include "robot/observation_source.hpp"
#include "robot/stat_counters.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace chiral::http {

/// Any thread. `controller`: who is in control, if anybody.
std::string metrics_text(const robot::StatCounters& stats, const std::vector<robot::SourceReport>& sources,
                         std::uint64_t copied_observations, const std::optional<robot::Control::Holder>& controller,
                         const imaging::WantPool& pictures);

}  // namespace chiral::http
