// SPDX-License-Identifier: Apache-2.0
#include "engines.hpp"

namespace chiral::stress {

std::span<const EngineEntry> engines() noexcept {
    static constexpr EngineEntry entries[] = {
        {"lockfree", "chiral::Engine: wait-free writers, readers look in place", make_lockfree_store},
        {"mutex", "the documented design: a mutex per camera, readers copy while they hold it", make_mutex_store},
    };
    return entries;
}

const EngineEntry* find_engine(std::string_view name) noexcept {
    for (const auto& some : {engines(), broken_engines()})
        for (const EngineEntry& entry : some)
            if (entry.name == name) return &entry;
    return nullptr;
}

}  // namespace chiral::stress
