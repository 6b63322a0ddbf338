// SPDX-License-Identifier: Apache-2.0
// How long calls took, by three clocks that tell a machine that was busy from a call that waited.
//
//   wall    what the sensor thread lost. Holds everything: the copy, the waiting, and other threads that had the core
//   cpu     what the thread itself computed: grows when a call spins or the memory is slow, not when the core was taken away
//   slept   calls in which the thread gave up the core by itself (getrusage, voluntary context switches): it waited for
//           something. Preemption does not count, so this is exact on the noisiest machine. A wait-free call never does it
#pragma once

#include "histogram.hpp"

#include <sys/resource.h>

#include <ctime>

#include <chrono>
#include <cstdint>

namespace chiral::stress {

struct CallTimes {
    Histogram wall;
    Histogram cpu;
    std::uint64_t slept{0};

    std::uint64_t calls() const noexcept { return wall.count(); }
    void merge(const CallTimes& other) noexcept {
        wall.merge(other.wall);
        cpu.merge(other.cpu);
        slept += other.slept;
    }
};

/// Times calls of the current thread.
class CallTimer {
public:
    void start() noexcept {
        switches_ = voluntary_switches();
        cpu_ = thread_cpu();
        wall_ = std::chrono::steady_clock::now();
    }
    void stop(CallTimes& times) noexcept {
        const auto wall = std::chrono::steady_clock::now();
        const auto cpu = thread_cpu();
        times.wall.record(wall - wall_);
        times.cpu.record(cpu - cpu_);
        if (voluntary_switches() != switches_) ++times.slept;
    }

private:
    static std::chrono::nanoseconds thread_cpu() noexcept {
        timespec now{};
        ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
    }
    static long voluntary_switches() noexcept {
        rusage usage{};
        ::getrusage(RUSAGE_THREAD, &usage);
        return usage.ru_nvcsw;
    }

    std::chrono::steady_clock::time_point wall_{};
    std::chrono::nanoseconds cpu_{0};
    long switches_{0};
};

}  // namespace chiral::stress
