// SPDX-License-Identifier: Apache-2.0
// TCP sockets that no child process inherits.
//
// Asio opens and accepts sockets without close-on-exec. A child that a hook starts (system(), popen(), ffmpeg) would keep the
// port and the clients' connections open after the robot's process has ended: clients would notice nothing, and the next
// start would find the port taken. Setting the flag afterwards leaves a gap in which another thread may fork.
#pragma once

#include <string>
#include <utility>

namespace chiral::net {

/// Owns a file descriptor.
class Descriptor {
public:
    explicit Descriptor(int descriptor = -1) noexcept : descriptor_(descriptor) {}
    Descriptor(Descriptor&& other) noexcept : descriptor_(other.release()) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(descriptor_, other.descriptor_);
        return *this;
    }
    ~Descriptor();

    explicit operator bool() const noexcept { return descriptor_ >= 0; }
    int get() const noexcept { return descriptor_; }
    int release() noexcept { return std::exchange(descriptor_, -1); }

private:
    int descriptor_;
};

/// A TCP socket of that family (AF_INET, AF_INET6). Empty, with errno, if there is none.
Descriptor open_socket(int family) noexcept;
/// The next connection of a listening socket. Empty, with errno, if there is none.
Descriptor accept_socket(int listening) noexcept;

/// A port that nobody has at that address now, 0 if there is none: for those who cannot be told to take any.
int free_tcp_port(const std::string& address) noexcept;

}  // namespace chiral::net
