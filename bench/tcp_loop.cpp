// SPDX-License-Identifier: Apache-2.0
#include "tcp_loop.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <stdexcept>
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

TcpSocket::TcpSocket(TcpSocket&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), epoll_(std::exchange(other.epoll_, -1)) {}

TcpSocket::~TcpSocket() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (epoll_ >= 0) ::close(epoll_);
}

void TcpSocket::wait_by_epoll(std::uint32_t events) const {
    epoll_event wanted{};
    wanted.events = events;
    if (epoll_ < 0) {
        epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
        if (epoll_ < 0 || ::epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor_, &wanted) != 0) fail("epoll");
    }
    if (::epoll_wait(epoll_, &wanted, 1, -1) < 0 && errno != EINTR) fail("epoll_wait");
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

bool TcpSocket::read_all(void* data, std::size_t size, const LoopShape& shape) const {
    auto* to = static_cast<std::uint8_t*>(data);
    while (size > 0) {
        const ssize_t got = ::recv(descriptor_, to, std::min(size, shape.most_received), shape.epoll ? MSG_DONTWAIT : 0);
        if (got == 0 || (got < 0 && errno == ECONNRESET)) return false;
        if (got < 0 && errno == EAGAIN) wait_by_epoll(EPOLLIN);
        else if (got < 0 && errno != EINTR) fail("recv");
        if (got < 0) continue;
        to += got;
        size -= static_cast<std::size_t>(got);
    }
    return true;
}

void TcpSocket::write_all(std::vector<iovec> pieces, const LoopShape& shape) const {
    const std::size_t most = shape.most_sent;
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
        ssize_t sent = ::sendmsg(descriptor_, &message, MSG_NOSIGNAL | (shape.epoll ? MSG_DONTWAIT : 0));
        pieces[last - 1].iov_len += cut;
        if (sent < 0 && errno == EAGAIN) {
            wait_by_epoll(EPOLLOUT);
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
                for (std::uint8_t shape; peer.read_all(&shape, 1);)
                    peer.write_all(gather, kLoopShapes[shape % std::size(kLoopShapes)]);
            }
        } catch (const std::system_error&) {  // shut() by the destructor, or a peer that went in between: both end it
        }
    });
}

GatherWriter::~GatherWriter() {
    listener_.shut();
    thread_.join();
}

void GatherReader::fetch(const LoopShape& shape) {
    auto number = static_cast<std::uint8_t>(&shape - kLoopShapes);
    socket_.write_all({{&number, 1}});
    if (!socket_.read_all(memory_.data(), memory_.size(), shape)) throw std::runtime_error("the bare TCP sender has closed");
}

}  // namespace chiral::bench
