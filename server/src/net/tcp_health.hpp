// SPDX-License-Identifier: Apache-2.0
// What the kernel knows about a TCP connection: whether the other end still acknowledges, and how far away it is.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace chiral::net {

struct TcpHealth {
    std::uint32_t unacknowledged{0};          ///< segments sent that the peer's kernel has not acknowledged
    std::uint64_t acknowledged_bytes{0};      ///< since the connection began
    std::uint64_t received_bytes{0};          ///< likewise, by this kernel
    std::chrono::microseconds round_trip{0};  ///< smoothed
};

/// Nothing where the system does not tell (other than Linux). A system call.
std::optional<TcpHealth> tcp_health(int socket) noexcept;

/// Has the kernel end the connection when the peer's machine has acknowledged nothing for so long, whether something is being
/// sent or not: at least three seconds. No effect where the system cannot.
void end_when_unreachable(int socket, std::chrono::seconds after) noexcept;

}  // namespace chiral::net
