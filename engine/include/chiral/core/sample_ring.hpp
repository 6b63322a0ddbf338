// SPDX-License-Identifier: Apache-2.0
// The last N samples of a small stream: one wait-free writer, any number of wait-free readers that copy a sample out.
//
// A sample is a few 64-bit words. Each slot of the ring has a guard: 2 * sequence + 1 while sample `sequence` is being
// written there, 2 * sequence + 2 when it is complete. A reader copies between two looks at the guard and keeps the copy
// only if both name the sample it wanted (a seqlock per slot: Boehm, "Can seqlocks get along with programming language
// memory models?", MSPC 2012). The words are atomics, stored with release and loaded with acquire, instead of fences:
// samples are small, and ThreadSanitizer understands it.
//
//     writer of sample s + N                    reader of sample s
//     guard = 2(s+N)+1                          guard is 2s+2
//     word = new           (release)   --->     word            (acquire) sees new, and so the opened guard
//                                               guard is not 2s+2: the copy is thrown away
//
// Samples are numbered from 1. A reader that is overtaken learns it; it is never handed a mixture.
//
// Thread rules: one writer at a time, guarded by claim(). The ring itself holds no memory; a view of it is built from a
// RingHead and cells that may live in shared memory.
#pragma once

#include <chiral/core/atomics.hpp>

#include <cstddef>
#include <cstdint>

namespace chiral::core {

template <class P>
struct RingHead {
    typename P::template Atomic<std::uint64_t> newest;  // sequence of the last complete sample, 0 before the first
    typename P::template Atomic<std::uint32_t> claim;
};

template <class P>
class SampleRing {
    template <class T>
    using Atomic = typename P::template Atomic<T>;

public:
    /// `cells` holds capacity * (1 + words) atomics, all zero before the first use. `capacity` is a power of two: a division
    /// would take longer than the rest of a push.
    SampleRing(RingHead<P>& head, Atomic<std::uint64_t>* cells, std::size_t capacity, std::size_t words) noexcept
        : head_(head), cells_(cells), capacity_(capacity), words_(words) {}

    /// As CameraSync::claim.
    bool claim() noexcept { return head_.claim.exchange(Site::ring_claim_take, 1, std::memory_order_acquire) == 0; }
    void drop_claim() noexcept { head_.claim.store(Site::ring_claim_drop, 0, std::memory_order_release); }

    /// Appends a sample, of which `word(i)` is the i-th of its words, and returns its sequence. The caller has claimed the
    /// ring. words + 4 steps.
    template <class Word>
    std::uint64_t push(Word word) noexcept {
        const std::uint64_t sequence = head_.newest.load(Site::ring_own_head_load, std::memory_order_relaxed) + 1;
        Atomic<std::uint64_t>* cell = cell_of(sequence);
        cell[0].store(Site::ring_guard_open, 2 * sequence + 1, std::memory_order_relaxed);
        for (std::size_t i = 0; i < words_; ++i)
            cell[1 + i].store(Site::ring_word_store, word(i), std::memory_order_release);
        cell[0].store(Site::ring_guard_close, 2 * sequence + 2, std::memory_order_release);
        head_.newest.store(Site::ring_head_store, sequence, std::memory_order_seq_cst);
        return sequence;
    }

    /// Sequence of the newest complete sample, 0 if there is none. One step.
    std::uint64_t newest() const noexcept { return head_.newest.load(Site::ring_head_load, std::memory_order_acquire); }

    /// The same, for who has announced itself at a Bell. One step.
    std::uint64_t look() const noexcept { return head_.newest.load(Site::ring_head_look, std::memory_order_seq_cst); }

    /// The oldest sequence that can still be there when `newest` is the newest.
    std::uint64_t oldest(std::uint64_t newest) const noexcept { return newest > capacity_ ? newest - capacity_ + 1 : 1; }

    /// Hands the first `count` words of sample `sequence` to `take(i, word)`. False if it has been overwritten meanwhile:
    /// what was handed out is then worthless. count + 2 steps.
    template <class Take>
    bool read(std::uint64_t sequence, std::size_t count, Take take) const noexcept {
        const Atomic<std::uint64_t>* cell = cell_of(sequence);
        const std::uint64_t complete = 2 * sequence + 2;
        if (cell[0].load(Site::ring_guard_first, std::memory_order_acquire) != complete) return false;
        for (std::size_t i = 0; i < count; ++i) take(i, cell[1 + i].load(Site::ring_word_load, std::memory_order_acquire));
        return !P::performs(Step::ring_recheck) ||
               cell[0].load(Site::ring_guard_second, std::memory_order_relaxed) == complete;
    }

    std::size_t capacity() const noexcept { return capacity_; }
    std::size_t words() const noexcept { return words_; }

private:
    Atomic<std::uint64_t>* cell_of(std::uint64_t sequence) const noexcept {
        return cells_ + (sequence & (capacity_ - 1)) * (1 + words_);
    }

    RingHead<P>& head_;
    Atomic<std::uint64_t>* cells_;
    std::size_t capacity_;
    std::size_t words_;
};

}  // namespace chiral::core
