// SPDX-License-Identifier: Apache-2.0
#include "process_counters.hpp"

#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/types.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <new>
#include <utility>

namespace chiral::bench {
namespace {

std::atomic<bool> counting{false};
thread_local bool left_out = false;
std::atomic<std::int64_t> in_kernel{0};
std::atomic<std::int64_t> user_by_ticks{0};
std::atomic<std::uint64_t> kernel_calls{0};
std::atomic<std::uint64_t> allocations{0};

std::int64_t cpu_time(clockid_t clock) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// What the calling thread has spent in user space since it was here last.
void add_user_time() {
    thread_local std::int64_t before = 0;
    rusage usage{};
    ::getrusage(RUSAGE_THREAD, &usage);
    const std::int64_t now =
        std::int64_t{usage.ru_utime.tv_sec} * 1'000'000'000 + std::int64_t{usage.ru_utime.tv_usec} * 1000;
    user_by_ticks.fetch_add(now - before, std::memory_order_relaxed);
    before = now;
}

template <class Call>
auto timed(Call&& call) {
    if (!counting.load(std::memory_order_relaxed) || left_out) return call();
    const std::int64_t start = cpu_time(CLOCK_THREAD_CPUTIME_ID);
    const auto result = call();
    const int error = errno;
    add_user_time();
    in_kernel.fetch_add(cpu_time(CLOCK_THREAD_CPUTIME_ID) - start, std::memory_order_relaxed);
    kernel_calls.fetch_add(1, std::memory_order_relaxed);
    errno = error;
    return result;
}

void count_allocation() {
    if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

void start_counting() { counting = true; }

void leave_out_this_thread() { left_out = true; }

ProcessCounters process_counters() {
    return {cpu_time(CLOCK_PROCESS_CPUTIME_ID), in_kernel.load(), user_by_ticks.load(), kernel_calls.load(),
            allocations.load()};
}

}  // namespace chiral::bench

using chiral::bench::timed;

#define CHIRAL_TIMED(result, name, parameters, arguments)      \
    result __real_##name parameters;                           \
    result __wrap_##name parameters;                           \
    result __wrap_##name parameters {                          \
        return timed([&] { return __real_##name arguments; }); \
    }

extern "C" {
CHIRAL_TIMED(ssize_t, sendmsg, (int fd, const msghdr* message, int flags), (fd, message, flags))
CHIRAL_TIMED(ssize_t, recvmsg, (int fd, msghdr* message, int flags), (fd, message, flags))
CHIRAL_TIMED(ssize_t, send, (int fd, const void* data, size_t size, int flags), (fd, data, size, flags))
CHIRAL_TIMED(ssize_t, recv, (int fd, void* data, size_t size, int flags), (fd, data, size, flags))
CHIRAL_TIMED(ssize_t, read, (int fd, void* data, size_t size), (fd, data, size))
CHIRAL_TIMED(ssize_t, write, (int fd, const void* data, size_t size), (fd, data, size))
CHIRAL_TIMED(int, epoll_wait, (int fd, epoll_event* events, int most, int timeout), (fd, events, most, timeout))
CHIRAL_TIMED(int, epoll_ctl, (int fd, int what, int other, epoll_event* event), (fd, what, other, event))
CHIRAL_TIMED(int, timerfd_settime, (int fd, int flags, const itimerspec* time, itimerspec* old), (fd, flags, time, old))
// Six arguments are what a system call has at most; those that it does not have are read and not looked at.
CHIRAL_TIMED(long, syscall, (long number, long a, long b, long c, long d, long e, long f), (number, a, b, c, d, e, f))
CHIRAL_TIMED(int, sem_wait, (sem_t * semaphore), (semaphore))
CHIRAL_TIMED(int, sem_post, (sem_t * semaphore), (semaphore))

void* __libc_malloc(std::size_t) noexcept;
void* __libc_calloc(std::size_t, std::size_t) noexcept;
void* __libc_realloc(void*, std::size_t) noexcept;
void* __libc_memalign(std::size_t, std::size_t) noexcept;
void* malloc(std::size_t size) noexcept {
    chiral::bench::count_allocation();
    return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
    chiral::bench::count_allocation();
    return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) noexcept {
    chiral::bench::count_allocation();
    return __libc_realloc(old, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
    chiral::bench::count_allocation();
    return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) noexcept {
    chiral::bench::count_allocation();
    *memory = __libc_memalign(alignment, size);
    return *memory != nullptr ? 0 : ENOMEM;
}
}
