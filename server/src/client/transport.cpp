// SPDX-License-Identifier: Apache-2.0
#include "client/transport.hpp"

#include "client/local.hpp"
#include "client/websocket.hpp"
#include "client/zenoh.hpp"

#include <string_view>

namespace chiral::client {

namespace {

struct Scheme {
    std::string_view prefix;
    std::unique_ptr<Endpoint> (*endpoint)(const std::string& address, const ClientOptions& options);
};

// A new transport is a line here and a file beside websocket.cpp. Zenoh's own way to write addresses is that of the documented
// programs.
constexpr Scheme schemes[] = {
    {"ws://", websocket_endpoint}, {"wss://", websocket_endpoint},
#ifdef __linux__
    {"unix://", local_endpoint},
#endif
    {"zenoh://", zenoh_endpoint},  {"tcp/", zenoh_endpoint},       {"tls/", zenoh_endpoint},
};

}  // namespace

std::unique_ptr<Endpoint> endpoint_of(const std::string& address, const ClientOptions& options) {
    for (const Scheme& scheme : schemes)
        if (std::string_view(address).starts_with(scheme.prefix)) return scheme.endpoint(address, options);
    return websocket_endpoint(address, options);  // says what an address looks like
}

}  // namespace chiral::client
