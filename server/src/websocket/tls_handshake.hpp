// SPDX-License-Identifier: Apache-2.0
// The server's end of one TLS handshake: reads and writes on the network thread, computes on the HandshakeThread.
//
// It reads record by record, so that it takes nothing from the stream that comes behind the handshake; then the link goes on
// as if it had made the handshake itself.
//
// Thread rule: network thread.
#pragma once

#include "net/handler_memory.hpp"
#include "net/link.hpp"
#include "websocket/handshake_thread.hpp"

#include <boost/system/error_code.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace chiral::websocket {

class TlsHandshake final : public std::enable_shared_from_this<TlsHandshake> {
public:
    enum class Outcome {
        done,
        silent,      ///< the other end has said nothing at all
        plain_http,  ///< it speaks HTTP without TLS, and has got no answer yet
        crowded,     ///< too many handshakes of its address wait
        failed,      ///< for what why() says; it has been told
    };
    using Then = std::function<void(Outcome)>;

    /// The link, which has TLS, must live until `then` is called.
    TlsHandshake(net::Link& link, HandshakeThread& thread);
    ~TlsHandshake();

    /// Calls `then` once. A link that is closed meanwhile ends it.
    void start(Then then);
    /// Nothing more needs to be computed.
    void cancel() noexcept { cancelled_ = true; }
    const std::string& why() const noexcept { return why_; }

private:
    void read_head();
    void read_rest();
    void compute();
    void step() noexcept;
    enum class State { more, done, plain_http, failed };
    State advance();
    void on_step();
    void end(Outcome outcome);
    void broken(const boost::system::error_code& error);

    net::Link& link_;
    HandshakeThread& thread_;
    Then then_;
    std::string address_;
    SSL* ssl_;
    BIO* own_;  // what the link's TLS reads from and writes to when the handshake is over
    BIO *input_, *output_;
    std::vector<std::uint8_t> record_, answer_;
    net::HandlerMemory way_back_;  // to the network thread, which must not fail: nobody else would end the connection
    std::size_t received_{0};
    State state_{State::more};
    std::atomic<bool> cancelled_{false};
    std::string why_;
};

}  // namespace chiral::websocket
