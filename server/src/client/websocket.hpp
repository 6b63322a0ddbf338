// SPDX-License-Identifier: Apache-2.0
// One client WebSocket and the thread that does its input and output. Whole messages in both directions; it knows nothing
// of requests and answers.
//
// The server is not trusted: what it may send is bounded, and however it behaves the I/O thread ends within the close
// timeout once the connection is over.
//
// Receiving. Message bytes go from the socket straight into flat memory, which is used again for later messages and grows with
// what has really come, not with what a frame header announces. Reading stops at the end of a message until read_next(): so
// the receiver decodes in place, on a thread of its own choice, while the I/O thread goes on sending. It may keep what it
// borrows: the next message then gets other memory.
//
// Sending. Messages wait in a ring of buffers that are swapped with the sender's, and are written one after the other.
#pragma once

#include "net/uri.hpp"

#include <chiral/byte_buffer.hpp>
#include <chiral/time.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace chiral {

class ClientTls;

class ClientWebSocket {
public:
    struct Options {
        std::size_t max_message_bytes;
        Duration close_timeout;                ///< for the closing handshakes, and for what is still to be sent before them
        std::string bearer_token;              ///< empty: none
        std::shared_ptr<const ClientTls> tls;  ///< null: none
    };

    /// What the I/O thread tells. Implementations do not block for long.
    class Events {
    public:
        /// The first bytes of a message are here. False: none is due, the connection is closed.
        virtual bool message_due() = 0;
        /// A whole message. Its bytes stay until read_next() is called, which may be later and on any thread, and as long as
        /// `memory` is referred to.
        virtual void received(std::span<const std::uint8_t> message, Loan& memory) = 0;
        virtual void sent(bool counted) = 0;
        /// The connection is over, and why. Told once at most, and not after close().
        virtual void over(std::string reason) = 0;
        /// The I/O thread ends. The last call.
        virtual void ended() = 0;

    protected:
        ~Events() = default;
    };

    struct OpenFailure {
        std::string reason;
        bool final;  ///< a server has answered and said no: trying again would bring the same
    };

    ClientWebSocket(net::Uri uri, Options options, Events& events);
    /// Drops the connection if it is open, and waits for the I/O thread. A name lookup that is still under way cannot be
    /// interrupted and is waited for.
    ~ClientWebSocket();
    ClientWebSocket(const ClientWebSocket&) = delete;
    ClientWebSocket& operator=(const ClientWebSocket&) = delete;

    /// Tries to connect, on the calling thread; once only. Nothing: the I/O thread runs and reads.
    std::optional<OpenFailure> open(TimePoint deadline);
    /// Makes open() fail soon. Any thread.
    void abort_open();

    // After open() has succeeded, from any thread:

    /// Swaps `message` into the ring; it gets back memory to reuse. False: the ring is full, nothing was taken; sent() is
    /// called when there is room. `counted` comes back in sent().
    bool send(std::vector<std::uint8_t>& message, bool counted);
    /// Gives the bytes of the last message back. The next one will begin at an address that is `phase` modulo 16.
    void read_next(std::size_t phase);
    /// Closes with a closing handshake and does not wait for it. `flush`: after all that send() took. A reason longer than
    /// a close frame holds is cut. A second call has no effect.
    void close(std::uint16_t code, const std::string& reason, bool flush);

    static constexpr std::size_t ring_size = 64;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace chiral
