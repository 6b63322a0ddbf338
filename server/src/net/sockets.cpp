// SPDX-License-Identifier: Apache-2.0
#include "net/sockets.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>

namespace chiral::net {

namespace {

#ifndef __linux__
// There is no way without the gap here.
Descriptor marked(int descriptor) noexcept {
    if (descriptor >= 0) ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    return Descriptor(descriptor);
}
#endif

}  // namespace

Descriptor::~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

Descriptor open_socket(int family) noexcept {
#ifdef __linux__
    return Descriptor(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
#else
    return marked(::socket(family, SOCK_STREAM, 0));
#endif
}

Descriptor accept_socket(int listening) noexcept {
#ifdef __linux__
    return Descriptor(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
#else
    return marked(::accept(listening, nullptr, nullptr));
#endif
}

int free_tcp_port(const std::string& address) noexcept {
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_PASSIVE;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (::getaddrinfo(address.c_str(), "0", &hints, &found) != 0) return 0;
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
    const Descriptor socket = open_socket(found->ai_family);
    if (!socket || ::bind(socket.get(), found->ai_addr, found->ai_addrlen) != 0) return 0;
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &size) != 0) return 0;
    return ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                             : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
}

}  // namespace chiral::net
