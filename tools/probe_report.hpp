// SPDX-License-Identifier: Apache-2.0
// How chiral-probe shows what it found: text for people, JSON for programs.
#pragma once

#include "probe_statistics.hpp"

#include <chiral/types.hpp>

#include <cstdint>
#include <string>

namespace chiral::tools {

/// Everything that one run of the probe learned.
/// Of an observation: bytes, and seconds from asked to decoded, in the median.
struct Cost {
    double bytes, seconds;
};

struct ProbeResult {
    std::string uri;
    bool legacy{false};
    double connect_seconds{0.0};
    InfoMap metadata;
    Observation last;  ///< empty before the first
    ProbeStatistics statistics;
    double seconds{0.0};             ///< from the first request to the last answer
    std::uint64_t bytes{0};          ///< of the observations' messages
    std::uint64_t actions{0};        ///< sent
    std::string want;                ///< what was asked for, in words; empty: the documented observation
    std::optional<Cost> documented;  ///< of that, where something else was asked for
    std::string error;               ///< why the run ended early; empty if it did not
};

/// Text from a server as it may be shown on a terminal: no control characters, not endless.
std::string printable(const std::string& text);

std::string metadata_table(const InfoMap& metadata);
std::string shape_table(const Observation& obs, const InfoMap& metadata = {});
std::string live_line(const ProbeResult& result, const std::optional<Quantiles>& recent, double recent_rate,
                      double recent_bytes_per_second);
std::string summary(const ProbeResult& result);

/// All numbers, units in the names; null for what the server does not send.
std::string to_json(const ProbeResult& result);

}  // namespace chiral::tools
