// SPDX-License-Identifier: Apache-2.0
// Tells who waits for a field which of its publications is the newest, at no ordered store for the writer.
//
// The publication itself is a sequentially consistent add to the view, after which the writer looks whether anybody waits at
// a Bell. A waiter announces itself there and then looks at the view, also sequentially consistent: one of the two sees the
// other. But a view has slots and no numbers. So the writer notes number and slot after the publication, with a plain
// release store, which a waiter may see late. One that finds another slot in the view than was noted knows that there is one
// more:
//
//     writer                                waiter
//     view: slot b instead of a
//                                           waiters += 1
//                                           first look at the view: has b. So the note of a is visible, if not that of b
//                                           note: a was number n
//                                           second look at the view, not older than the note: has b, so n + 1 is published
//     note: b is number n + 1
//     waiters != 0: ring
//
// Where the second look finds a, either n is the newest, or slot a has come round again; then the note of b is visible by now,
// and looking at the note once more tells. So what a look returns is never older than its first look at the view: no wake-up
// is lost, and what one look has returned the next one does not take back. (A writer that dies between the two leaves its
// number untold until its successor has noted the next one.)
//
// Thread rules: tell() is for the writer of the field, before it ends its claim; the rest for any thread. Wait-free.
#pragma once

#include <chiral/core/atomics.hpp>
#include <chiral/core/bell.hpp>
#include <chiral/core/camera_sync.hpp>

#include <cstdint>

namespace chiral::core {

template <class P>
class FieldNews {
public:
    /// For who waits for this field alone.
    Bell<P> bell;

    /// Publication `sequence` is in `slot`. One step.
    void tell(std::uint64_t sequence, int slot) noexcept {
        note_.store(Site::news_store, sequence << kSlotBits | static_cast<std::uint64_t>(slot), std::memory_order_release);
    }

    /// Number of the newest publication, at some instant during the call. Three steps, or four.
    std::uint64_t look(const CameraSync<P>& sync, int field) const noexcept {
        static_cast<void>(sync.look(Site::news_first_view, std::memory_order_seq_cst));
        const std::uint64_t note = note_.load(Site::news_load, std::memory_order_acquire);
        const View now = sync.look(Site::news_second_view, std::memory_order_acquire);
        if (now.slot(field) != static_cast<int>(note & ((1 << kSlotBits) - 1)))
            return (note >> kSlotBits) + (P::performs(Step::look_at_view) ? 1 : 0);
        if (!P::performs(Step::look_at_note_again)) return note >> kSlotBits;
        return note_.load(Site::news_again, std::memory_order_acquire) >> kSlotBits;
    }

private:
    typename P::template Atomic<std::uint64_t> note_;  // number and slot; all zero at first, as the view is
};

}  // namespace chiral::core
