// SPDX-License-Identifier: Apache-2.0
// From outside: observations over WebSocket against the bare TCP loop, what they cost the robot, and how late actions are.
#pragma once

#include "plan.hpp"
#include "progress_line.hpp"
#include "record.hpp"

namespace chiral::bench {

/// Appends rows round_trip and server_cost, per set of cameras and way of fetching.
void measure_observations(const Plan& plan, ProgressLine& progress, Json& rows);
double observations_work(const Plan& plan);

#ifdef CHIRAL_ZENOH
/// Appends rows zenoh_round_trip: over Zenoh, WebSocket and bare TCP in turns. Zenoh's threads stay in the process.
void measure_zenoh(const Plan& plan, ProgressLine& progress, Json& rows);
double zenoh_work(const Plan& plan);
#endif

/// Appends rows action (receipt to callback; idle, beside observations, and with every core busy) and client_age.
void measure_actions_and_ages(const Plan& plan, ProgressLine& progress, Json& rows);
double actions_work(const Plan& plan);

}  // namespace chiral::bench
