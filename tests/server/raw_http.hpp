// HTTP requests of the tests' own making, WebSocket handshakes for other paths than / among them.
#pragma once

#include "raw_client.hpp"

#include <string>

namespace chiral::test {

/// One request that is no handshake. The connection is read to its end.
inline RawClient::HttpAnswer get(int port, const std::string& target, const std::string& method = "GET",
                                 const std::string& fields = "") {
    RawClient client(port);
    client.send_bytes(bytes_of(method + ' ' + target + " HTTP/1.1\r\nHost: robot\r\n" + fields + "\r\n"));
    RawClient::HttpAnswer answer = client.read_http();
    client.read_to_end();
    return answer;
}

/// A handshake for `target`.
inline RawClient::HttpAnswer handshake(RawClient& client, const std::string& target, const std::string& fields = "") {
    std::string text = RawClient::handshake_request();
    text.replace(text.find(" / "), 3, ' ' + target + ' ');
    text.insert(text.size() - 2, fields);
    client.send_bytes(bytes_of(text));
    return client.read_http();
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
