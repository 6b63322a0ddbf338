// SPDX-License-Identifier: Apache-2.0
// A bearer token as Zenoh's own user and password, at either end: whoever does not know it gets no session, and so can neither
// subscribe to what goes over the links nor put anything into them. Zenoh proves it by a challenge; it does not cross the link.
#pragma once

#include "net/sockets.hpp"

#include <string>
#include <string_view>

namespace chiral::net {

/// The name that goes with every token.
inline constexpr const char* kZenohUser = "chiral";

/// As a string of JSON, quotes included.
std::string json_text(std::string_view text);

/// What of transport.auth in Zenoh's configuration shows the token to whom the session connects to, and, if a file is given,
/// asks for what stands there whoever connects to it. "{}" without a token.
std::string zenoh_login(const std::string& token, const std::string& dictionary_file = {});

/// The token in a file, which is where Zenoh reads who may come: in memory, without a name, until this is destroyed. Zenoh reads it
/// while a session is opened.
class ZenohDictionary {
public:
    /// Throws std::system_error. Without a token there is no file.
    explicit ZenohDictionary(const std::string& token);
    /// Empty if there is none.
    std::string path() const;

private:
    Descriptor file_;
};

}  // namespace chiral::net
