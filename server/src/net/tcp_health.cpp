// SPDX-License-Identifier: Apache-2.0
// Apart, because <linux/tcp.h>, which has the newer fields of tcp_info, and <netinet/tcp.h>, which Asio includes, exclude
// each other.
#include "net/tcp_health.hpp"

#include <algorithm>

#ifdef __linux__
#include <cstddef>

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#endif

namespace chiral::net {

std::optional<TcpHealth> tcp_health([[maybe_unused]] int socket) noexcept {
#ifdef __linux__
    tcp_info info{};
    socklen_t size = sizeof info;
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
        size >= offsetof(tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received)
        return TcpHealth{info.tcpi_unacked, info.tcpi_bytes_acked, info.tcpi_bytes_received,
                         std::chrono::microseconds(info.tcpi_rtt)};
#endif
    return std::nullopt;
}

void end_when_unreachable([[maybe_unused]] int socket, [[maybe_unused]] std::chrono::seconds after) noexcept {
#ifdef __linux__
    // Probes begin after a third of the time, and go on so often that the kernel gives up at its end.
    const int seconds = static_cast<int>(std::clamp<std::int64_t>(after.count(), 3, 30'000));
    const int third = seconds / 3, on = 1, milliseconds = seconds * 1000, probes = 2;
    const auto set = [socket](int level, int option, int value) { setsockopt(socket, level, option, &value, sizeof value); };
    set(IPPROTO_TCP, TCP_KEEPIDLE, third);
    set(IPPROTO_TCP, TCP_KEEPINTVL, third);
    set(IPPROTO_TCP, TCP_KEEPCNT, probes);
    set(IPPROTO_TCP, TCP_USER_TIMEOUT, milliseconds);
    set(SOL_SOCKET, SO_KEEPALIVE, on);
#endif
}

}  // namespace chiral::net
