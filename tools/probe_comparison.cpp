// SPDX-License-Identifier: Apache-2.0
#include "probe_comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace chiral::tools {

Cost cost_as_documented(PolicyClient& client, const std::stop_token& stop) {
    constexpr std::size_t looks = 20;
    const std::uint64_t before = client.stats().bytes_received;
    std::vector<double> round_trips;
    Observation obs;
    while (round_trips.size() < looks && !stop.stop_requested()) {
        const TimePoint asked = Clock::now();
        client.get_obs(obs);
        round_trips.push_back(std::chrono::duration<double>(Clock::now() - asked).count());
    }
    const double count = static_cast<double>(std::max<std::size_t>(1, round_trips.size()));
    return {static_cast<double>(client.stats().bytes_received - before) / count,
            quantiles_of(round_trips).value_or(Quantiles{}).p50};
}

std::string comparison(const ProbeResult& wanted) {
    const auto round_trips = wanted.statistics.round_trips();
    if (!round_trips || !wanted.documented) return {};
    const Cost& documented = *wanted.documented;
    const double bytes = static_cast<double>(wanted.bytes) / static_cast<double>(wanted.statistics.observations());
    const double megabits_per_hz = 8 * 30 / 1e6;  // at the rate of most policies
    return fmt::format(
        "\n  an observation    bytes       at 30 Hz        round trip p50\n"
        "  as documented  {:8.1f} kB  {:8.1f} Mbit/s  {:8.2f} ms\n"
        "  as wanted      {:8.1f} kB  {:8.1f} Mbit/s  {:8.2f} ms\n"
        "  difference     {:8.1f} %                    {:+8.2f} ms\n",
        documented.bytes / 1e3, documented.bytes * megabits_per_hz, documented.seconds * 1e3, bytes / 1e3,
        bytes * megabits_per_hz, round_trips->p50 * 1e3, 100 * bytes / documented.bytes,
        (round_trips->p50 - documented.seconds) * 1e3);
}

}  // namespace chiral::tools
