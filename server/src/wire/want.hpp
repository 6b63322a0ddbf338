// SPDX-License-Identifier: Apache-2.0
// The key `want` of an obs_request. docs/PROTOCOL.md has the format.
#pragma once

#include <chiral/wire.hpp>

#include <memory>

namespace chiral::wire {

struct Value;

/// Reads the value of `want`. Keys that it does not know are ignored; what a camera does not say is as for all. Throws
/// DecodeError for a word or number that is out of bounds.
std::shared_ptr<const WantRequest> decode_want(const Value& want, const Limits& limits);

}  // namespace chiral::wire
