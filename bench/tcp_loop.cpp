// SPDX-License-Identifier: Apache-2.0
#include "tcp_loop.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace chiral::bench {
namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

int open_socket() {
    const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) fail("socket");
    return descriptor;
}

// Given all 17 MB of eight cameras at once, the socket has up to 4 MB in flight, which leave the cache before they are read.
// Tried at 2, 9, 17 and 25 MB: steps of 128, 256 and 512 KiB, 1, 2 and 4 MiB, and everything; poll() and blocking calls. From
// 9 MB on, 1 MiB is the fastest, by a fifth to a third against everything; at 2 MB, 256 KiB is, if it differs at all. How one
// waits makes no difference.
std::size_t most_per_call(const std::vector<iovec>& pieces) {
    std::size_t bytes = 0;
    for (const iovec& piece : pieces) bytes += piece.iov_len;
    return std::size_t{bytes < (std::size_t{4} << 20) ? 256u : 1024u} << 10;
}

void no_delay(int descriptor) {
    const int yes = 1;
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

}  // namespace

TcpSocket TcpSocket::listening() {
    TcpSocket socket(open_socket());
    const sockaddr_in address = loopback(0);
    if (::bind(socket.descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("bind");
    if (::listen(socket.descriptor_, 1) != 0) fail("listen");
    return socket;
}

TcpSocket TcpSocket::connected(int port) {
    TcpSocket socket(open_socket());
    const sockaddr_in address = loopback(port);
    if (::connect(socket.descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("connect");
    no_delay(socket.descriptor_);
    return socket;
}

TcpSocket::TcpSocket(TcpSocket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

TcpSocket::~TcpSocket() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

int TcpSocket::port() const {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    if (::getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &size) != 0) fail("getsockname");
    return ntohs(address.sin_port);
}

TcpSocket TcpSocket::accept() const {
    const int descriptor = ::accept4(descriptor_, nullptr, nullptr, SOCK_CLOEXEC);
    if (descriptor < 0) fail("accept");
    no_delay(descriptor);
    return TcpSocket(descriptor);
}

bool TcpSocket::read_all(void* data, std::size_t size) const {
    auto* to = static_cast<std::uint8_t*>(data);
    while (size > 0) {
        const ssize_t got = ::read(descriptor_, to, size);
        if (got == 0 || (got < 0 && errno == ECONNRESET)) return false;
        if (got < 0 && errno != EINTR) fail("read");
        if (got < 0) continue;
        to += got;
        size -= static_cast<std::size_t>(got);
    }
    return true;
}

void TcpSocket::write_all(std::vector<iovec> pieces) const {
    const std::size_t most = most_per_call(pieces);
    std::size_t first = 0;
    while (first < pieces.size()) {
        std::size_t last = first, bytes = 0;
        while (last < pieces.size() && bytes < most) bytes += pieces[last++].iov_len;
        // The last piece is cut for the call, and whole again for the next one.
        const std::size_t cut = bytes > most ? bytes - most : 0;
        pieces[last - 1].iov_len -= cut;
        msghdr message{};
        message.msg_iov = pieces.data() + first;
        message.msg_iovlen = last - first;
        ssize_t sent = ::sendmsg(descriptor_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        pieces[last - 1].iov_len += cut;
        if (sent < 0 && errno == EAGAIN) {
            pollfd entry{descriptor_, POLLOUT, 0};
            ::poll(&entry, 1, -1);
        } else if (sent < 0 && errno != EINTR) {
            fail("sendmsg");
        }
        while (sent > 0) {
            const ssize_t taken = std::min(sent, static_cast<ssize_t>(pieces[first].iov_len));
            pieces[first].iov_base = static_cast<std::uint8_t*>(pieces[first].iov_base) + taken;
            pieces[first].iov_len -= static_cast<std::size_t>(taken);
            sent -= taken;
            if (pieces[first].iov_len == 0) ++first;
        }
    }
}

void TcpSocket::shut() const { ::shutdown(descriptor_, SHUT_RDWR); }

GatherWriter::GatherWriter(const std::vector<std::size_t>& sizes) : listener_(TcpSocket::listening()) {
    for (const std::size_t size : sizes) pieces_.emplace_back(size, std::uint8_t{1});
    thread_ = std::thread([this] {
        std::vector<iovec> gather;
        for (auto& piece : pieces_) gather.push_back({piece.data(), piece.size()});
        try {
            for (;;) {
                const TcpSocket peer = listener_.accept();
                for (std::uint8_t request; peer.read_all(&request, 1);) peer.write_all(gather);
            }
        } catch (const std::system_error&) {  // shut() by the destructor, or a peer that went in between: both end it
        }
    });
}

GatherWriter::~GatherWriter() {
    listener_.shut();
    thread_.join();
}

}  // namespace chiral::bench
