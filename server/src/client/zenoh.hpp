// SPDX-License-Identifier: Apache-2.0
// zenoh://HOST:7447[/PREFIX] and the documented tcp/HOST:7447: a robot that answers under keys of a Zenoh network, directly or
// through routers.
//
// One of ours has a token, by which it is found, and is said hello to; it answers under a key of this client's own. A robot
// without one is a documented server, if it has subscribed: it answers everybody under one key, so that what nobody has asked
// for is dropped, and before anything else one answer is awaited that can only come after all those that others wait for.
//
// Zenoh blocks who sends while a link is congested: a thread of the transport's own sends. What comes is put together from
// Zenoh's slices on Zenoh's threads: the one copy on the way.
#pragma once

#include "client/transport.hpp"
#include "net/uri.hpp"

#include <memory>
#include <string>

namespace chiral::client {

/// Of a session that connects there and to nobody else, and shows the token, if there is one.
std::string zenoh_configuration(const net::ZenohUri& uri, const std::string& token);

/// What Zenoh says of a session that it could not open, with what it does not say: that this may be for the token.
std::string no_zenoh_session(const std::string& why, const std::string& token);

std::unique_ptr<Endpoint> zenoh_endpoint(const std::string& address, const ClientOptions& options);

}  // namespace chiral::client
