// SPDX-License-Identifier: Apache-2.0
// What chiral-probe measures: round trips of the observations, and for each of their sources how current it was.
#pragma once

#include <chiral/types.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace chiral::tools {

/// Nearest-rank quantiles. Times in seconds.
struct Quantiles {
    double min{0.0}, p50{0.0}, p90{0.0}, p99{0.0}, max{0.0}, mean{0.0};
};
/// Nothing if there are no values.
std::optional<Quantiles> quantiles_of(std::vector<double> values);

/// One camera, proprio stream or slot over the whole run.
class SourceTrack {
public:
    explicit SourceTrack(std::string name) : name_(std::move(name)) {}

    /// `snapshot_time` 0 means a server that tells nothing beyond the documented fields: then only the name is known.
    void add(std::uint64_t sequence, double timestamp, std::uint64_t missed, SourceStatus status, double snapshot_time);

    const std::string& name() const noexcept { return name_; }
    /// The server sends sequence, missed and status.
    bool known() const noexcept { return known_; }
    std::uint64_t first_sequence() const noexcept { return first_.sequence; }
    std::uint64_t last_sequence() const noexcept { return last_.sequence; }
    /// Different samples that were seen, and those that were published during the run and not seen.
    std::uint64_t seen() const noexcept { return seen_; }
    std::uint64_t missed() const noexcept { return missed_; }
    SourceStatus status() const noexcept { return last_status_; }
    /// Observations that found the source in this state.
    std::uint64_t observations(SourceStatus status) const noexcept { return statuses_[static_cast<std::size_t>(status)]; }
    /// Samples per second by sequence numbers and capture times; counts the time since, once the source has stopped.
    /// Nothing if the run was too short to tell.
    std::optional<double> rate() const;
    /// Snapshot time minus capture time.
    std::optional<Quantiles> age() const { return quantiles_of(ages_); }

private:
    struct Sample {
        std::uint64_t sequence{0};
        double captured{0.0};
    };
    std::string name_;
    bool known_{false}, started_{false};
    Sample first_, last_;
    double last_snapshot_{0.0};
    std::uint64_t seen_{0}, missed_{0};
    SourceStatus last_status_{SourceStatus::never};
    std::array<std::uint64_t, source_status_count> statuses_{};
    std::vector<double> ages_;
};

class ProbeStatistics {
public:
    /// `round_trip`: seconds from the request to the decoded answer.
    void add(const Observation& obs, double round_trip);

    std::uint64_t observations() const noexcept { return round_trips_.size(); }
    std::optional<Quantiles> round_trips() const { return quantiles_of(round_trips_); }
    /// Of the observations since the last call, for a live display.
    std::optional<Quantiles> recent_round_trips();
    const std::vector<SourceTrack>& cameras() const noexcept { return cameras_; }
    const std::vector<SourceTrack>& proprios() const noexcept { return proprios_; }
    const std::vector<SourceTrack>& slots() const noexcept { return slots_; }

private:
    std::vector<double> round_trips_;
    std::size_t shown_{0};
    std::vector<SourceTrack> cameras_, proprios_, slots_;
};

}  // namespace chiral::tools
