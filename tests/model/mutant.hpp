// SPDX-License-Identifier: Apache-2.0
// One deliberate weakening of the core, and the names of what can be weakened. Free of Relacy.
#pragma once

#include <chiral/core/atomics.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace chiral::model {

/// The order of one Site replaced, or one Step left out. Default: nothing is broken.
struct Mutant {
    core::Site site = core::Site::count_;
    std::memory_order order = std::memory_order::seq_cst;
    std::optional<std::memory_order> failure;  // of a compare_exchange; absent: as much of `order` as a load can have
    core::Step without = core::Step::count_;

    std::string operation() const;  // "pin_view_load", or "step help_pending_reader"
    std::string change() const;     // "acquire", or "left out"
};

/// What ModelAtomics does at present, and how often each Site was reached since the counts were last cleared.
inline Mutant mutant;
inline std::array<std::uint64_t, static_cast<std::size_t>(core::Site::count_)> reached{};

enum class Kind { load, store, exchange, compare_exchange };

/// How the core orders an operation: what it asked for when a model reached it, so that no list can disagree with it.
struct Shipped {
    Kind kind;
    std::memory_order order;    // of a compare_exchange on success
    std::memory_order failure;  // the same as `order` for all others
};
inline std::array<std::optional<Shipped>, static_cast<std::size_t>(core::Site::count_)> shipped{};

const char* name_of(core::Site);
const char* name_of(core::Step);
const char* name_of(std::memory_order);
std::optional<Mutant> parse_order(const std::string& site_is_order);  // "pin_view_load=acquire", "help_cas=acq_rel/relaxed"
std::optional<Mutant> parse_without(const std::string& step);

/// Every Site that has been reached with every order weaker than its own; then every Step.
std::vector<Mutant> all_mutants();
/// Those that have been reached and have no weaker order.
std::vector<core::Site> relaxed_sites();

inline std::memory_order mutated(core::Site site, std::memory_order order) {
    return mutant.site == site ? mutant.order : order;
}
inline std::memory_order mutated_failure(core::Site site, std::memory_order order) {
    if (mutant.site != site) return order;
    if (mutant.failure) return *mutant.failure;
    switch (mutant.order) {
        case std::memory_order::release:
        case std::memory_order::relaxed: return std::memory_order::relaxed;
        default: return order;
    }
}

}  // namespace chiral::model
