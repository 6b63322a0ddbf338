// SPDX-License-Identifier: Apache-2.0
// Runs a broken core against the models until one of them fails.
#pragma once

#include "model.hpp"
#include "mutant.hpp"

#include <cstdint>
#include <vector>

namespace chiral::model {

/// Tries `chosen` until one fails, and prints which and how. True if the mutant survived.
bool hunt_one(const Mutant&, const std::vector<Model>& chosen);

/// Every mutant: prints the table. True if exactly those survive of which hunt.cpp says why they may; `thorough`: these are given as
/// many executions as the others.
bool hunt_all(const std::vector<Model>& chosen, bool thorough);

}  // namespace chiral::model
