// SPDX-License-Identifier: Apache-2.0
// Publishes the four fields of one camera to up to 14 readers. Writers and readers are wait-free, readers copy nothing.
//
// Each field has readers + 2 slots, where `readers` is how many read that field, and kSpareSlots for field_claims.hpp. One
// 64-bit word, the view, holds the current slot of every field and a version, so
// one atomic add publishes any subset of the fields, and one atomic load sees all four at one instant. Each reader has a
// word of its own, the hazard, that names the view it has pinned; a writer never fills a slot that is in the view or
// pinned. So one of readers + 2 is always free.
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

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace chiral::core {

inline constexpr int kFields = 4;
inline constexpr int kMaxReaders = 14;
/// Slots of a field beyond readers + 2: they stand in for those that revoked writers have not given back.
inline constexpr int kSpareSlots = 1;
inline constexpr int kMaxSlots = kMaxReaders + 2 + kSpareSlots;
inline constexpr int kSlotBits = 5;  // of the view, per field
static_assert(kMaxSlots <= 1 << kSlotBits);
inline constexpr std::size_t kCacheLine = 64;

/// The current slot of every field, and how many publications there were.
struct View {
    std::uint64_t bits{0};

    int slot(int field) const noexcept { return static_cast<int>(bits >> (kSlotBits * field)) & ((1 << kSlotBits) - 1); }
    std::uint64_t version() const noexcept { return bits >> (kSlotBits * kFields); }
};

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
    std::uint32_t steps;  // atomic operations it took, at most 1 + 3 * readers
};

template <class P>
class CameraSync {
    template <class T>
    using Atomic = typename P::template Atomic<T>;

public:
    // ---- writers ----

    /// Finds a slot of `field` that is neither current nor pinned by the first `readers`, which are those that may read the field,
    /// nor among `taken`, a bit each. What it finds is worth
    /// something only if the caller is the only writer of the field from before the call until it publishes.
    FreeSlot choose_slot(int field, int readers, std::uint32_t taken = 0) noexcept {
        const View own{view_.load(Site::own_view_load, std::memory_order_relaxed)};
        const int current = own.slot(field);
        std::uint32_t used = 1u << current | taken;
        std::uint32_t steps = 1;
        for (int r = 0; r < readers && P::performs(Step::scan_hazards); ++r) {
            Atomic<std::uint64_t>& hazard = readers_[r].hazard;
            std::uint64_t seen = hazard.load(Site::scan_hazard_load, std::memory_order_seq_cst);
            ++steps;
            if (is_pending(seen) && P::performs(Step::help_pending_reader)) {
                const std::uint64_t now = view_.load(Site::help_view_load, std::memory_order_seq_cst);
                steps += 2;
                // One try is enough. Success pins `current` in this field. On failure `seen` is what beat us: a pin that is
                // respected below; or empty; or a newer pending, which began after our last publication and can
                // therefore only pin `current`.
                const std::uint64_t before = seen;
                hazard.compare_exchange(Site::help_cas, seen, pinned(now), std::memory_order_acq_rel,
                                        std::memory_order_acquire);
                if (!P::performs(Step::respect_failed_help)) seen = before;
            }
            if (is_pinned(seen)) used |= 1u << View{unpack(seen)}.slot(field);
        }
        return {current, std::countr_one(used), steps};
    }

    /// Publishes: all fields moved by `delta` become current in one step. Returns the view before it.
    View publish(const ViewDelta& delta) noexcept {
        return {view_.fetch_add(Site::publish_view_add, delta.bits(), std::memory_order_seq_cst)};
    }

    /// What is current, for who waits for it: the slots may be filled anew at any time. One step.
    View look(Site site, std::memory_order order) const noexcept { return {view_.load(site, order)}; }

    // ---- readers ----

    /// Pins what is current at one instant during the call: no writer touches these slots until unpin(), where r is among the
    /// readers of the field. Three steps.
    View pin(int r) noexcept {
        Reader& reader = readers_[r];
        if (P::performs(Step::fresh_epoch)) ++reader.epoch;
        const std::uint64_t attempt = pending(reader.epoch);
        reader.hazard.store(Site::pin_pending_store, attempt, std::memory_order_seq_cst);
        const std::uint64_t now = view_.load(Site::pin_view_load, std::memory_order_seq_cst);
        std::uint64_t seen = attempt;
        // Success could be relaxed; failure must acquire what the helper saw, and checkers want one order for both.
        if (reader.hazard.compare_exchange(Site::pin_cas, seen, pinned(now), std::memory_order_acquire,
                                           std::memory_order_acquire))
            return {now};
        return {unpack(seen)};
    }
    static constexpr std::uint32_t kPinSteps = 3;

    /// Ends pin(). One step.
    void unpin(int r) noexcept { readers_[r].hazard.store(Site::unpin_store, 0, std::memory_order_release); }

private:
    // Hazard: 0 empty; ...01 pending, the rest is the epoch; ...10 pinned, the rest is the view less two version bits.
    static std::uint64_t pending(std::uint64_t epoch) noexcept { return epoch << 2 | 1; }
    static std::uint64_t pinned(std::uint64_t view) noexcept { return view << 2 | 2; }
    static std::uint64_t unpack(std::uint64_t hazard) noexcept { return hazard >> 2; }
    static bool is_pending(std::uint64_t hazard) noexcept { return (hazard & 3) == 1; }
    static bool is_pinned(std::uint64_t hazard) noexcept { return (hazard & 3) == 2; }

    // On its own line: every writer and reader of the camera touches it.
    alignas(kCacheLine) Atomic<std::uint64_t> view_;
    // A line per reader: its stores must not slow the others down.
    struct alignas(kCacheLine) Reader {
        Atomic<std::uint64_t> hazard;
        std::uint64_t epoch{0};  // touched by the reader's owner only; handed over with its seat
    };
    std::array<Reader, kMaxReaders> readers_;
};

}  // namespace chiral::core
