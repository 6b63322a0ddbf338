// SPDX-License-Identifier: Apache-2.0
// The robots that can be reached through a Zenoh router, or through one of them: see docs/ZENOH.md. Needs a build with
// CHIRAL_ZENOH=ON.
#pragma once

#include <chiral/api.hpp>
#include <chiral/client.hpp>
#include <chiral/time.hpp>

#include <chrono>
#include <string>
#include <vector>

namespace chiral {

struct FoundRobot {
    std::string prefix;  ///< of its keys: where zenoh://HOST/PREFIX finds it
    std::string id;      ///< of its Zenoh session: another one after each start
};

/// Asks who is there, for that long at most, and gives them in the order of their prefixes. Two with one prefix are two robots
/// that nobody can tell apart, and so do not move: see docs/ZENOH.md. `address`: zenoh://HOST[:PORT] or tcp/HOST:PORT. Throws
/// std::invalid_argument for another one, ConnectionError if nobody is there.
CHIRAL_API std::vector<FoundRobot> find_robots(const std::string& address, Duration patience = std::chrono::seconds(2),
                                               const ClientOptions& options = {});

}  // namespace chiral
