// SPDX-License-Identifier: Apache-2.0
// How much the code under test allocates: by operator new, which a program that links counted_allocations.cpp replaces,
// and by malloc and realloc, which it must have the linker wrap (-Wl,--wrap=malloc -Wl,--wrap=realloc). Compiled with
// CHIRAL_COUNT_BY_SANITIZER it is Clang's AddressSanitizer that tells, and nothing is replaced or wrapped.
#pragma once

#include <cstddef>
#include <functional>

namespace chiral::test {

struct Counted {
    std::size_t allocations;
    std::size_t bytes;  // in total, also of what was given back at once
};

/// What `call` allocates on this thread. An exception that it throws passes, and ends the count.
Counted count_allocations(const std::function<void()>& call);

}  // namespace chiral::test
