// SPDX-License-Identifier: Apache-2.0
// Guests: readers whose hazards lie in pages that somebody else can write, a page for each. A guest pins without asking anybody;
// what it writes there beside the protocol, by mistake or on purpose, harms itself alone.
//
// Whatever a hazard holds keeps at most one slot of a field from being filled (hazard.hpp). So fields that count every hazard of
// every guest among their readers always have a slot left for their writer, and readers that keep to the protocol never notice.
//
// A seat goes from one occupant to the next, and its place in memory gets another page meanwhile. A writer may be stopped for
// all that time between its look at the hazard of one occupant and the compare-exchange that helps it, which then acts upon the
// page of another:
//
//     writer                                occupant a, leaves            occupant b
//     seat has a
//     hazard is pending(e)
//     v = view
//                                                                         hazard = pending(e')
//                                                                         w = view (newer)
//     CAS pending(e) -> pinned(v)
//
// That must fail, or b would use the old view v. So the epochs of an occupant begin with its number, which no other has. And
// because a may write anything, an epoch that b will have included, a writer helps only those that begin with the number that
// it has found in the seat, which lies in memory that no guest can write.
//
// A writer that still finds a seat empty passes over hazards that are in use. Then its look comes before the admission in the
// total order, and so do all its publications before that: the guest's first look at the view sees them, and pins no slot that
// this writer takes for free.
//
// Thread rules: one thread at a time admits and retires. The rest is for any thread. Everything is wait-free.
#pragma once

#include <chiral/core/atomics.hpp>
#include <chiral/core/hazard.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace chiral::core {

inline constexpr int kMaxGuests = 4;
/// An epoch of a guest: the number of the occupant, and behind it so many bits that count its attempts.
inline constexpr int kAttemptBits = 40;
/// Occupants that there can be, in all seats together: those that have a number in the 62 bits of an epoch.
inline constexpr std::uint64_t kMaxOccupants = (std::uint64_t{1} << (62 - kAttemptBits)) - 1;

/// Of attempt number `attempt`, which begins anew after 2^40.
constexpr std::uint64_t guest_epoch(std::uint64_t occupant, std::uint64_t attempt) noexcept {
    return occupant << kAttemptBits | (attempt & ((std::uint64_t{1} << kAttemptBits) - 1));
}

template <class P>
class GuestSeats {
public:
    /// The number of the new occupant of an empty seat, whose hazards are all 0; 0 when there are no numbers left. The guest may
    /// pin once it has learned the number, in a way that orders memory.
    std::uint64_t admit(int seat) noexcept {
        if (admitted_ == kMaxOccupants) return 0;
        if (P::performs(Step::new_occupant) || admitted_ == 0) ++admitted_;
        occupants_[seat].store(Site::guest_admit, admitted_, std::memory_order_seq_cst);
        return admitted_;
    }
    /// Nothing that the occupant has pinned is kept any more. The caller has learned in a way that orders memory that it reads
    /// no more, or does not care what it reads.
    void retire(int seat) noexcept { occupants_[seat].store(Site::guest_retire, 0, std::memory_order_release); }

    /// 0: nobody. One step.
    std::uint64_t occupant(int seat) const noexcept {
        return occupants_[seat].load(Site::guest_look, std::memory_order_seq_cst);
    }

private:
    std::array<typename P::template Atomic<std::uint64_t>, kMaxGuests> occupants_;
    std::uint64_t admitted_{0};  // of who admits
};

/// Where the hazards of all guests at one camera lie. Of one process: it has pointers.
template <class P>
struct GuestHazards {
    using Word = typename Hazard<P>::Word;

    const GuestSeats<P>* seats{nullptr};
    int count{0};           // of seats
    int pins{1};            // hazards of each, one behind the other
    Word* first{nullptr};   // of seat 0
    std::size_t stride{0};  // words from one seat to the next

    Word& hazard(int seat, int pin) const noexcept { return first[static_cast<std::size_t>(seat) * stride + pin]; }

    /// The slots of `field` that guests keep, a bit each: at most count * pins. At most steps_for(count, pins).
    std::uint32_t kept(const Word& view, int field, std::uint32_t& steps) const noexcept {
        std::uint32_t slots = 0;
        for (int seat = 0; seat < count; ++seat) {
            const std::uint64_t occupant = seats->occupant(seat);
            ++steps;
            if (occupant == 0) continue;
            const auto of_occupant = [occupant](std::uint64_t epoch) {
                return epoch >> kAttemptBits == occupant || !P::performs(Step::check_occupant);
            };
            for (int pin = 0; pin < pins; ++pin)
                slots |= Hazard<P>::kept(hazard(seat, pin), view, field, of_occupant, steps);
        }
        return slots;
    }
    /// See CameraSync::last_looks(). As kept(), it does not look at the place of an empty seat, where there may be no memory just
    /// now. At most count * (1 + pins) steps.
    template <class Take>
    std::uint32_t last_looks(Take take) const noexcept {
        auto steps = static_cast<std::uint32_t>(count);
        for (int seat = 0; seat < count; ++seat) {
            if (seats->occupant(seat) == 0) continue;
            for (int pin = 0; pin < pins; ++pin) take(Hazard<P>::last(hazard(seat, pin)));
            steps += static_cast<std::uint32_t>(pins);
        }
        return steps;
    }
    static constexpr std::uint32_t steps_for(int count, int pins) noexcept {
        return static_cast<std::uint32_t>(count) * (1 + Hazard<P>::kKeptSteps * static_cast<std::uint32_t>(pins));
    }
};

}  // namespace chiral::core
