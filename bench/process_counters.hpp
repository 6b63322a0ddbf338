// What the process has used since it was told to count: CPU time apart from what the kernel did for it, and allocations.
//
// getrusage() splits a thread's time into user and system by looking at it 250 times a second; for the tens of microseconds in
// question that is a lottery. Here the calls that the server makes are wrapped (-Wl,--wrap, process_counters.cpp) and timed on
// the thread's CPU clock: the process's CPU time less that is what ran in user space. Calls that are not wrapped, and the two
// readings of the clock around each call, count as user space too, so the figure errs to the high side.
#pragma once

#include <cstdint>

namespace chiral::bench {

struct ProcessCounters {
    std::int64_t cpu_ns{0};          ///< of the whole process
    std::int64_t in_kernel_ns{0};    ///< of that, in wrapped calls
    std::uint64_t kernel_calls{0};
    std::uint64_t allocations{0};
};

/// From then on. Not before the process has been forked whose counters these are.
void start_counting();
ProcessCounters process_counters();

}  // namespace chiral::bench
