// SPDX-License-Identifier: Apache-2.0
#include "net/packets.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <string_view>
#include <utility>

#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

namespace chiral::net {
namespace {

constexpr std::size_t kMostPieces = 64;  // of one packet

PacketOutcome outcome_of_send(ssize_t sent) noexcept {
    if (sent >= 0) return PacketOutcome::done;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) return PacketOutcome::would_wait;
    return PacketOutcome::broken;
}

ssize_t send_all(int socket, const msghdr& header) noexcept {
    ssize_t sent = 0;
    do sent = ::sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent;
}

// sendmsg() takes its bytes as if it wrote to them.
iovec vector_of(PacketBytes bytes) noexcept { return {const_cast<std::uint8_t*>(bytes.data()), bytes.size()}; }

std::chrono::nanoseconds since_epoch(const timespec& time) noexcept {
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

std::chrono::nanoseconds now_by(clockid_t clock) noexcept {
    timespec now{};
    ::clock_gettime(clock, &now);
    return since_epoch(now);
}

bool fill(sockaddr_un& address, const std::string& path) noexcept {
    address = {};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return false;
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    return true;
}

}  // namespace

PacketOutcome send_packet(int socket, PacketKind kind, PacketBytes body, int descriptor) noexcept {
    const auto first = static_cast<std::uint8_t>(kind);
    std::array<iovec, 2> pieces{vector_of({&first, 1}), vector_of(body)};
    msghdr header{};
    header.msg_iov = pieces.data();
    header.msg_iovlen = pieces.size();
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof descriptor)> control{};
    if (descriptor >= 0) {
        header.msg_control = control.data();
        header.msg_controllen = control.size();
        cmsghdr* with = CMSG_FIRSTHDR(&header);
        with->cmsg_level = SOL_SOCKET;
        with->cmsg_type = SCM_RIGHTS;
        with->cmsg_len = CMSG_LEN(sizeof descriptor);
        std::memcpy(CMSG_DATA(with), &descriptor, sizeof descriptor);
    }
    return outcome_of_send(send_all(socket, header));
}

PacketOutcome send_packet(int socket, PacketKind kind, std::string_view text, int descriptor) noexcept {
    return send_packet(socket, kind, PacketBytes(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()),
                       descriptor);
}

// ---- out ----

void PacketWriter::begin(std::span<const PacketBytes> pieces) noexcept {
    pieces_ = pieces;
    bytes_ = piece_ = offset_ = 0;
    for (const PacketBytes& piece : pieces) bytes_ += piece.size();
    left_ = bytes_;
}

PacketOutcome PacketWriter::write(int socket) noexcept {
    for (;;) {
        std::array<iovec, 1 + kMostPieces> vectors;
        std::size_t used = 1, taken = 0, piece = piece_, offset = offset_;
        while (piece < pieces_.size() && used < vectors.size() && taken < kMostPacketBytes - 1) {
            const PacketBytes rest = pieces_[piece].subspan(offset);
            const PacketBytes part = rest.first(std::min(rest.size(), kMostPacketBytes - 1 - taken));
            if (!part.empty()) vectors[used++] = vector_of(part);
            taken += part.size();
            offset += part.size();
            if (part.size() < rest.size()) break;
            ++piece;
            offset = 0;
        }
        const auto kind = static_cast<std::uint8_t>(taken == left_ ? PacketKind::message : PacketKind::part);
        vectors[0] = vector_of({&kind, 1});
        msghdr header{};
        header.msg_iov = vectors.data();
        header.msg_iovlen = used;
        const PacketOutcome outcome = outcome_of_send(send_all(socket, header));
        if (outcome != PacketOutcome::done) return outcome;
        left_ -= taken;
        piece_ = piece;
        offset_ = offset;
        if (kind == static_cast<std::uint8_t>(PacketKind::message)) return PacketOutcome::done;
    }
}

// ---- in ----

PacketOutcome PacketReader::read(int socket) noexcept {
    iovec vector{buffer_.data(), buffer_.size()};
    // Room for a time and for a descriptor; the kernel closes those that find no room.
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(timespec)) + CMSG_SPACE(sizeof(int))> control{};
    msghdr header{};
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    ssize_t got = 0;
    // The other end has closed without reading all that it was sent: that is said once, and before what it had sent itself.
    bool reset = false;
    do got = ::recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && (errno == EINTR || (errno == ECONNRESET && !std::exchange(reset, true))));
    if (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return PacketOutcome::broken;
    if (got < 0) {
        stamps_.all_read(now_by(CLOCK_REALTIME), now_by(CLOCK_MONOTONIC));
        return PacketOutcome::would_wait;
    }
    look_at(header);
    if (got == 0) return PacketOutcome::ended;
    if (header.msg_flags & MSG_TRUNC) {
        errno = EMSGSIZE;
        return PacketOutcome::broken;
    }
    bytes_ = static_cast<std::size_t>(got);
    return PacketOutcome::done;
}

void PacketReader::look_at(msghdr& header) noexcept {
    waited_ = {};
    brought_ = (header.msg_flags & MSG_CTRUNC) != 0;
    for (cmsghdr* with = CMSG_FIRSTHDR(&header); with != nullptr; with = CMSG_NXTHDR(&header, with)) {
        if (with->cmsg_level != SOL_SOCKET) continue;
        if (with->cmsg_type == SCM_RIGHTS) {
            const std::size_t count = (with->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            for (std::size_t i = 0; i < count; ++i) {
                int number = -1;
                std::memcpy(&number, CMSG_DATA(with) + i * sizeof number, sizeof number);
                Descriptor descriptor(number);
                if (expects_ && !descriptor_) descriptor_ = std::move(descriptor);
                else brought_ = true;
            }
        } else if (with->cmsg_type == SCM_TIMESTAMPNS) {
            timespec came{};
            std::memcpy(&came, CMSG_DATA(with), sizeof came);
            waited_ = stamps_.of(since_epoch(came), now_by(CLOCK_REALTIME), now_by(CLOCK_MONOTONIC));
        }
    }
}

bool note_arrivals(int socket) noexcept {
    const int on = 1;
    return ::setsockopt(socket, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) == 0;
}

// ---- sockets ----

Descriptor peer_process(int socket) noexcept {
#ifndef SO_PEERPIDFD
    constexpr int SO_PEERPIDFD = 77;  // of Linux 6.5; the headers may be older
#endif
    int process = -1;
    socklen_t size = sizeof process;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &process, &size) != 0) return Descriptor();
    return Descriptor(process);
}

Descriptor open_packet_socket() noexcept {
    return Descriptor(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

Descriptor accept_packet_socket(int listening) noexcept {
    return Descriptor(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

bool connect_packet_socket(int socket, const std::string& path) noexcept {
    sockaddr_un address;
    return fill(address, path) && ::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

bool bind_packet_socket(int socket, const std::string& path) noexcept {
    sockaddr_un address;
    return fill(address, path) && ::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace chiral::net
