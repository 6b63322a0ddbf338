// SPDX-License-Identifier: Apache-2.0
// The addresses that PolicyClient understands: ws://HOST[:PORT][/PATH][?QUERY] and wss://..., as RFC 6455 section 3 has them, and
// zenoh://HOST[:PORT][/PREFIX][?takeover=1 or ?observe=1]; also, as Zenoh writes addresses, tcp/HOST:PORT and tls/HOST:PORT.
#pragma once

#include "net/zenoh_keys.hpp"

#include <string>

namespace chiral::net {

struct Uri {
    std::string text;       ///< as given, for messages; but for the value of access_token, which is none of theirs
    bool secure{false};     ///< wss: over TLS
    std::string host;       ///< name or address to connect to; an IPv6 address without its brackets
    std::string port;       ///< decimal; where none was given, "80" for ws and "443" for wss
    std::string authority;  ///< HOST[:PORT] as given: the Host field of the handshake
    std::string target;     ///< path and query, at least "/"
};

/// Throws std::invalid_argument that says what is wrong with the address and what was expected.
Uri parse_uri(const std::string& text);

struct ZenohUri {
    std::string text;      ///< as given, for messages
    std::string endpoint;  ///< as Zenoh writes it: "tcp/HOST:PORT"; port 7447 where none was given
    std::string prefix{"chiral"};
    ZenohHello::Wish wish{ZenohHello::Wish::control};
};

/// The same for zenoh://, tcp/ and tls/.
ZenohUri parse_zenoh_uri(const std::string& text);

}  // namespace chiral::net
