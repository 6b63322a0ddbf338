// SPDX-License-Identifier: Apache-2.0
// A small blocking WebSocket client on a plain socket, so that a test decides about every byte that is sent.
//
// Every wait has the same deadline; what does not come in time is a std::runtime_error that says what was waited for.
#pragma once

#include "support/waiting.hpp"

#include <chiral/wire.hpp>

#include <arpa/inet.h>
#ifdef __linux__
#include <linux/filter.h>
#endif
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace chiral::test {

using ByteVector = std::vector<std::uint8_t>;

inline ByteVector bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

inline ByteVector request(wire::RequestType type) {
    ByteVector message;
    wire::encode_request(type, message);
    return message;
}

inline ByteVector action_message(const Action& action, bool one_dimensional = false) {
    ByteVector message;
    wire::encode_apply_action(action, one_dimensional, message);
    return message;
}

/// An action of one row that starts with `number`.
inline Action numbered_action(float number, int size = 7) {
    Action action;
    action.N = 1;
    action.D = size;
    action.data.assign(static_cast<std::size_t>(size), 0.f);
    action.data[0] = number;
    return action;
}

/// A frame as it lies on the wire, mask key 01020304.
inline ByteVector websocket_frame(int opcode, std::span<const std::uint8_t> payload, bool last = true, bool masked = true) {
    ByteVector frame;
    frame.reserve(payload.size() + 14);
    frame.push_back(static_cast<std::uint8_t>((last ? 0x80 : 0) | opcode));
    const std::uint8_t mask_bit = masked ? 0x80 : 0;
    if (payload.size() < 126) {
        frame.push_back(static_cast<std::uint8_t>(mask_bit | payload.size()));
    } else {
        const int length_bytes = payload.size() < 65536 ? 2 : 8;
        frame.push_back(static_cast<std::uint8_t>(mask_bit | (length_bytes == 2 ? 126 : 127)));
        for (int i = length_bytes - 1; i >= 0; --i) frame.push_back(static_cast<std::uint8_t>(payload.size() >> 8 * i));
    }
    constexpr std::uint8_t key[4] = {1, 2, 3, 4};
    if (masked) frame.insert(frame.end(), key, key + 4);
    for (std::size_t i = 0; i < payload.size(); ++i)
        frame.push_back(static_cast<std::uint8_t>(payload[i] ^ (masked ? key[i % 4] : 0)));
    return frame;
}

class RawClient {
public:
    enum Opcode { kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10 };

    struct Frame {
        int opcode{0};
        bool last{true};
        ByteVector payload;
        int close_code() const { return payload.size() < 2 ? 0 : payload[0] << 8 | payload[1]; }
        std::string close_reason() const {
            return payload.size() < 2 ? std::string() : std::string(payload.begin() + 2, payload.end());
        }
    };

    struct HttpAnswer {
        int status{0};
        std::string head, body;
    };

    /// Opens a TCP connection, nothing more. A receive buffer of 0 bytes leaves the system's choice.
    explicit RawClient(int port, int receive_buffer = 0) {
        socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (socket_ < 0) fail("socket");
        if (receive_buffer > 0) ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
        const int yes = 1;
        ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("connect");
    }
    RawClient(RawClient&& other) noexcept : socket_(std::exchange(other.socket_, -1)), input_(std::move(other.input_)) {}
    RawClient& operator=(RawClient&& other) noexcept {
        if (this != &other) {
            disconnect();
            socket_ = std::exchange(other.socket_, -1);
            input_ = std::move(other.input_);
        }
        return *this;
    }
    ~RawClient() { disconnect(); }

    /// Connected and through the handshake.
    static RawClient connected(int port, int receive_buffer = 0) {
        RawClient client(port, receive_buffer);
        const HttpAnswer answer = client.handshake();
        if (answer.status != 101) throw std::runtime_error("handshake answered by " + answer.head + answer.body);
        return client;
    }

    /// Whether a connection to the port is taken.
    static bool listens(int port) {
        try {
            RawClient{port};
            return true;
        } catch (const std::system_error&) {
            return false;
        }
    }

    int descriptor() const { return socket_; }

    // ---- sending ----

    /// `fields`: whole lines that are added.
    static std::string handshake_request(const std::string& target = "/", const std::string& fields = {}) {
        return "GET " + target +
               " HTTP/1.1\r\nHost: robot\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" +
               fields + "\r\n";
    }
    HttpAnswer handshake(const std::string& target = "/", const std::string& fields = {}) {
        send_bytes(bytes_of(handshake_request(target, fields)));
        return read_http();
    }

    void send_bytes(std::span<const std::uint8_t> bytes) {
        while (!bytes.empty()) {
            const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent > 0) bytes = bytes.subspan(static_cast<std::size_t>(sent));
            else if (errno == EAGAIN) await(POLLOUT, "room to send");
            else if (errno != EINTR) fail("send");
        }
    }
    /// Sends what the connection takes. Returns how much that was before it took nothing for `patience`.
    std::size_t send_until_held_back(std::span<const std::uint8_t> bytes, std::chrono::milliseconds patience) {
        std::size_t total = 0;
        while (total < bytes.size()) {
            const ssize_t sent = ::send(socket_, bytes.data() + total, bytes.size() - total, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent > 0) {
                total += static_cast<std::size_t>(sent);
                continue;
            }
            if (errno != EAGAIN && errno != EINTR) fail("send");
            pollfd entry{socket_, POLLOUT, 0};
            if (::poll(&entry, 1, static_cast<int>(patience.count())) == 0) return total;
        }
        return total;
    }
    void send_frame(int opcode, std::span<const std::uint8_t> payload, bool last = true, bool masked = true) {
        send_bytes(websocket_frame(opcode, payload, last, masked));
    }
    void send(std::span<const std::uint8_t> message) { send_frame(kBinary, message); }
    void send(const ByteVector& message) { send_frame(kBinary, message); }
    void send(wire::RequestType type) { send(request(type)); }
    void send(const Action& action) { send(action_message(action)); }

    // ---- receiving ----

    /// Waits until there is something to read, and reads nothing.
    void await_input() { await(POLLIN, "input"); }

    /// Takes the first bytes of what is to be read, and leaves the rest in the connection.
    void take(std::size_t bytes) { fill(bytes); }

    Frame read_frame() {
        fill(2);
        Frame frame;
        frame.opcode = input_[0] & 15;
        frame.last = (input_[0] & 0x80) != 0;
        if (input_[1] & 0x80) throw std::runtime_error("a server must not mask");
        std::uint64_t length = input_[1] & 0x7f;
        std::size_t head = 2;
        if (length >= 126) {
            const std::size_t length_bytes = length == 126 ? 2 : 8;
            head += length_bytes;
            fill(head);
            length = 0;
            for (std::size_t i = 2; i < head; ++i) length = length << 8 | input_[i];
        }
        const auto size = static_cast<std::size_t>(length);
        fill(head);
        input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(head));
        const std::size_t buffered = std::min(size, input_.size());
        frame.payload.resize(size);
        std::copy_n(input_.begin(), buffered, frame.payload.begin());
        input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(buffered));
        for (std::size_t have = buffered; have < size;) {
            const std::size_t got = receive_some(frame.payload.data() + have, size - have);
            if (got == 0) throw std::runtime_error("the connection ended in the middle of a frame");
            have += got;
        }
        return frame;
    }

    /// The next message, of however many fragments; answers pings on the way. A close frame is a message here.
    Frame receive() {
        Frame message;
        for (bool begun = false;;) {
            Frame frame = read_frame();
            if (frame.opcode == kPing) send_frame(kPong, frame.payload);
            if (frame.opcode == kPing || frame.opcode == kPong) continue;
            if (frame.opcode == kClose) return frame;
            if (begun != (frame.opcode == kContinuation)) throw std::runtime_error("a fragment of no message");
            message.payload.insert(message.payload.end(), frame.payload.begin(), frame.payload.end());
            if (!begun) message.opcode = frame.opcode;
            begun = true;
            if (frame.last) return message;
        }
    }
    wire::Response receive_response() {
        const Frame frame = receive();
        if (frame.opcode == kClose)
            throw std::runtime_error("closed (" + std::to_string(frame.close_code()) + "): " + frame.close_reason());
        wire::Response response;
        wire::decode_response(frame.payload, response);
        return response;
    }
    wire::Response ask(wire::RequestType type) {
        send(type);
        return receive_response();
    }

    /// Reads messages up to the close frame, answers it, waits until the server has said its last word, and disconnects.
    Frame receive_close() {
        for (;;) {
            const Frame frame = receive();
            if (frame.opcode != kClose) continue;
            try {
                send_frame(kClose, frame.payload);
            } catch (const std::system_error&) {
                // the server has not waited for the answer
            }
            read_to_end();
            disconnect();
            return frame;
        }
    }

    HttpAnswer read_http() {
        HttpAnswer answer;
        const std::string_view blank_line = "\r\n\r\n";
        auto end = input_.end();
        while ((end = std::search(input_.begin(), input_.end(), blank_line.begin(), blank_line.end())) == input_.end())
            fill(input_.size() + 1);
        end += static_cast<std::ptrdiff_t>(blank_line.size());
        answer.head.assign(input_.begin(), end);
        input_.erase(input_.begin(), end);
        if (answer.head.size() > 12) answer.status = std::stoi(answer.head.substr(9, 3));
        const std::size_t length = answer.head.find("Content-Length: ");
        if (length != std::string::npos) {
            const std::size_t size = std::stoul(answer.head.substr(length + 16));
            fill(size);
            answer.body.assign(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(size));
            input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(size));
        }
        return answer;
    }

    /// Reads until the server has closed or reset the connection.
    void read_to_end() {
        std::uint8_t discarded[4096];
        try {
            while (receive_some(discarded, sizeof discarded) > 0) {}
        } catch (const std::system_error&) {
            // a reset is an end as well
        }
    }

    // ---- ending ----

    /// The WebSocket closing handshake, begun by us.
    void close() {
        const std::uint8_t normal[2] = {1000 >> 8, 1000 & 255};
        send_frame(kClose, normal);
        while (receive().opcode != kClose) {}
        read_to_end();
        disconnect();
    }
    /// Tells the other side by a TCP reset.
    void reset() {
        const linger at_once{1, 0};
        ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        disconnect();
    }
