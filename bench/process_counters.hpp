// SPDX-License-Identifier: Apache-2.0
// What the process has used since it was told to count: CPU time, by whom, and allocations.
//
// Two ways to tell the server's own computing from the kernel's work for it; neither is exact, and they bracket it:
//
//   outside calls   the process's CPU time less that in the system calls that the server makes, which are wrapped (-Wl,--wrap) and
//                   timed on the thread's CPU clock. Exact in time, but what the kernel does outside of calls counts as the
//                   server's: interrupts and the network's soft interrupts, page faults, the scheduler. An upper bound
//   by ticks        getrusage() of each thread that makes such calls, after each of them: the kernel looks 250 times a second
//                   whether the thread is in user space. It is a count of few: of 200 observations of 5 ms, some 250 looks,
//                   so that one more or less is 20 us per observation. Until the kernel has once found a new thread in a
//                   call, it takes all of that thread's time for user time, therefore threads are warmed up before
#pragma once

#include <cstdint>

namespace chiral::bench {

struct ProcessCounters {
    std::int64_t cpu_ns{0};        ///< of the whole process
    std::int64_t in_kernel_ns{0};  ///< of that, in wrapped calls
    std::int64_t user_by_ticks_ns{0};
    std::uint64_t kernel_calls{0};
    std::uint64_t allocations{0};
};

/// From then on. Not before the process has been forked whose counters these are.
void start_counting();
/// The calling thread's system calls do not count.
void leave_out_this_thread();
ProcessCounters process_counters();

}  // namespace chiral::bench
