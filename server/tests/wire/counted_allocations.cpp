// SPDX-License-Identifier: Apache-2.0
#include "counted_allocations.hpp"

#include <cstdlib>
#include <new>

namespace {
thread_local bool counting = false;
thread_local std::size_t allocations = 0;
thread_local std::size_t allocated_bytes = 0;

void count(std::size_t size) {
    if (!counting) return;
    ++allocations;
    allocated_bytes += size;
}
}  // namespace

#ifdef CHIRAL_COUNT_BY_SANITIZER

// Clang's AddressSanitizer has an operator new of its own, which must not meet another one.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*, std::size_t),
                                                         void (*on_free)(const volatile void*));
namespace {
[[maybe_unused]] const int hooks_installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t size) { count(size); }, [](const volatile void*) {});
}  // namespace

#else

extern "C" {
void* __real_malloc(std::size_t size);
void* __real_realloc(void* old, std::size_t size);
void* __wrap_malloc(std::size_t size) {
    count(size);
    return __real_malloc(size);
}
void* __wrap_realloc(void* old, std::size_t size) {
    count(size);
    return __real_realloc(old, size);
}
}

// Not inlined: the compiler would compare the malloc here with the delete of code that it has not seen.
[[gnu::noinline]] void* operator new(std::size_t size) {
    if (void* memory = std::malloc(size)) return memory;  // the wrapped one counts
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
    count(size);
    const auto step = static_cast<std::size_t>(alignment);
    if (void* memory = std::aligned_alloc(step, (size + step - 1) / step * step)) return memory;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

#endif

namespace chiral::test {

// Through a std::function: the compiler takes it that malloc changes no variable of ours, and would move the counters
// across a call of it that it sees.
[[gnu::noinline]] Counted count_allocations(const std::function<void()>& call) {
    struct Count {
        Count() {
            allocations = 0;
            allocated_bytes = 0;
            counting = true;
        }
        ~Count() { counting = false; }
    };
    {
        const Count whole_call;
        call();
    }
    return {allocations, allocated_bytes};
}

}  // namespace chiral::test
