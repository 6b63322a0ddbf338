// SPDX-License-Identifier: Apache-2.0
// glibc: its own allocator stays reachable as __libc_*, its lock functions through the next definition in link order.
#include "traps.hpp"

#include <cerrno>
#include <cstddef>

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>

namespace chiral::test {
namespace {

// In the program itself, not in a shared library: the compiler reaches it without a call that could allocate.
thread_local constinit Trapped counts;
thread_local constinit std::int64_t allocations_until_failure = -1;

bool fails() noexcept {
    ++counts.allocations;
    return allocations_until_failure >= 0 && allocations_until_failure-- == 0;
}

// The replaced function. Looked up once, before main(): dlsym may allocate.
template <class Function>
Function* next(const char* name) noexcept {
    return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

Trapped trapped() noexcept { return counts; }
void fail_one_allocation(std::int64_t after) noexcept { allocations_until_failure = after; }

}  // namespace chiral::test

using chiral::test::counts;
using chiral::test::fails;
using chiral::test::next;

extern "C" {

void* __libc_malloc(std::size_t);
void __libc_free(void*);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t bytes) noexcept { return fails() ? nullptr : __libc_malloc(bytes); }
void free(void* memory) noexcept {
    if (memory) ++counts.frees;
    __libc_free(memory);
}
void* calloc(std::size_t count, std::size_t bytes) noexcept { return fails() ? nullptr : __libc_calloc(count, bytes); }
void* realloc(void* memory, std::size_t bytes) noexcept { return fails() ? nullptr : __libc_realloc(memory, bytes); }
void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
    return fails() ? nullptr : __libc_memalign(alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept { return memalign(alignment, bytes); }
int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) noexcept {
    *memory = memalign(alignment, bytes);
    return *memory ? 0 : ENOMEM;
}

#define CHIRAL_COUNTED_LOCK(name, argument)                                \
    int name(argument* object) noexcept {                                  \
        static int (*const real)(argument*) = next<int(argument*)>(#name); \
        ++counts.locks;                                                    \
        return real(object);                                               \
    }
CHIRAL_COUNTED_LOCK(pthread_mutex_lock, pthread_mutex_t)
CHIRAL_COUNTED_LOCK(pthread_mutex_trylock, pthread_mutex_t)
CHIRAL_COUNTED_LOCK(pthread_rwlock_rdlock, pthread_rwlock_t)
CHIRAL_COUNTED_LOCK(pthread_rwlock_wrlock, pthread_rwlock_t)
CHIRAL_COUNTED_LOCK(pthread_cond_signal, pthread_cond_t)
CHIRAL_COUNTED_LOCK(pthread_cond_broadcast, pthread_cond_t)
CHIRAL_COUNTED_LOCK(sem_post, sem_t)
#undef CHIRAL_COUNTED_LOCK

// May be compiled as loops on the word itself: nothing to forward to.
int pthread_spin_lock(pthread_spinlock_t* lock) noexcept {
    ++counts.locks;
    while (__atomic_exchange_n(const_cast<int*>(lock), 1, __ATOMIC_ACQUIRE) != 0) {}
    return 0;
}
int pthread_spin_unlock(pthread_spinlock_t* lock) noexcept {
    __atomic_store_n(const_cast<int*>(lock), 0, __ATOMIC_RELEASE);
    return 0;
}
}
