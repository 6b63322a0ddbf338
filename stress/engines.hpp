// SPDX-License-Identifier: Apache-2.0
// The engines that can be put under stress, by name.
#pragma once

#include "sensor_store.hpp"

#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace chiral::stress {

struct EngineEntry {
    std::string_view name;
    std::string_view what;
    std::unique_ptr<SensorStore> (*make)(const StoreSetup&);
};

/// What keeps its promises, or is meant to.
std::span<const EngineEntry> engines() noexcept;
/// What breaks one promise each, on purpose: the harness must find it. `what` says as what.
std::span<const EngineEntry> broken_engines() noexcept;
/// Of either kind. Null if there is none of that name.
const EngineEntry* find_engine(std::string_view name) noexcept;

std::unique_ptr<SensorStore> make_lockfree_store(const StoreSetup& setup);
std::unique_ptr<SensorStore> make_mutex_store(const StoreSetup& setup);

}  // namespace chiral::stress
