// SPDX-License-Identifier: Apache-2.0
// Takes addresses apart. Everything that goes into the handshake request is checked here, so that an address cannot
// smuggle header lines into it.
#include "net/uri.hpp"

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <string_view>
#include <utility>

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

constexpr const char* kWebSocket = "ws://HOST[:PORT][/PATH], or wss:// for TLS";
constexpr const char* kZenoh = "zenoh://HOST[:PORT][/PREFIX][?takeover=1 or ?observe=1], tcp/HOST:PORT or tls/HOST:PORT";
constexpr const char* kAny = "ws://HOST[:PORT][/PATH], wss:// for TLS, unix:///PATH or zenoh://HOST[:PORT][/PREFIX]";

[[noreturn]] void refuse(const std::string& text, const std::string& problem, const std::string& expected = kWebSocket) {
    std::string message = "address '" + without_token(text) + "': " + problem;  // the problem may quote the text
    std::replace_if(
        message.begin(), message.end(), [](char c) { return c < 0x20 || c >= 0x7f; }, '?');
    throw std::invalid_argument(message + ", expected " + expected);
}

bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

bool in_name(char c) { return is_letter_or_digit(c) || c == '-' || c == '.' || c == '_'; }

// An IPv6 address, possibly with a zone: "fe80::1%eth0".
bool in_ipv6(char c) { return is_letter_or_digit(c) || c == ':' || c == '.' || c == '%'; }

bool in_target(char c) { return c > 0x20 && c < 0x7f && c != '#'; }

// Of HOST or HOST:PORT; the port is empty if there is none.
struct Place {
    std::string host, port;
};

Place parse_place(const std::string& text, std::string_view authority, const char* expected) {
    Place place;
    if (authority.starts_with('[')) {
        const std::size_t end = authority.find(']');
        if (end == std::string_view::npos) refuse(text, "the bracket of its IPv6 address is not closed", expected);
        place.host = authority.substr(1, end - 1);
        if (!std::all_of(place.host.begin(), place.host.end(), in_ipv6))
            refuse(text, "its host is not an IPv6 address", expected);
        authority.remove_prefix(end + 1);
    } else {
        place.host = authority.substr(0, authority.find(':'));
        if (!std::all_of(place.host.begin(), place.host.end(), in_name))
            refuse(text, "its host is not a name or address", expected);
        authority.remove_prefix(place.host.size());
    }
    if (place.host.empty()) refuse(text, "it has no host", expected);
    if (authority.empty()) return place;

    if (authority.front() != ':') refuse(text, "something other than a port follows its host", expected);
    place.port = authority.substr(1);
    unsigned number = 0;
    const char* end = place.port.data() + place.port.size();
    const auto result = std::from_chars(place.port.data(), end, number);
    if (result.ec != std::errc{} || result.ptr != end || number == 0 || number > 65535)
        refuse(text, "its port is '" + place.port + "', not a number from 1 to 65535", expected);
    return place;
}

}  // namespace

Uri parse_uri(const std::string& text) {
    constexpr std::string_view plain = "ws://", secure = "wss://";
    std::string_view rest = text;
    Uri uri;
    uri.secure = rest.starts_with(secure);
    if (!uri.secure && !rest.starts_with(plain)) refuse(text, "its scheme is not ws or wss", kAny);
    rest.remove_prefix(uri.secure ? secure.size() : plain.size());

    const std::size_t authority_end = std::min(rest.find_first_of("/?#"), rest.size());
    const std::string_view target = rest.substr(authority_end);
    uri.text = without_token(text);
    uri.authority = rest.substr(0, authority_end);
    Place place = parse_place(text, uri.authority, kWebSocket);
    uri.host = std::move(place.host);
    uri.port = !place.port.empty() ? std::move(place.port) : uri.secure ? "443" : "80";

    if (!std::all_of(target.begin(), target.end(), in_target))
        refuse(text, "its path has a blank, a fragment, or a character that is not ASCII");
    uri.target = target.starts_with('/') ? target : "/" + std::string(target);
    return uri;
}

ZenohUri parse_zenoh_uri(const std::string& text) {
    constexpr std::string_view ours = "zenoh://", tcp = "tcp/", tls = "tls/";
    const auto no = [&](const std::string& problem) { refuse(text, problem, kZenoh); };
    std::string_view rest = text;
    ZenohUri uri;
    uri.text = text;
    const bool with_prefix = rest.starts_with(ours);
    const std::string protocol(rest.starts_with(tls) ? tls : tcp);
    if (!with_prefix && !rest.starts_with(tcp) && !rest.starts_with(tls)) no("its scheme is not zenoh, tcp or tls");
    rest.remove_prefix(with_prefix ? ours.size() : protocol.size());

    const std::size_t authority_end = std::min(rest.find_first_of("/?#"), rest.size());
    const std::string_view authority = rest.substr(0, authority_end);
    const Place place = parse_place(text, authority, kZenoh);
    uri.endpoint = protocol + std::string(authority) + (place.port.empty() ? ":7447" : "");

    std::string_view target = rest.substr(authority_end);
    if (!with_prefix && !target.empty()) no("something other than a port follows its host");
    const std::size_t mark = std::min(target.find('?'), target.size());
    const std::string_view query = target.substr(mark);
    target = target.substr(0, mark);
    if (query == "?takeover=1") uri.wish = ZenohHello::Wish::take_over;
    else if (query == "?observe=1") uri.wish = ZenohHello::Wish::observe;
    else if (!query.empty()) no("its query is none");
    if (target.size() > 1) {
        uri.prefix = target.substr(1);
        try {
            check_zenoh_prefix(uri.prefix);
        } catch (const std::invalid_argument& error) {
            no(error.what());
        }
    }
    return uri;
}

}  // namespace chiral::net
