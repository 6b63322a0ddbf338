// SPDX-License-Identifier: Apache-2.0
#include "websocket/access.hpp"

#include "net/bearer_token.hpp"

#include <algorithm>

namespace chiral::websocket {
namespace {

bool equal_without_case(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    return a.size() == b.size() &&
           std::equal(a.begin(), a.end(), b.begin(), [&](char x, char y) { return lower(x) == lower(y); });
}

int hexadecimal(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

std::string_view path_of(std::string_view target) noexcept {
    target = target.substr(0, target.find('?'));
    const std::size_t scheme_end = target.starts_with('/') ? std::string_view::npos : target.find("://");
    if (scheme_end == std::string_view::npos) return target;
    const std::size_t path = target.find('/', scheme_end + 3);  // the absolute form: RFC 7230, 5.3.2
    return path == std::string_view::npos ? "/" : target.substr(path);
}

namespace {

// Calls `with` for every value of a key, as it stands there.
template <class With>
void for_each_value(std::string_view target, std::string_view key, With&& with) {
    const std::size_t mark = target.find('?');
    if (mark == std::string_view::npos) return;
    for (std::string_view rest = target.substr(mark + 1); !rest.empty();) {
        const std::string_view pair = rest.substr(0, rest.find('&'));
        rest.remove_prefix(std::min(pair.size() + 1, rest.size()));
        const std::size_t equals = std::min(pair.find('='), pair.size());
        if (pair.substr(0, equals) == key) with(pair.substr(std::min(equals + 1, pair.size())));
    }
}

std::string without_escapes(std::string_view text) {
    std::string value;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool escape =
            text[i] == '%' && i + 2 < text.size() && hexadecimal(text[i + 1]) >= 0 && hexadecimal(text[i + 2]) >= 0;
        value += escape ? static_cast<char>(hexadecimal(text[i + 1]) * 16 + hexadecimal(text[i + 2])) : text[i];
        if (escape) i += 2;
    }
    return value;
}

}  // namespace

std::optional<std::string> query_value(std::string_view target, std::string_view key) {
    std::optional<std::string> value;
    for_each_value(target, key, [&](std::string_view text) {
        if (!value) value = without_escapes(text);
    });
    return value;
}

std::size_t count_in_query(std::string_view target, std::string_view key) {
    std::size_t found = 0;
    for_each_value(target, key, [&](std::string_view) { ++found; });
    return found;
}

Purpose purpose_of(std::string_view target) {
    const std::string_view path = path_of(target);
    Purpose purpose;
    if (path == "/observe" || path == "/observe/") purpose.what = Purpose::What::observe;
    else if (path != "/")
        throw UnknownPath(
            "There is no WebSocket here: whoever wants control connects to /, whoever wants to watch to /observe.");
    const std::string value = query_value(target, "takeover").value_or("0");
    if (count_in_query(target, "takeover") > 1 || (value != "0" && value != "1"))
        throw std::invalid_argument("Of takeover, expected once takeover=1 or takeover=0.");
    purpose.take_over = value == "1";
    return purpose;
}

bool token_accepted(const AccessOptions& access, const AccessRequest& request) {
    if (access.bearer_token.empty()) return true;
    constexpr std::string_view scheme = "Bearer ";
    if (request.authorization.size() > scheme.size() &&
        equal_without_case(request.authorization.substr(0, scheme.size()), scheme))
        return net::equal_in_constant_time(request.authorization.substr(scheme.size()), access.bearer_token);
    const auto in_query = query_value(request.target, "access_token");
    return in_query && net::equal_in_constant_time(*in_query, access.bearer_token);
}

// A host that no stranger can have the name of. Other names may be theirs, and lead here when they like: a page of theirs then
// has the robot for its own host (DNS rebinding).
static bool is_nobodys_domain(std::string_view host) {
    if (host.starts_with('[')) return true;  // an IPv6 address
    host = host.substr(0, host.find(':'));
    const bool ipv4 = host.find_first_not_of("0123456789.") == std::string_view::npos;
    const bool one_label = host.find('.') == std::string_view::npos;
    return ipv4 || one_label || (host.size() > 6 && equal_without_case(host.substr(host.size() - 6), ".local"));
}

bool origin_accepted(const AccessOptions& access, const AccessRequest& request) {
    if (request.origin.empty()) return true;
    // The server's own page: its origin is scheme://Host. A stranger's page does not know the token.
    const std::size_t scheme_end = request.origin.find("://");
    if (scheme_end != std::string_view::npos && !request.host.empty() &&
        equal_without_case(request.origin.substr(scheme_end + 3), request.host) &&
        (!access.bearer_token.empty() || is_nobodys_domain(request.host)))
        return true;
    return std::any_of(access.allowed_origins.begin(), access.allowed_origins.end(),
                       [&](const std::string& allowed) { return equal_without_case(allowed, request.origin); });
}

bool host_accepted(const AccessOptions& access, const AccessRequest& request) {
    // Browsers always send a Host.
    if (!access.bearer_token.empty() || request.host.empty() || is_nobodys_domain(request.host)) return true;
    return std::any_of(access.allowed_origins.begin(), access.allowed_origins.end(), [&](const std::string& allowed) {
        const std::size_t scheme_end = allowed.find("://");
        return scheme_end != std::string::npos &&
               equal_without_case(std::string_view(allowed).substr(scheme_end + 3), request.host);
    });
}

std::string warning_if_open_to_all(const AccessOptions& access, const boost::asio::ip::tcp::endpoint& endpoint) {
    if (endpoint.address().is_loopback() || !access.bearer_token.empty()) return {};
    // TLS alone tells a client who the robot is, not the robot who the client is.
    const std::string without = access.tls_certificate_file.empty() ? "neither TLS nor a token" : "TLS but without a token";
    return "WARNING: listening on " + endpoint.address().to_string() + " with " + without + ": everybody who reaches port " +
           std::to_string(endpoint.port()) +
           " can move this robot. Set ServerOptions::access.bearer_token, or listen on 127.0.0.1.";
}

}  // namespace chiral::websocket
