// SPDX-License-Identifier: Apache-2.0
// A store that nobody reads: each writer copies into memory of its own.
//
// The canary threads write to it. They run the same code as the writers under test with the same load at the same time, so
// what happens to them is the machine's doing, and what happens to the writers beyond that is the engine's.
#pragma once

#include "sensor_store.hpp"

#include <memory>

namespace chiral::stress {

/// `slots`: buffers of each field, used in turn. As many as the engine has: one that was written three frames ago is as cold
/// in the cache as theirs.
std::unique_ptr<SensorStore> make_private_store(const StoreSetup& setup, std::size_t slots);

}  // namespace chiral::stress
