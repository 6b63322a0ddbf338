// SPDX-License-Identifier: Apache-2.0
// Publishes the four fields of one camera to up to 14 readers. Writers and readers are wait-free, readers copy nothing.
//
// Each field has readers + 2 slots, where `readers` is how many read that field, and kSpareSlots for field_claims.hpp. One
// 64-bit word, the view, holds the current slot of every field and a version, so
// one atomic add publishes any subset of the fields, and one atomic load sees all four at one instant. Each reader has a
// word of its own, the hazard, that names the view it has pinned; a writer never fills a slot that is in the view or
// pinned. So one of readers + 2 is always free. Readers in other processes have their hazards elsewhere: guest_seats.hpp.
//
// A reader cannot load the view and announce it in one step. It announces "pending" first; a writer that looks for a
// slot and meets a pending hazard installs the current view on the reader's behalf:
//
//     reader                               writer of field f (slot n was replaced by c in its last publication)
//     hazard = pending(e)
//     v = view            (has n)
//                                          view += (c - n)
//                                          hazard is pending(e): CAS hazard pending(e) -> pinned(view), has c
//     CAS pending(e) -> pinned(v): fails
//     uses the view found in the hazard    fills n: nobody reads it
//
// If the writer had not seen pending(e), then the four sequentially consistent operations (store hazard, load view; add
// view, load hazard) would force the reader's load to see c. The epoch e is new in every attempt: a helper that was
// stopped between its load and its CAS cannot install its old view into a later attempt.
//
// Thread rules: one writer at a time per field, see field_claims.hpp; different fields may be written by different threads
// at once. One thread at a time per reader. The object holds no pointers and may live in shared memory.
#pragma once

#include <chiral/core/atomics.hpp>
#include <chiral/core/guest_seats.hpp>
#include <chiral/core/hazard.hpp>

#include <array>
#include <bit>
#include <cstdint>

namespace chiral::core {

/// What one publication adds to the view: for each of its fields (new slot - old slot), and one version.
class ViewDelta {
public:
    void move(int field, int from, int to) noexcept {
        delta_ += (static_cast<std::uint64_t>(to) - static_cast<std::uint64_t>(from)) << (kSlotBits * field);
    }
    std::uint64_t bits() const noexcept { return delta_ + (std::uint64_t{1} << (kSlotBits * kFields)); }

private:
    std::uint64_t delta_{0};
};

/// A slot that nobody reads, found by CameraSync::choose_slot.
struct FreeSlot {
    int current;          // the field's slot in the view
    int slot;             // the one to fill
    std::uint32_t steps;  // atomic operations it took, at most 1 + 3 * readers, and those for guests
};

template <class P>
class CameraSync {
    using Word = typename Hazard<P>::Word;

public:
    // ---- writers ----

    /// Finds a slot of `field` that is neither current nor pinned by the first `readers`, which are those that may read the field,
    /// or by guests, if there can be any, nor among `taken`, a bit each. What it finds is worth
    /// something only if the caller is the only writer of the field from before the call until it publishes.
    FreeSlot choose_slot(int field, int readers, std::uint32_t taken = 0, const GuestHazards<P>* guests = nullptr) noexcept {
        const View own{view_.load(Site::own_view_load, std::memory_order_relaxed)};
        const int current = own.slot(field);
        std::uint32_t used = 1u << current | taken;
        std::uint32_t steps = 1;
        const auto any_epoch = [](std::uint64_t) { return true; };
        for (int r = 0; r < readers && P::performs(Step::scan_hazards); ++r)
            used |= Hazard<P>::kept(readers_[r].hazard, view_, field, any_epoch, steps);
        if (guests && P::performs(Step::scan_hazards)) used |= guests->kept(view_, field, steps);
        return {current, std::countr_one(used), steps};
    }

    /// Publishes: all fields moved by `delta` become current in one step. Returns the view before it.
    View publish(const ViewDelta& delta) noexcept {
        return {view_.fetch_add(Site::publish_view_add, delta.bits(), std::memory_order_seq_cst)};
    }

    /// Calls `take` with what each of the first `readers`, and each guest, has pinned or had pinned last: a hint, see
    /// Hazard::last(). Returns the steps that it took: one for each, and one for each seat of guests.
    template <class Take>
    std::uint32_t last_looks(int readers, const GuestHazards<P>* guests, Take take) const noexcept {
        for (int r = 0; r < readers; ++r) take(Hazard<P>::last(readers_[r].hazard));
        return static_cast<std::uint32_t>(readers) + (guests ? guests->last_looks(take) : 0);
    }

    /// What is current, for who waits for it: the slots may be filled anew at any time. One step.
    View look(Site site, std::memory_order order) const noexcept { return {view_.load(site, order)}; }

    // ---- readers ----

    /// Pins what is current at one instant during the call: no writer touches these slots until unpin(), where r is among the
    /// readers of the field. Three steps.
    View pin(int r) noexcept {
        Reader& reader = readers_[r];
        if (P::performs(Step::fresh_epoch)) ++reader.epoch;
        return Hazard<P>::pin(reader.hazard, view_, reader.epoch);
    }
    static constexpr std::uint32_t kPinSteps = Hazard<P>::kPinSteps;

    /// Ends pin(), which returned `view`. One step.
    void unpin(int r, View view) noexcept { Hazard<P>::unpin(readers_[r].hazard, view); }

    /// What guests load.
    const Word& view_word() const noexcept { return view_; }

private:
    // On its own line: every writer and reader of the camera touches it.
    alignas(kCacheLine) Word view_;
    // A line per reader: its stores must not slow the others down.
    struct alignas(kCacheLine) Reader {
        Word hazard;
        std::uint64_t epoch{0};  // touched by the reader's owner only; handed over with its seat
    };
    std::array<Reader, kMaxReaders> readers_;
};

}  // namespace chiral::core
