// SPDX-License-Identifier: Apache-2.0
#include "zenoh/configuration.hpp"

#include "net/zenoh_keys.hpp"
#include "net/zenoh_login.hpp"

#include <boost/asio/ip/address.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace chiral::zenoh {
namespace {

// Who only subscribes (the stream, figures), and who is to be told that there is no room.
constexpr std::size_t kMoreSessions = 16;

// What is more than this has no end; sums of it fit into what Zenoh counts with.
constexpr std::size_t kNoLimit = std::size_t{1} << 40;

bool is_loopback(const std::string& host) {
    boost::system::error_code error;
    const auto address = boost::asio::ip::make_address(host, error);
    return error ? host == "localhost" : address.is_loopback();
}

}  // namespace

std::string endpoint_text(const std::string& host, int port) {
    const bool ipv6 = host.find(':') != std::string::npos;
    return "tcp/" + (ipv6 ? '[' + host + ']' : host) + ':' + std::to_string(port);
}

// Zenoh's own defaults would look for others by multicast, tell everybody of everybody, listen on all addresses, let a thousand
// come, and put together a gigabyte of each.
std::string configuration(const ServerOptions& options, const std::string& host, int port, const std::string& users) {
    const ZenohOptions& zenoh = *options.zenoh;
    std::string routers;
    for (const std::string& router : zenoh.connect) routers += (routers.empty() ? "" : ",") + net::json_text(router);
    const std::string listen = host.empty() ? "" : net::json_text(endpoint_text(host, port));
    const auto stalled = std::chrono::duration_cast<std::chrono::microseconds>(zenoh.stalled_timeout).count();
    const std::size_t sessions = std::min(options.max_connections, kNoLimit) + zenoh.connect.size() + kMoreSessions;
    // What is larger Zenoh drops without a word. What is too large by less arrives, and its sender is told.
    const std::size_t message = std::min(options.max_message_bytes, kNoLimit);
    const std::size_t most_bytes = message + message / 2 + std::size_t{64} * 1024;
    return "{mode: 'peer', listen: {endpoints: [" + listen + "]}, connect: {endpoints: [" + routers +
           "]}, scouting: {multicast: {enabled: false}, gossip: {enabled: false}}, transport: {auth: " +
           net::zenoh_login(options.access.bearer_token, users) + ", unicast: {max_sessions: " + std::to_string(sessions) +
           "}, link: {rx: {max_message_size: " + std::to_string(most_bytes) +
           "}, tx: {lease: " + std::to_string(net::kZenohLeaseMs) +
           ", queue: {congestion_control: {block: {wait_before_close: " + std::to_string(stalled) + "}}}}}}}";
}

// What stands in a configuration file is its author's.
std::string warning_if_open_to_all(const ServerOptions& options, const std::string& host, int port) {
    if (host.empty() || is_loopback(host) || !options.access.bearer_token.empty()) return {};
    const std::string& file = options.zenoh->config_file;
    const std::string unless = file.empty() ? "" : ", unless " + file + " asks for TLS certificates of clients or for users";
    return "WARNING: listening for Zenoh on " + host + " without a token: everybody who reaches port " +
           std::to_string(port) + " can move this robot" + unless +
           ". Set ServerOptions::access.bearer_token, or listen on 127.0.0.1.";
}

}  // namespace chiral::zenoh
