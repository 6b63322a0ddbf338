// SPDX-License-Identifier: Apache-2.0
// The memory that holds every word and slot of an engine: one anonymous mapping, or what the embedder gives; prefaulted, and
// locked or backed by huge pages where asked for and possible.
#pragma once

#include <chiral/engine.hpp>

#include <cstddef>
#include <functional>
#include <memory>

#include <sys/types.h>

namespace chiral::detail {

class Arena {
public:
    /// Maps `bytes` and `spare_bytes` after them, zeroed, or has the options' `memory` give them; prefaults the former, and
    /// locks them. Throws std::system_error if the memory cannot be had; failing to lock it or to get huge pages is only
    /// reported.
    ///
    /// A child of fork() does not get the mapping. Otherwise the kernel would write-protect all of it in the parent, whose
    /// next updates would each take page faults, locked or not.
    Arena(std::size_t bytes, std::size_t spare_bytes, const EngineOptions& options);
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    std::byte* base() const noexcept { return base_; }
    bool holds(const void* byte) const noexcept {
        const std::less<const void*> before;  // also of pointers into different objects
        return !before(byte, base_) && before(byte, base_ + mapped_);
    }
    const ArenaReport& report() const noexcept { return report_; }

    /// Touches every page of a range of the spare bytes that nobody uses yet, and locks it where the rest is locked.
    void prefault(std::size_t offset, std::size_t bytes) const noexcept;

private:
    void map(bool huge_pages);

    std::shared_ptr<std::byte> given_;  // by the embedder, if it was
    std::byte* base_{nullptr};
    std::size_t mapped_{0};
    pid_t owner_{0};
    ArenaReport report_;
};

}  // namespace chiral::detail
