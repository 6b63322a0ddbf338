// SPDX-License-Identifier: Apache-2.0
// A client that does nothing but fetch: asks for an observation and reads the message into memory that is used again,
// decoding nothing. What is left of a round trip above the bare TCP loop is then the server's.
#pragma once

#include "tcp_loop.hpp"

#include <chiral/wire.hpp>

#include <stdexcept>
#include <string>
#include <vector>

namespace chiral::bench {

class PlainWebSocket {
public:
    explicit PlainWebSocket(int port) : socket_(TcpSocket::connected(port)) {
        std::string hello =
            "GET / HTTP/1.1\r\nHost: robot\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        socket_.write_all({{hello.data(), hello.size()}});
        std::string answer;
        for (char c; !answer.ends_with("\r\n\r\n");) {
            if (!socket_.read_all(&c, 1)) throw std::runtime_error("handshake: the server has closed: " + answer);
            answer += c;
        }
        if (!answer.starts_with("HTTP/1.1 101")) throw std::runtime_error("handshake answered by " + answer);

        std::vector<std::uint8_t> message;
        wire::encode_request(wire::RequestType::obs_request, message);
        if (message.size() > 125) throw std::logic_error("a request that needs a longer frame");
        request_ = {0x82, static_cast<std::uint8_t>(0x80 | message.size()), 0, 0, 0, 0};  // masked by zeros
        request_.insert(request_.end(), message.begin(), message.end());
    }

    /// Bytes of the observation's message.
    std::size_t fetch() {
        socket_.write_all({{request_.data(), request_.size()}});
        std::size_t whole = 0;
        for (bool last = false; !last;) {
            std::uint8_t head[10];
            need(head, 2);
            for (std::uint8_t ping[125]; head[0] == 0x89; need(head, 2))
                need(ping, head[1]);  // of a server that we kept waiting
            const int code = head[1] & 127;
            const int length_bytes = code == 127 ? 8 : code == 126 ? 2 : 0;
            need(head + 2, static_cast<std::size_t>(length_bytes));
            std::size_t size = length_bytes == 0 ? static_cast<std::size_t>(code) : 0;
            for (int i = 0; i < length_bytes; ++i) size = size << 8 | head[2 + i];
            if ((head[0] & 0x7f) != (whole == 0 ? 2 : 0)) throw std::runtime_error("expected a binary message");
            if (message_.size() < whole + size) message_.resize(whole + size);
            need(message_.data() + whole, size);
            whole += size;
            last = (head[0] & 0x80) != 0;  // large answers come in fragments
        }
        return whole;
    }

private:
    void need(void* data, std::size_t size) {
        if (!socket_.read_all(data, size)) throw std::runtime_error("the server has closed");
    }
    TcpSocket socket_;
    std::vector<std::uint8_t> request_, message_;
};

}  // namespace chiral::bench
