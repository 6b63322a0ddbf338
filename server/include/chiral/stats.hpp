// SPDX-License-Identifier: Apache-2.0
// What a PolicyServer has counted.
#pragma once

#include <chiral/api.hpp>
#include <chiral/time.hpp>

#include <cstdint>

namespace chiral {

/// Counters since construction.
struct ServerStats {
    std::uint64_t connections{0};          ///< clients that were let in
    std::uint64_t refused{0};              ///< connections turned away: a client was there already, no token, ...
    std::uint64_t observers{0};            ///< observers that were let in
    std::uint64_t observations{0};         ///< observations sent: obs, reset and step answers
    std::uint64_t bytes_sent{0};           ///< message bytes of all answers
    std::uint64_t actions_received{0};     ///< well-formed actions of both dialects
    std::uint64_t actions_applied{0};      ///< of these, those whose hook has returned
    std::uint64_t actions_rejected{0};     ///< of these, those that the gate rejected
    std::uint64_t actions_clamped{0};      ///< of these, those that the gate changed
    std::uint64_t actions_dropped{0};      ///< of these, those whose client lost control before their turn had come
    std::uint64_t actions_late{0};         ///< of these, those that had waited too long when their turn had come
    std::uint64_t action_timeouts{0};      ///< calls of on_action_timeout()
    std::uint64_t half_open{0};            ///< clients dropped because their machine acknowledged nothing any more
    Duration longest_half_open{};          ///< longest time from the last sign of such a machine until it was dropped
    Duration longest_timeout_delay{};      ///< longest time from the end of action_timeout until the hook was called
    std::uint64_t protocol_errors{0};      ///< malformed messages and handshakes
    std::uint64_t hook_errors{0};          ///< exceptions that left a hook
    std::uint64_t update_errors{0};        ///< update_*() calls that were refused
    std::uint64_t copied_observations{0};  ///< make_obs() calls that had to copy pixels: see there
};

}  // namespace chiral
