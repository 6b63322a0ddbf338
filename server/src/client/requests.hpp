// SPDX-License-Identifier: Apache-2.0
// The requests of the protocol, each with the answer that it must get. An answer that is malformed or another one ends the
// connection: ConnectionError.
#pragma once

#include "client/connection.hpp"

#include <chiral/types.hpp>

#include <functional>

namespace chiral::client {

InfoMap ask_metadata(Connection& on);
/// What follows decodes into the caller's memory, and notes the round trip and the observation in the connection's counters.
void ask_observation(Connection& on, Observation& obs);
/// `unpack` is called while the bytes that `obs` borrows are there; what it throws as DecodeError counts as a malformed answer.
void ask_wanted(Connection& on, const wire::WantRequest& want, Observation& obs, const std::function<void()>& unpack);
void ask_reset(Connection& on, Observation& obs, InfoMap& info);
/// `encode` writes the action when it is its turn.
void ask_step(Connection& on, const std::function<void(std::vector<std::uint8_t>&)>& encode, StepResult& result);

}  // namespace chiral::client
