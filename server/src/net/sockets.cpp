// SPDX-License-Identifier: Apache-2.0
#include "net/sockets.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

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

}  // namespace chiral::net
