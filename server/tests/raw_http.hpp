// SPDX-License-Identifier: Apache-2.0
// Plain HTTP requests of the tests' own making.
#pragma once

#include "raw_client.hpp"

#include <string>

namespace chiral::test {

/// One request. The connection is read to its end.
inline RawClient::HttpAnswer get(int port, const std::string& target, const std::string& method = "GET",
                                 const std::string& fields = "") {
    RawClient client(port);
    client.send_bytes(bytes_of(method + ' ' + target + " HTTP/1.1\r\nHost: robot\r\n" + fields + "\r\n"));
    RawClient::HttpAnswer answer = client.read_http();
    client.read_to_end();
    return answer;
}

/// Of the answer's header; empty if it is not there.
inline std::string field(const RawClient::HttpAnswer& answer, const std::string& name) {
    const std::size_t at = answer.head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return {};
    const std::size_t begin = at + name.size() + 4;
    return answer.head.substr(begin, answer.head.find('\r', begin) - begin);
}

/// What comes until the other side closes the connection, as it comes.
inline std::string everything_from(RawClient& client) {
    std::string text;
    for (char some[4096];;) {
        client.await_input();
        const ssize_t got = ::recv(client.descriptor(), some, sizeof some, 0);
        if (got <= 0) return text;
        text.append(some, static_cast<std::size_t>(got));
    }
}

}  // namespace chiral::test
