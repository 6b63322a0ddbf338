// SPDX-License-Identifier: Apache-2.0
// How a client's messages reach a server: one connection, whole messages in both directions. A transport knows nothing of
// requests and answers; what stands above it knows nothing of sockets.
//
// Which transport it is follows from the scheme of the address: see transport.cpp, where a new one is entered.
//
// The server is not trusted: what it may send is bounded, and however it behaves the transport's thread ends within the close
// timeout once the connection is over.
#pragma once

#include <chiral/byte_buffer.hpp>
#include <chiral/client.hpp>
#include <chiral/time.hpp>
#include <chiral/wire.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace chiral::client {

/// Why a connection is closed, as the server is told: RFC 6455 section 7.4.1.
namespace close_code {
inline constexpr std::uint16_t normal = 1000, going_away = 1001, protocol_error = 1002, bad_payload = 1007;
}

class Transport {
public:
    /// What the transport's thread tells. Implementations do not block for long.
    class Events {
    public:
        /// The first bytes of a message are here. False: none is due, the connection is closed.
        virtual bool message_due() = 0;
        /// A whole message, in one piece or in several. Its bytes, and the list of its pieces, stay until read_next() is
        /// called, which may be later and on any thread; the bytes also as long as `memory` is referred to.
        virtual void received(const wire::Message& message, Loan& memory) = 0;
        virtual void sent(bool counted) = 0;
        /// The connection is over, and why. Told once at most, and not after close().
        virtual void over(std::string reason) = 0;
        /// The transport's thread ends. The last call.
        virtual void ended() = 0;

    protected:
        ~Events() = default;
    };

    struct OpenFailure {
        std::string reason;
        bool final;  ///< a server has answered and said no: trying again would bring the same
    };

    /// Drops the connection if it is open, and waits for the thread. A name lookup that is still under way cannot be
    /// interrupted and is waited for.
    virtual ~Transport() = default;

    /// Tries to connect, on the calling thread; once only. Nothing: the transport's thread runs and reads.
    virtual std::optional<OpenFailure> open(TimePoint deadline) = 0;
    /// Makes open() fail soon. Any thread.
    virtual void abort_open() = 0;

    // After open() has succeeded, from any thread:

    /// Swaps `message` into the ring; it gets back memory to reuse. False: the ring is full, nothing was taken; sent() is
    /// called when there is room. `counted` comes back in sent().
    virtual bool send(std::vector<std::uint8_t>& message, bool counted) = 0;
    /// Whether the server has ended the connection, as far as the kernel knows: over() follows, once the thread gets to read
    /// that. A system call.
    virtual bool ended_by_server() const noexcept = 0;
    /// Gives the bytes of the last message back. The next one will begin at an address that is `phase` modulo 16, where it
    /// comes in one piece.
    virtual void read_next(std::size_t phase) = 0;
    /// How many more messages may come that lie in memory of the server, before one is given back. Nothing: what comes is the
    /// client's own, and there is no such limit.
    virtual std::optional<unsigned> loans_left() const noexcept { return std::nullopt; }
    /// Waits until a camera has an image newer than `after`, whose number it returns; 0 at the deadline, and when the connection is
    /// over. Throws std::out_of_range for a camera that the server does not have, std::logic_error where nobody tells.
    virtual std::uint64_t wait_frame(const std::string&, std::uint64_t, TimePoint) {
        throw std::logic_error("wait_frame(): only a server on the same machine tells of a new image, expected unix://");
    }
    /// The newest image of a camera, without asking the server: see PolicyClient::get_camera(). False: it has to be asked.
    virtual bool show(const std::string&, CameraInfo&) { return false; }
    /// Whether show() can ever say true.
    virtual bool reads_directly() const noexcept { return false; }
    /// Closes in order and does not wait for it. `flush`: after all that send() took. A reason may be cut. A second call has
    /// no effect.
    virtual void close(std::uint16_t code, const std::string& reason, bool flush) = 0;

    /// Messages that wait to be sent, at most.
    static constexpr std::size_t ring_size = 64;
};

/// A server, by its address. Made once for each connect(), which may try several times. May be used by one thread at a time.
class Endpoint {
public:
    virtual ~Endpoint() = default;
    /// For messages: the address as given, but for tokens in it.
    virtual const std::string& text() const noexcept = 0;
    /// A transport to be opened. It may outlive the endpoint, but not the events.
    virtual std::unique_ptr<Transport> transport(Transport::Events& events) const = 0;
};

/// Throws std::invalid_argument for an address that no transport understands, and for options that its own cannot use.
std::unique_ptr<Endpoint> endpoint_of(const std::string& address, const ClientOptions& options);

}  // namespace chiral::client
