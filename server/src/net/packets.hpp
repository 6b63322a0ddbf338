// SPDX-License-Identifier: Apache-2.0
// Packets over a SEQPACKET Unix socket, at either end of it: what the same-host transport is carried in.
//
// A packet is one byte that says what it is, and a body. A message that is longer than a packet may be goes in several: all but
// the last are parts. Nothing here waits: whoever would have to is told so.
//
// Thread rule: one thread at a time for a writer or reader; send_packet() from any.
#pragma once

#include "net/sockets.hpp"
#include "net/stamp_age.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sys/socket.h>

namespace chiral::net {

using PacketBytes = std::span<const std::uint8_t>;

/// Of a packet, with the byte that says what it is.
inline constexpr std::size_t kMostPacketBytes = 64 * 1024;

enum class PacketKind : std::uint8_t {
    hello = 'H',    // client: what it is and wants
    welcome = 'W',  // server: what it lends, and the descriptor of its memory
    refusal = 'N',  // server: why not
    part = 'p',     // of a message, and more is to come
    message = 'M',  // a message, or the rest of one
    release = 'R',  // client: a loan is over
    bell = 'B',     // client: to be told of a newer image; server: here it is
    direct = 'D',   // either: a page in which the client pins by itself, see direct_protocol.hpp
    close = 'C',    // either: goodbye, and why
};

enum class PacketOutcome : std::uint8_t {
    done,
    would_wait,  // nothing has come, or there is no room
    ended,       // the other end has closed
    broken,      // errno says how
};

/// One packet of its own, with a descriptor if that is not -1. Never waits, never raises SIGPIPE.
PacketOutcome send_packet(int socket, PacketKind kind, PacketBytes body, int descriptor = -1) noexcept;
PacketOutcome send_packet(int socket, PacketKind kind, std::string_view text, int descriptor = -1) noexcept;

/// A message on its way out: as many packets as it takes, as far as there is room for them.
class PacketWriter {
public:
    /// The pieces, and what they point to, stay until it is done.
    void begin(std::span<const PacketBytes> pieces) noexcept;
    /// ended: never.
    PacketOutcome write(int socket) noexcept;
    /// Bytes of the message.
    std::size_t bytes() const noexcept { return bytes_; }

private:
    std::span<const PacketBytes> pieces_;
    std::size_t bytes_{0};
    std::size_t left_{0};
    std::size_t piece_{0};   // the next to be sent
    std::size_t offset_{0};  // in it
};

class PacketReader {
public:
    /// Descriptors that come with a packet are closed, and told of, unless they are expected.
    explicit PacketReader(bool expects_descriptor = false) : buffer_(kMostPacketBytes), expects_(expects_descriptor) {}

    PacketOutcome read(int socket) noexcept;

    // Of the packet that was read last:

    PacketKind kind() const noexcept { return static_cast<PacketKind>(buffer_.front()); }
    PacketBytes body() const noexcept { return PacketBytes(buffer_).subspan(1, bytes_ - 1); }
    std::string_view text() const noexcept { return {reinterpret_cast<const char*>(body().data()), body().size()}; }
    /// How long it had been waiting to be read, where the socket has been told to note that: see note_arrivals().
    std::chrono::nanoseconds waited() const noexcept { return waited_; }
    /// A descriptor came that nobody wants.
    bool brought_descriptor() const noexcept { return brought_; }
    Descriptor take_descriptor() noexcept { return std::move(descriptor_); }

private:
    void look_at(msghdr& header) noexcept;

    std::vector<std::uint8_t> buffer_;
    bool expects_;
    std::size_t bytes_{1};
    std::chrono::nanoseconds waited_{};
    StampAge stamps_;
    bool brought_{false};
    Descriptor descriptor_;
};

/// Has the kernel note when each packet comes. A clock that is set meanwhile makes a packet older than it is at worst.
bool note_arrivals(int socket) noexcept;

/// Readable once the process that connected has ended. Empty where the kernel does not tell.
Descriptor peer_process(int socket) noexcept;

/// A socket for packets that no child process inherits and that nothing waits on. Empty, with errno, if there is none.
Descriptor open_packet_socket() noexcept;
/// The next connection of a listening one.
Descriptor accept_packet_socket(int listening) noexcept;
/// False, with errno: nobody listens there, ... A path that is longer than an address may be is ENAMETOOLONG.
bool connect_packet_socket(int socket, const std::string& path) noexcept;
bool bind_packet_socket(int socket, const std::string& path) noexcept;

}  // namespace chiral::net
