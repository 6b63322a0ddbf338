// SPDX-License-Identifier: Apache-2.0
#include "threads.hpp"

#include <pthread.h>
#include <sched.h>

#include <cstdint>

namespace chiral::bench {
namespace {

void set_affinity(const std::vector<int>& wanted) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int core : wanted) CPU_SET(core, &set);
    ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);  // cores() are those that are allowed
}

std::vector<int> allowed_cores() {
    std::vector<int> found;
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) == 0)
        for (int core = 0; core < CPU_SETSIZE; ++core)
            if (CPU_ISSET(core, &set)) found.push_back(core);
    if (found.empty()) found.push_back(0);
    return found;
}

}  // namespace

const std::vector<int>& cores() {
    static const std::vector<int> found = allowed_cores();
    return found;
}

void pin_to_core(std::size_t index) { set_affinity({cores()[index % cores().size()]}); }

void unpin() { set_affinity(cores()); }

BusyCores::BusyCores() {
    for (std::size_t i = 0; i < cores().size(); ++i)
        threads_.emplace_back([this, i] {
            pin_to_core(i);
            volatile std::uint64_t work = 0;
            while (!stop_.load(std::memory_order_relaxed))
                for (int k = 0; k < 10000; ++k) work = work + 1;
        });
}

BusyCores::~BusyCores() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
}

}  // namespace chiral::bench
