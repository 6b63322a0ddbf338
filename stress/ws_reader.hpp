// SPDX-License-Identifier: Apache-2.0
// A policy client that asks for observations, over the loopback or a local socket, and checks every pixel.
#pragma once

#include "connection_turn.hpp"
#include "histogram.hpp"
#include "look_checker.hpp"
#include "progress.hpp"
#include "readers.hpp"

#include <chiral/client.hpp>

#include <atomic>
#include <cstdint>
#include <string>

namespace chiral::stress {

struct WsPlan {
    double hz{30.0};                                  ///< 0: the next request follows the answer
    Nanoseconds old_image{0};                         ///< images older than this when they have arrived are counted
    Nanoseconds impossible_age = Nanoseconds::max();  ///< the drivers' clock has been set, so that this is no age
};

/// What the client measured. Its own until it has ended.
struct WsTimes {
    Histogram round_trip;  ///< request sent to observation decoded
    Histogram age;         ///< of the images in an arrived observation
    std::uint64_t bytes{0};
    std::uint64_t old_images{0};
};

/// Of clients in a run: they wait for as long as a machine may take that has company.
ClientOptions patient_client_options();
/// A server that has not noticed yet that its last client is gone refuses the next one. False at `stop`. Throws
/// chiral::ConnectionError.
bool connect_when_let_in(PolicyClient& client, std::chrono::seconds patience, const std::atomic<bool>& stop);

/// Requests with a connected client until `stop`. Gives the connection away while `turn` is wanted. Throws
/// chiral::ConnectionError.
void read_over_ws(PolicyClient& client, LookChecker& checker, const Progress& progress, const WsPlan& plan,
                  ConnectionTurn& turn, const std::atomic<bool>& stop, LiveCounts& live, WsTimes& times);

/// As a client of its own: connects when it is let in, which may take until `patience` has passed, and checks one observation.
/// No look is made only if `stop` comes before. Throws chiral::ConnectionError.
void observe_once(LookChecker& checker, const Progress& progress, int port, std::chrono::seconds patience,
                  const std::atomic<bool>& stop);

}  // namespace chiral::stress
