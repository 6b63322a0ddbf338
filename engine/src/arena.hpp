// SPDX-License-Identifier: Apache-2.0
// One anonymous memory mapping that holds every word and slot of an engine: prefaulted, and locked or backed by huge pages
// where asked for and possible.
#pragma once

#include <chiral/engine.hpp>

#include <cstddef>

namespace chiral::detail {

class Arena {
public:
    /// Maps and prefaults `bytes`, zeroed. Throws std::system_error if the memory cannot be had; failing to lock it or to
    /// get huge pages is only reported.
    Arena(std::size_t bytes, bool lock_memory, bool huge_pages);
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    std::byte* base() const noexcept { return base_; }
    const ArenaReport& report() const noexcept { return report_; }

private:
    std::byte* base_{nullptr};
    std::size_t mapped_{0};
    ArenaReport report_;
};

}  // namespace chiral::detail
