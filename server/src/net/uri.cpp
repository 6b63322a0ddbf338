// SPDX-License-Identifier: Apache-2.0
// Takes addresses apart. Everything that goes into the handshake request is checked here, so that an address cannot
// smuggle header lines into it.
#include "net/uri.hpp"

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <string_view>

namespace chiral::net {

namespace {

// The text with dots for the value of every access_token in its query.
std::string without_token(std::string text) {
    constexpr std::string_view key = "access_token=";
    for (std::size_t at = text.find(key); at != std::string::npos; at = text.find(key, at)) {
        at += key.size();
        text.replace(at, std::min(text.find('&', at), text.size()) - at, "...");
    }
    return text;
}

[[noreturn]] void refuse(const std::string& text, const std::string& problem) {
    std::string message = "address '" + without_token(text) + "': " + problem;  // the problem may quote the text
    std::replace_if(
        message.begin(), message.end(), [](char c) { return c < 0x20 || c >= 0x7f; }, '?');
    throw std::invalid_argument(message + ", expected ws://HOST[:PORT][/PATH], or wss:// for TLS");
}

bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

bool in_name(char c) { return is_letter_or_digit(c) || c == '-' || c == '.' || c == '_'; }

// An IPv6 address, possibly with a zone: "fe80::1%eth0".
bool in_ipv6(char c) { return is_letter_or_digit(c) || c == ':' || c == '.' || c == '%'; }

bool in_target(char c) { return c > 0x20 && c < 0x7f && c != '#'; }

}  // namespace

Uri parse_uri(const std::string& text) {
    constexpr std::string_view plain = "ws://", secure = "wss://";
    std::string_view rest = text;
    Uri uri;
    uri.secure = rest.starts_with(secure);
    if (!uri.secure && !rest.starts_with(plain)) refuse(text, "its scheme is not ws or wss");
    rest.remove_prefix(uri.secure ? secure.size() : plain.size());

    const std::size_t authority_end = std::min(rest.find_first_of("/?#"), rest.size());
    std::string_view authority = rest.substr(0, authority_end);
    const std::string_view target = rest.substr(authority_end);

    uri.text = without_token(text);
    uri.authority = authority;
    if (authority.starts_with('[')) {
        const std::size_t end = authority.find(']');
        if (end == std::string_view::npos) refuse(text, "the bracket of its IPv6 address is not closed");
        uri.host = authority.substr(1, end - 1);
        if (!std::all_of(uri.host.begin(), uri.host.end(), in_ipv6)) refuse(text, "its host is not an IPv6 address");
        authority.remove_prefix(end + 1);
    } else {
        uri.host = authority.substr(0, authority.find(':'));
        if (!std::all_of(uri.host.begin(), uri.host.end(), in_name)) refuse(text, "its host is not a name or address");
        authority.remove_prefix(uri.host.size());
    }
    if (uri.host.empty()) refuse(text, "it has no host");

    uri.port = uri.secure ? "443" : "80";
    if (!authority.empty()) {
        if (authority.front() != ':') refuse(text, "something other than a port follows its host");
        uri.port = authority.substr(1);
        unsigned number = 0;
        const char* end = uri.port.data() + uri.port.size();
        const auto result = std::from_chars(uri.port.data(), end, number);
        if (result.ec != std::errc{} || result.ptr != end || number == 0 || number > 65535)
            refuse(text, "its port is '" + uri.port + "', not a number from 1 to 65535");
    }

    if (!std::all_of(target.begin(), target.end(), in_target))
        refuse(text, "its path has a blank, a fragment, or a character that is not ASCII");
    uri.target = target.starts_with('/') ? target : "/" + std::string(target);
    return uri;
}

}  // namespace chiral::net
