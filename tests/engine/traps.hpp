// SPDX-License-Identifier: Apache-2.0
// Counts what the hot path must not do: this program's malloc family and POSIX lock functions are replaced by ones that
// count, per thread, and then do the work. Everything is caught: operator new and std::mutex end in them, and so do the
// libraries that this program is linked with.
#pragma once

#include <cstdint>

namespace chiral::test {

struct Trapped {
    std::uint64_t allocations{0};  // malloc, calloc, realloc, memalign and their like
    std::uint64_t frees{0};
    std::uint64_t locks{0};  // mutexes, reader-writer locks, spin locks, condition variables, semaphores
    bool operator==(const Trapped&) const = default;
};

/// The next allocation of this thread but `after` finds no memory, once.
void fail_one_allocation(std::int64_t after) noexcept;

/// What this thread did so far.
Trapped trapped() noexcept;

}  // namespace chiral::test
