// SPDX-License-Identifier: Apache-2.0
// Which slots of a field readers have looked at since they were filled, for the writer that fills one anew.
//
// Lines that another core has read are in its cache, and each store to one of them begins by taking it away there: six to twenty
// times what the same store costs where nobody has looked. A writer that knows which slots that are can go round the caches (a streamed
// copy), which costs about twice a copy that stays in its own. So neither is right for all, and hazards tell: a reader that lets
// go leaves in its own what it had pinned. The writer collects that once for each fill, right before it publishes: until then
// there was one slot that readers could have come to look at, the current one.
//
//     writer                              reader
//     fills t
//                                         pin: view of version v, slot s is current
//                                         unpin: the hazard keeps v and s
//     s is marked: v is not older than the view was when it collected for the fill before
//     publishes t
//     ...
//     chooses s: it was looked at
//     fills s, and is about to publish: s is marked no more
//
// The version tells a look from one that was marked before, of a slot that has been filled since. Not seen is who is just about
// to pin, unless the next collection finds it.
//
// All of this is a hint. Whatever it says, and whatever a guest writes, only the speed of a copy depends on it, so nothing is
// ordered by it. Thread rules: for the writer of the field; one that was revoked may ask and collect, too. Wait-free.
#pragma once

#include <chiral/core/atomics.hpp>
#include <chiral/core/camera_sync.hpp>

#include <cstdint>

namespace chiral::core {

template <class P>
class Looks {
public:
    /// Whether a reader has looked at `slot` since it was filled last. One step.
    bool at(int slot) const noexcept { return (note_.load(Site::looks_load, std::memory_order_relaxed) >> slot & 1) != 0; }

    /// Marks what the first `readers` of `field`, and guests, have looked at since the last time, but for `filled`, which is about
    /// to be published. Returns the steps that it took: readers + 3, and for guests one for each seat and one for each hazard of an
    /// occupant.
    std::uint32_t collect(const CameraSync<P>& sync, int field, int filled, int readers,
                          const GuestHazards<P>* guests) noexcept {
        const View now = sync.look(Site::looks_view_load, std::memory_order_relaxed);
        const std::uint64_t before = note_.load(Site::looks_load, std::memory_order_relaxed);
        const std::uint64_t since = before >> kMaxSlots;
        std::uint64_t slots = before;
        const std::uint32_t steps = sync.last_looks(readers, guests, [&](View last) {
            if (last.bits != 0 && !is_older(last.version(), since)) slots |= std::uint64_t{1} << last.slot(field);
        });
        slots &= kSlots & ~(std::uint64_t{1} << filled);
        note_.store(Site::looks_store, now.version() << kMaxSlots | slots, std::memory_order_relaxed);
        return steps + 3;
    }

private:
    static constexpr std::uint64_t kSlots = (std::uint64_t{1} << kMaxSlots) - 1;
    // Of the versions in hazards, which lack two bits.
    static constexpr std::uint64_t kVersions = ~std::uint64_t{0} >> (kSlotBits * kFields + 2);
    static bool is_older(std::uint64_t version, std::uint64_t than) noexcept {
        return ((version - than) & kVersions) > kVersions / 2;
    }

    // The version of the view when it was written, and a bit for each slot.
    typename P::template Atomic<std::uint64_t> note_;
};

}  // namespace chiral::core
