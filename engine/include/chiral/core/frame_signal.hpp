// SPDX-License-Identifier: Apache-2.0
// Lets readers sleep until a sequence number passes a value, at no system call for the writer when nobody sleeps.
//
// The writer stores the sequence and then looks whether anybody waits; a waiter announces itself and then looks at the
// sequence. All four operations are sequentially consistent, so at least one of the two sees the other: either the writer
// sees the waiter and wakes it, or the waiter sees the new sequence and does not sleep.
//
// Thread rules: one writer at a time, any number of waiters. signal() is wait-free; wait() blocks, as it is meant to.
#pragma once

#include <chiral/core/atomics.hpp>

#include <cstdint>

namespace chiral::core {

template <class P>
class FrameSignal {
public:
    /// Announces `sequence`, which must grow. Two steps, and one system call if somebody waits.
    void signal(std::uint64_t sequence) noexcept {
        sequence_.store(Site::signal_store, sequence, std::memory_order_seq_cst);
        if (waiters_.load(Site::signal_waiters_load, std::memory_order_seq_cst) != 0) P::wake_all(sequence_);
    }

    /// The newest announced sequence.
    std::uint64_t newest() const noexcept { return sequence_.load(Site::wait_first_look, std::memory_order_acquire); }

    /// The same, for whoever waits at a Bell: ordered after its announcement there.
    std::uint64_t look() const noexcept { return sequence_.load(Site::wait_check, std::memory_order_seq_cst); }

    /// Returns true as soon as a sequence greater than `after` is announced, false at the deadline.
    template <class Deadline>
    bool wait(std::uint64_t after, Deadline deadline) noexcept {
        if (newest() > after) return true;
        waiters_.fetch_add(Site::wait_enter, 1, std::memory_order_seq_cst);
        bool passed = false;
        bool in_time = true;
        std::uint64_t seen = after;
        do {
            if (P::performs(Step::wait_recheck)) seen = sequence_.load(Site::wait_check, std::memory_order_seq_cst);
            passed = seen > after;
            if (!passed && in_time) in_time = P::wait(sequence_, seen, deadline);
            else break;
            // One more look after the deadline: a frame that came with it still counts.
        } while (true);
        waiters_.fetch_sub(Site::wait_leave, 1, std::memory_order_relaxed);
        return passed;
    }

private:
    typename P::template Atomic<std::uint64_t> sequence_;
    typename P::template Atomic<std::uint32_t> waiters_;
};

}  // namespace chiral::core
