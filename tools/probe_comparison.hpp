// SPDX-License-Identifier: Apache-2.0
// What an observation costs as it is wanted, beside the documented one over the same connection.
#pragma once

#include "probe_report.hpp"

#include <chiral/client.hpp>

#include <stop_token>
#include <string>

namespace chiral::tools {

/// Asks for a few documented observations; fewer if it is to stop.
Cost cost_as_documented(PolicyClient& client, const std::stop_token& stop);

/// Bandwidth and added latency in words; empty if nothing came, or nothing else was wanted.
std::string comparison(const ProbeResult& wanted);

}  // namespace chiral::tools
