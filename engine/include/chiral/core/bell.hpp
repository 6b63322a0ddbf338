// SPDX-License-Identifier: Apache-2.0
// Lets readers sleep until any of several sources has something new. One bell for all of them, beside the signal that each has.
//
// A writer announces its sequence (FrameSignal::signal) and then looks whether anybody waits at the bell; a waiter announces
// itself and then looks at the sequences. These four operations are sequentially consistent, so at least one of the two
// sees the other. A waiter reads the number of rings before it looks, so that a ring after its look is a changed word:
//
//     waiter                                   writer
//     waiters += 1
//     r = rings
//     looks at all sequences: nothing new
//                                              sequence = n
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
    /// After a source's signal(). One step; two and a system call if somebody waits.
    void ring() noexcept {
        if (waiters_.load(Site::bell_waiters_load, std::memory_order_seq_cst) == 0) return;
        rings_.fetch_add(Site::bell_ring, 1, std::memory_order_release);
        P::wake_all(rings_);
    }

    /// Calls `look` until it returns true, once after each ring; false at the deadline. It looks with FrameSignal::look().
    template <class Look, class Deadline>
    bool wait(Look look, Deadline deadline) noexcept {
        waiters_.fetch_add(Site::bell_enter, 1, std::memory_order_seq_cst);
        bool found = false;
        bool in_time = true;
        do {
            const std::uint64_t seen = rings_.load(Site::bell_look, std::memory_order_acquire);
            found = look();
            if (!found && in_time) in_time = P::wait(rings_, seen, deadline);
            else break;
            // One more look after the deadline, as in FrameSignal::wait().
        } while (true);
        waiters_.fetch_sub(Site::bell_leave, 1, std::memory_order_relaxed);
        return found;
    }

private:
    typename P::template Atomic<std::uint64_t> rings_;
    typename P::template Atomic<std::uint32_t> waiters_;
};

}  // namespace chiral::core
