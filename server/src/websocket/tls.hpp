// SPDX-License-Identifier: Apache-2.0
// With which certificate, versions and ciphers the server speaks TLS.
#pragma once

#include "websocket/handshake_thread.hpp"

#include <chiral/options.hpp>

#include <boost/asio/ssl/context.hpp>

#include <memory>
#include <utility>

namespace chiral::websocket {

/// What the connections of a server share.
struct Tls {
    explicit Tls(boost::asio::ssl::context with) : context(std::move(with)) {}
    boost::asio::ssl::context context;
    HandshakeThread handshakes;
};

/// TLS 1.2 and 1.3, forward secrecy only, no renegotiation. Null if no certificate is configured. Throws std::system_error for
/// files that cannot be used.
std::unique_ptr<Tls> make_tls(const AccessOptions& access);

}  // namespace chiral::websocket
