// SPDX-License-Identifier: Apache-2.0
// What fuzzing starts from: the golden frames of the original in tests/vectors, frames of our own, and addresses.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace chiral::fuzz {

/// The seeds of a target of all_targets, by name.
std::map<std::string, std::vector<std::uint8_t>> seeds_of(const std::string& target);

}  // namespace chiral::fuzz
