// SPDX-License-Identifier: Apache-2.0
// Any text as the address of a server: refused with a text, or parts that fit together, and that can smuggle nothing into
// the request of the handshake.
#include "net/uri.hpp"

#include "properties.hpp"

#include <charconv>
#include <optional>

namespace chiral::fuzz {

namespace {

std::optional<net::Uri> parse(const std::string& text) {
    try {
        return net::parse_uri(text);
    } catch (const std::invalid_argument& error) {
        // The text is the user's own, and is shown as a whole.
        require_presentable(error.what(), 2 * text.size() + 512);
        return std::nullopt;
    }
}

}  // namespace

void uri(Bytes bytes) {
    const std::string text(bytes.begin(), bytes.end());
    const std::optional<net::Uri> uri = parse(text);
    if (!uri) return;
    const auto visible = [](char c) { return c > 0x20 && c < 0x7f; };
    for (const std::string* part : {&uri->host, &uri->port, &uri->authority, &uri->target})
        require(!part->empty() && std::all_of(part->begin(), part->end(), visible), "every part is visible ASCII", *part);
    if (text.find("access_token=") == std::string::npos) require(uri->text == text, "the address is kept as it was given");
    require(uri->target.front() == '/', "a target begins with a slash", uri->target);
    require(uri->authority.find_first_of("/?#@") == std::string::npos, "an authority has no user and no path",
            uri->authority);
    unsigned port = 0;
    const auto result = std::from_chars(uri->port.data(), uri->port.data() + uri->port.size(), port);
    require(result.ec == std::errc{} && result.ptr == uri->port.data() + uri->port.size() && port >= 1 && port <= 65535,
            "a port is a number from 1 to 65535", uri->port);
    require(uri->authority.find(uri->host) != std::string::npos, "the host is part of the authority", uri->authority);

    const std::optional<net::Uri> again = parse((uri->secure ? "wss://" : "ws://") + uri->authority + uri->target);
    require(again && again->secure == uri->secure && again->host == uri->host && again->port == uri->port &&
                again->authority == uri->authority && again->target == uri->target,
            "the parts make up the same address again", text);
}

}  // namespace chiral::fuzz
