// SPDX-License-Identifier: Apache-2.0
#include "robot/stat_counters.hpp"

namespace chiral::robot {

ServerStats summary(const StatCounters& c, std::uint64_t copied_observations) noexcept {
    const auto get = [](const std::atomic<std::uint64_t>& counter) { return counter.load(std::memory_order_relaxed); };
    ServerStats stats;
    stats.connections = get(c.connections);
    stats.refused = get(c.refused);
    stats.observers = get(c.observers);
    stats.observations = get(c.observations);
    stats.bytes_sent = get(c.bytes_sent);
    stats.actions_received = get(c.actions_received);
    stats.actions_applied = get(c.actions_applied);
    stats.actions_rejected = get(c.actions_rejected);
    stats.actions_clamped = get(c.actions_clamped);
    stats.actions_dropped = get(c.actions_dropped);
    stats.actions_late = get(c.actions_late);
    stats.action_timeouts = get(c.action_timeouts);
    stats.half_open = get(c.half_open);
    stats.longest_half_open = Duration(c.longest_half_open_ns.load(std::memory_order_relaxed));
    stats.longest_timeout_delay = Duration(c.longest_timeout_delay_ns.load(std::memory_order_relaxed));
    stats.protocol_errors = get(c.protocol_errors);
    stats.hook_errors = get(c.hook_errors);
    stats.update_errors = get(c.update_errors);
    stats.copied_observations = copied_observations;
    return stats;
}

}  // namespace chiral::robot
