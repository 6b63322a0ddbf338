// SPDX-License-Identifier: Apache-2.0
#include "local_socket.hpp"

#include "faults.hpp"

#include <fmt/format.h>

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

namespace chiral::stress {

std::string hello(unsigned version, std::string_view wants, bool direct) {
    return fmt::format("Hversion={}\nwants={}\ndirect={}\n", version, wants, direct ? 1 : 0);
}

LocalSocket::LocalSocket(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    if (socket_.number() < 0) fail("socket");
    const timeval deadline{std::chrono::seconds(kFaultDeadline).count(), 0};
    ::setsockopt(socket_.number(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) throw std::length_error("too long for a socket: " + path);
    std::ranges::copy(path, address.sun_path);
    if (::connect(socket_.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("connect");
}

std::optional<LocalSocket> LocalSocket::let_in(const std::string& path, std::string_view wants, bool direct,
                                               const std::atomic<bool>& stop) {
    const SteadyTime deadline = std::chrono::steady_clock::now() + kFaultDeadline;
    while (!stop.load(std::memory_order_relaxed)) {
        LocalSocket socket(path);
        socket.send(hello(kLocalVersion, wants, direct));
        const std::string answer = socket.receive().bytes;
        if (answer.starts_with('W')) return socket;
        if (std::chrono::steady_clock::now() > deadline)
            throw std::runtime_error("the server still refuses a new client: " + answer);
        sleep_until(std::chrono::steady_clock::now() + std::chrono::milliseconds(5), stop);
    }
    return std::nullopt;
}

bool LocalSocket::send(std::string_view packet, int descriptor) const noexcept {
    iovec bytes{const_cast<char*>(packet.data()), packet.size()};
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    if (descriptor >= 0) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof descriptor);
        std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    }
    return ::sendmsg(socket_.number(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

LocalSocket::Packet LocalSocket::receive() const {
    Packet packet;
    packet.bytes.resize(64 << 10);
    iovec bytes{packet.bytes.data(), packet.bytes.size()};
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t got = 0;
    while ((got = ::recvmsg(socket_.number(), &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {}
    if (got < 0 && errno != ECONNRESET && errno != EPIPE) fail("recvmsg");
    packet.bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    const cmsghdr* const header = got > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
    if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
        int descriptor = -1;
        std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
        packet.descriptor = Descriptor(descriptor);
    }
    return packet;
}

bool LocalSocket::is_closed() const {
    try {
        for (;;) {
            const std::string said = receive().bytes;  // a goodbye or a refusal is the end, too
            if (said.empty() || said.starts_with('C') || said.starts_with('N')) return true;
        }
    } catch (const std::system_error&) {  // it says nothing more, and is open
        return false;
    }
}

}  // namespace chiral::stress
