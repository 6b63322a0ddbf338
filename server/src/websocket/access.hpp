// SPDX-License-Identifier: Apache-2.0
// Who may connect: bearer tokens and the Origin of web pages.
#pragma once

#include <chiral/options.hpp>

#include <boost/asio/ip/tcp.hpp>

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace chiral::websocket {

/// What of a request decides.
struct AccessRequest {
    std::string_view target;         ///< path and query
    std::string_view host;           ///< field Host
    std::string_view authorization;  ///< field Authorization
    std::string_view origin;         ///< field Origin; empty where there is none
};

/// The path of a target, without its query, and without scheme and authority where they are there.
std::string_view path_of(std::string_view target) noexcept;
/// The value of a key in the query of a target, percent signs undone; nothing if the key is not there. The first one, if it is
/// there more than once.
std::optional<std::string> query_value(std::string_view target, std::string_view key);
/// How often a key is there.
std::size_t count_in_query(std::string_view target, std::string_view key);

/// What a WebSocket asks for by its target.
struct Purpose {
    enum class What { control, observe } what{What::control};
    bool take_over{false};  ///< control, from whoever has it
};
struct UnknownPath : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};
/// Control is at "/" and nowhere else, observing at "/observe" (and "/observe/"); "takeover" is 0 or 1, once. Throws
/// UnknownPath, or std::invalid_argument for another query, with advice.
Purpose purpose_of(std::string_view target);

/// Whether the request carries the token, where one is asked for. Takes as long for a wrong token as for the right one.
bool token_accepted(const AccessOptions& access, const AccessRequest& request);
/// Whether a page of that origin may open a WebSocket here.
bool origin_accepted(const AccessOptions& access, const AccessRequest& request);
/// Whether figures may be shown under that Host without a token: a stranger's domain that leads here would give them to the
/// stranger's page (DNS rebinding). A domain that the robot really has is the host of an allowed origin.
bool host_accepted(const AccessOptions& access, const AccessRequest& request);

/// What is to be said about listening there, where others than this machine's programs can move the robot; or nothing.
std::string warning_if_open_to_all(const AccessOptions& access, const boost::asio::ip::tcp::endpoint& endpoint);

}  // namespace chiral::websocket
