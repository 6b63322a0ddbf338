// SPDX-License-Identifier: Apache-2.0
#include "real_time.hpp"

#include <fmt/format.h>

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <thread>

namespace chiral::stress {
namespace {

// Above the threads of interrupts, which a PREEMPT_RT kernel runs at 50, there is nothing that a robot should be before.
constexpr int kPriority = 49;

[[noreturn]] void fail(const char* what, int error, const char* advice) {
    throw std::runtime_error(fmt::format("--rt: {}: {}; {}", what, std::strerror(error), advice));
}

void keep_to(int first, int last) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    for (int core = first; core <= last; ++core) CPU_SET(static_cast<std::size_t>(core), &cores);
    if (const int error = ::pthread_setaffinity_np(::pthread_self(), sizeof cores, &cores))
        fail("pinning a thread", error, "this process may not use every core (taskset, cgroup): allow it the first ones");
}

int cores_of_machine() noexcept { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

}  // namespace

int real_time_cores() noexcept { return std::max(1, cores_of_machine() - 1); }

void lock_all_memory() {
    if (::mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        fail("locking all memory", errno, "run as root, or raise the limit 'memlock' (ulimit -l unlimited)");
}

void enter_real_time(int core) {
    keep_to(core, core);
    sched_param parameters{};
    parameters.sched_priority = kPriority;
    if (const int error = ::pthread_setschedparam(::pthread_self(), SCHED_FIFO, &parameters))
        fail("SCHED_FIFO", error, "run as root, give the program CAP_SYS_NICE, or raise the limit 'rtprio' to 49");
}

void leave_to_real_time(int first_free_core) {
    if (first_free_core < cores_of_machine()) keep_to(first_free_core, cores_of_machine() - 1);
}

}  // namespace chiral::stress
