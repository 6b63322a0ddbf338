// SPDX-License-Identifier: Apache-2.0
// The word in which a reader announces what it has pinned, and what a writer makes of it. camera_sync.hpp says how the two meet.
//
// A hazard may lie where others can write, too (guest_seats.hpp). So a writer takes nothing of it for granted: it reads the word
// once or twice, and whatever it finds there keeps at most one slot of a field from being filled, and takes at most three steps.
#pragma once

#include <chiral/core/atomics.hpp>

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
static_assert(1 << kSlotBits <= 32);  // every number that a hazard can hold is a bit of a set of slots
inline constexpr std::size_t kCacheLine = 64;

/// The current slot of every field, and how many publications there were.
struct View {
    std::uint64_t bits{0};

    int slot(int field) const noexcept { return static_cast<int>(bits >> (kSlotBits * field)) & ((1 << kSlotBits) - 1); }
    std::uint64_t version() const noexcept { return bits >> (kSlotBits * kFields); }
};

/// Of one reader. The word is ...00: empty, the rest is what it had pinned last, as a hint for who writes there (looks.hpp), or 0;
/// ...01: pending, the rest is the epoch of the attempt; ...10: pinned, the rest is the view less two bits of its version.
template <class P>
struct Hazard {
    using Word = typename P::template Atomic<std::uint64_t>;

    // ---- its reader ----

    /// Pins what is current at one instant during the call. `epoch` is new in every attempt, below 2^62. Three steps.
    static View pin(Word& hazard, const Word& view, std::uint64_t epoch) noexcept {
        const std::uint64_t attempt = pending(epoch);
        hazard.store(Site::pin_pending_store, attempt, std::memory_order_seq_cst);
        const std::uint64_t now = view.load(Site::pin_view_load, std::memory_order_seq_cst);
        std::uint64_t seen = attempt;
        // Success could be relaxed; failure must acquire what the helper saw, and checkers want one order for both.
        if (hazard.compare_exchange(Site::pin_cas, seen, pinned(now), std::memory_order_acquire, std::memory_order_acquire))
            return {now};
        return {unpack(seen)};
    }
    static constexpr std::uint32_t kPinSteps = 3;

    /// Ends pin(), which returned `view`. One step.
    static void unpin(Word& hazard, View view) noexcept {
        hazard.store(Site::unpin_store, view.bits << 2, std::memory_order_release);
    }

    // ---- writers ----

    /// The slot of `field` that the reader keeps, as a bit, or none. Helps a reader that is about to pin, if `may_help` says so
    /// of its epoch.
    template <class MayHelp>
    static std::uint32_t kept(Word& hazard, const Word& view, int field, MayHelp may_help, std::uint32_t& steps) noexcept {
        std::uint64_t seen = hazard.load(Site::scan_hazard_load, std::memory_order_seq_cst);
        ++steps;
        if (is_pending(seen) && may_help(unpack(seen)) && P::performs(Step::help_pending_reader)) {
            const std::uint64_t now = view.load(Site::help_view_load, std::memory_order_seq_cst);
            steps += 2;
            // One try is enough. Success pins `current` in this field. On failure `seen` is what beat us: a pin that is
            // respected below; or empty; or a newer pending, which began after our last publication and can
            // therefore only pin `current`.
            const std::uint64_t before = seen;
            hazard.compare_exchange(Site::help_cas, seen, pinned(now), std::memory_order_acq_rel, std::memory_order_acquire);
            if (!P::performs(Step::respect_failed_help)) seen = before;
        }
        return is_pinned(seen) ? 1u << View{unpack(seen)}.slot(field) : 0;
    }
    static constexpr std::uint32_t kKeptSteps = 3;

    /// What the reader has pinned, or had pinned last, less two bits of its version; 0 if that cannot be seen. A hint. One step.
    static View last(const Word& hazard) noexcept {
        const std::uint64_t seen = hazard.load(Site::looks_hazard_load, std::memory_order_relaxed);
        return {is_pending(seen) ? 0 : unpack(seen)};
    }

    static constexpr std::uint64_t pending(std::uint64_t epoch) noexcept { return epoch << 2 | 1; }
    static constexpr std::uint64_t pinned(std::uint64_t view) noexcept { return view << 2 | 2; }

private:
    static std::uint64_t unpack(std::uint64_t hazard) noexcept { return hazard >> 2; }
    static bool is_pending(std::uint64_t hazard) noexcept { return (hazard & 3) == 1; }
    static bool is_pinned(std::uint64_t hazard) noexcept { return (hazard & 3) == 2; }
};

}  // namespace chiral::core
