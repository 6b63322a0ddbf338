// SPDX-License-Identifier: Apache-2.0
// What an observation costs as it is wanted, beside the documented one over the same connection.
#pragma once

#include "probe_report.hpp"

#include <chiral/client.hpp>

#include <stop_token>
#include <string>

namespace chiral::tools {

/// Of an observation: bytes, and seconds from asked to decoded, in the median.
struct Cost {
    double bytes, seconds;
};

/// Asks for a few documented observations; fewer if it is to stop.
Cost cost_as_documented(PolicyClient& client, const std::stop_token& stop);

/// Bandwidth and added latency in words; empty if nothing came.
std::string comparison(const Cost& documented, const ProbeResult& wanted);

}  // namespace chiral::tools
