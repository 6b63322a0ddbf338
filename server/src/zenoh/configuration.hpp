// SPDX-License-Identifier: Apache-2.0
// How the server opens its Zenoh session: where it listens, whom it lets in, and how much it takes.
#pragma once

#include <chiral/options.hpp>

#include <string>

namespace chiral::zenoh {

/// As Zenoh writes it.
std::string endpoint_text(const std::string& host, int port);

/// Zenoh's configuration as JSON5. `host`: empty to listen nowhere. `users`: the file with who may come, empty for everybody.
std::string configuration(const ServerOptions& options, const std::string& host, int port, const std::string& users);

/// What is to be said about listening there, where others than this machine's programs can move the robot; or nothing.
std::string warning_if_open_to_all(const ServerOptions& options, const std::string& host, int port);

}  // namespace chiral::zenoh
