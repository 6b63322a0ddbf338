// SPDX-License-Identifier: Apache-2.0
// Strangers who ask for TLS handshakes and do not go on with them.
#pragma once

#include "raw_client.hpp"

#include <openssl/ssl.h>

#include <atomic>
#include <deque>
#include <memory>
#include <system_error>
#include <thread>

namespace chiral::test {

/// A ClientHello that is one, without a client behind it that goes on.
inline ByteVector client_hello() {
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    const std::unique_ptr<SSL, void (*)(SSL*)> ssl(SSL_new(context.get()), SSL_free);
    BIO* const out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
    SSL_connect(ssl.get());
    ByteVector bytes(BIO_ctrl_pending(out));
    BIO_read(out, bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
}

/// A connection that has sent a ClientHello, from one of many addresses of this machine.
class Hello {
public:
    Hello(int port, std::uint8_t from, const ByteVector& hello) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        constexpr in_addr_t network = 0x7f000100;  // 127.0.1.0
        sockaddr_in own = address(network + from, 0), server = address(INADDR_LOOPBACK, port);
        const auto size = static_cast<ssize_t>(hello.size());
        if (socket_ < 0 || ::bind(socket_, reinterpret_cast<sockaddr*>(&own), sizeof own) != 0 ||
            ::connect(socket_, reinterpret_cast<sockaddr*>(&server), sizeof server) != 0 ||
            ::send(socket_, hello.data(), hello.size(), MSG_NOSIGNAL) != size) {
            const int error = errno;
            if (socket_ >= 0) ::close(socket_);
            throw std::system_error(error, std::system_category(), "a connection for a ClientHello");
        }
    }
    Hello(Hello&& other) noexcept : socket_(std::exchange(other.socket_, -1)) {}
    ~Hello() {
        const linger reset{1, 0};
        if (socket_ < 0) return;
        ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        ::close(socket_);
    }
    /// Waits until it is answered. False if it is turned away, or at the deadline.
    [[nodiscard]] bool answered() const {
        pollfd descriptor{socket_, POLLIN, 0};
        char first = 0;
        const auto deadline = std::chrono::duration_cast<std::chrono::milliseconds>(kDeadline);
        return ::poll(&descriptor, 1, static_cast<int>(deadline.count())) == 1 && ::recv(socket_, &first, 1, MSG_PEEK) == 1;
    }

private:
    static sockaddr_in address(in_addr_t host, int port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(host);
        return address;
    }
    int socket_;
};

/// Wave after wave of them, until its end: the next one comes when this one has been dealt with, so that there is always work.
class FloodOfHellos {
public:
    static constexpr std::uint8_t kAtOnce = 48;  // fewer than connections are allowed

    /// Each from an address of its own, where all wait for their turn, or all from one, where few may wait.
    enum class From { many_addresses, one_address };
    FloodOfHellos(int port, From from) : thread_([this, port, from] { send_to(port, from); }) {}
    ~FloodOfHellos() {
        ended_ = true;
        thread_.join();
    }
    [[nodiscard]] bool waves(int at_least) const {
        return eventually([&] { return waves_ >= at_least; });
    }

private:
    void send_to(int port, From from) {
        const ByteVector hello = client_hello();
        while (!ended_) {
            std::deque<Hello> wave;
            for (std::uint8_t i = 1; i <= kAtOnce; ++i) try {
                    wave.emplace_back(port, from == From::one_address ? kAtOnce : i, hello);
                } catch (const std::system_error&) {  // dropped already
                }
            // The last one in the queue: of one address, only the first ones are in it.
            if (!wave.empty()) static_cast<void>((from == From::one_address ? wave.front() : wave.back()).answered());
            ++waves_;
        }
    }

    std::atomic<bool> ended_{false};
    std::atomic<int> waves_{0};
    std::thread thread_;
};

}  // namespace chiral::test