#ifdef __linux__
    /// From now on this machine drops what comes in for the connection, as if the cable had been pulled.
    void go_deaf() {
        sock_filter drop{BPF_RET | BPF_K, 0, 0, 0};
        const sock_fprog program{1, &drop};
        if (::setsockopt(socket_, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0) fail("SO_ATTACH_FILTER");
    }
#endif
    void disconnect() noexcept {
        if (socket_ >= 0) ::close(std::exchange(socket_, -1));
    }

private:
    [[noreturn]] static void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

    void await(short events, const char* what) {
        pollfd entry{socket_, events, 0};
        const int ready = ::poll(&entry, 1, static_cast<int>(std::chrono::milliseconds(kDeadline).count()));
        if (ready == 0) throw std::runtime_error(std::string("deadline passed, waiting for ") + what);
        if (ready < 0 && errno != EINTR) fail("poll");
    }
    std::size_t receive_some(std::uint8_t* to, std::size_t size) {
        for (;;) {
            const ssize_t got = ::recv(socket_, to, size, MSG_DONTWAIT);
            if (got >= 0) return static_cast<std::size_t>(got);
            if (errno == EAGAIN) await(POLLIN, "input");
            else if (errno != EINTR) fail("recv");
        }
    }
    /// Has at least `size` bytes in input_.
    void fill(std::size_t size) {
        std::uint8_t some[4096];
        while (input_.size() < size) {
            const std::size_t got = receive_some(some, sizeof some);
            if (got == 0) throw std::runtime_error("the connection ended");
            input_.insert(input_.end(), some, some + got);
        }
    }

    int socket_{-1};
    ByteVector input_;
};

}  // namespace chiral::test
