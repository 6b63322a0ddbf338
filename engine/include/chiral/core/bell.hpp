// SPDX-License-Identifier: Apache-2.0
// Lets readers sleep until something is published, at no system call for writers when nobody sleeps. Every source has a bell, and
// all of them share one for who waits for any of several.
//
// A writer publishes and then looks whether anybody waits at the bell; a waiter announces itself and then looks at what is
// published (FieldNews::look, SampleRing::look). These four operations are sequentially consistent, so at least one of the two
// sees the other. A waiter reads the number of rings before it looks, so that a ring after its look is a changed word:
//
//     waiter                                   writer
//     waiters += 1
//     r = rings
//     looks at all sources: nothing new
//                                              publishes
//                                              waiters != 0: rings += 1, wake
//     sleeps while rings is r: does not
//
// Thread rules: any number of writers and waiters. ring() is wait-free; wait() blocks, as it is meant to.
#pragma once

#include <chiral/core/atomics.hpp>

#include <cstdint>

namespace chiral::core {

template <class P>
class Bell {
public:
    /// After a publication. Returns the steps that it took: one; two, and a system call, if somebody waits.
    std::uint32_t ring() noexcept {
        if (waiters_.load(Site::bell_waiters_load, std::memory_order_seq_cst) == 0) return 1;
        rings_.fetch_add(Site::bell_ring, 1, std::memory_order_release);
        P::wake_all(rings_);
        return 2;
    }
    static constexpr std::uint32_t kRingSteps = 2;

    /// Calls `look` until it returns true, once after each ring; false at the deadline.
    template <class Look, class Deadline>
    bool wait(Look look, Deadline deadline) noexcept {
        waiters_.fetch_add(Site::bell_enter, 1, std::memory_order_seq_cst);
        bool may_look = P::performs(Step::wait_recheck);
        bool found = false;
        bool in_time = true;
        do {
            const std::uint64_t seen = rings_.load(Site::bell_look, std::memory_order_acquire);
            found = may_look && look();
            may_look = true;
            if (!found && in_time) in_time = P::wait(rings_, seen, deadline);
            else break;
            // One more look after the deadline: what came with it still counts.
        } while (true);
        waiters_.fetch_sub(Site::bell_leave, 1, std::memory_order_relaxed);
        return found;
    }

private:
    typename P::template Atomic<std::uint64_t> rings_;
    typename P::template Atomic<std::uint32_t> waiters_;
};

}  // namespace chiral::core
