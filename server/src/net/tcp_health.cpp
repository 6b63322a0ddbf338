// SPDX-License-Identifier: Apache-2.0
// Apart, because <linux/tcp.h>, which has the newer fields of tcp_info, and <netinet/tcp.h>, which Asio includes, exclude
// each other.
#include "net/tcp_health.hpp"

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

}  // namespace chiral::net
