// SPDX-License-Identifier: Apache-2.0
// Who writes a field, and what becomes of a writer that was taken for lost and comes back after all.
//
// One word per field holds a state, the slot that the writer fills, and a generation that grows with every claim:
//
//     free(g) --take--> open(g+1, slot) --close--> closing(g+1, slot) --drop--> free(g+1)
//                            |--discard--> free(g+1)
//                            `--revoke---> free(g+1), and `slot` is in quarantine
//
// The writer's close and discard, and a revocation, are compare-exchanges that name the generation: of a writer and its
// revocation one succeeds, in one step, and the other learns it. Once closing, a writer has only a bounded number of steps
// of the core before it, none of them in a driver: it cannot be revoked any more, and a revocation is told so.
//
// A revoked writer may still be filling its slot: a driver that hung in a vendor's library and returns. So the slot is in
// quarantine, a second word per field that names the claim: nobody chooses the slot until that writer has come back,
// noticed, and given it back. A field has kSpareSlots slots beyond readers + 2 to stand in for it; while a slot is in
// quarantine, the next writer cannot be revoked. A writer that is known to be dead is buried instead, which costs no slot.
//
//     late writer                      revocation                       successor
//     open(g+1, s), fills s
//                                      quarantine = (g+1, s)
//                                      CAS open(g+1, s) -> free(g+1) -> sees free(g+1) and so the quarantine:
//     goes on filling s                                                 chooses t; open(g+2, t); publishes it
//     CAS open(g+1, s) -> closing: fails
//     CAS quarantine (g+1, s) -> none                              ---> may choose s again
//
// Thread rules: any number of threads that write; at most one of them holds a field. One thread at a time revokes or buries.
// Everything is wait-free.
#pragma once

#include <chiral/core/atomics.hpp>
#include <chiral/core/camera_sync.hpp>

#include <array>
#include <cstdint>

namespace chiral::core {

/// What became of a revocation.
enum class Revocation : std::uint8_t {
    done,        ///< the field is free; its writer, if it comes back, is told so
    nobody,      ///< nobody held the field
    publishing,  ///< its writer is just ending its transaction: the field is free in a moment, ask again
    no_spare,    ///< the writer revoked before has not come back: there is no slot left to stand in for this one's
};

template <class P>
class FieldClaims {
    template <class T>
    using Atomic = typename P::template Atomic<T>;

public:
    /// A state of the claim word of one field.
    struct Word {
        std::uint64_t bits{0};
    };

    // ---- writers ----

    /// What take() must find unchanged. One step.
    Word look(int field) const noexcept { return {fields_[field].claim.load(Site::claim_look, std::memory_order_acquire)}; }
    static bool is_free(Word word) noexcept { return state(word) == kFree; }

    /// The slot of a revoked writer that has not come back, as a bit. One step.
    std::uint32_t quarantined(int field) const noexcept {
        const Word late{fields_[field].quarantine.load(Site::quarantine_load, std::memory_order_acquire)};
        return late.bits == kNone || !P::performs(Step::quarantine_slot) ? 0 : 1u << slot(late);
    }

    /// Makes this thread the writer of `field`, to fill `slot`. `free` is what it saw before it chose the slot; false if
    /// another thread has claimed the field since. `mine` names the claim from then on. One step.
    bool take(int field, Word free, int slot, Word& mine) noexcept {
        mine.bits = (P::performs(Step::new_generation) ? generation(free) + kOneGeneration : generation(free)) |
                    static_cast<std::uint64_t>(slot) << kSlotShift | kOpen;
        // Relaxed: look() has acquired all that the holders before have done, and a failure is not acted upon.
        return fields_[field].claim.compare_exchange(Site::claim_take, free.bits, mine.bits, std::memory_order_relaxed,
                                                     std::memory_order_relaxed);
    }

    /// From now on the claim cannot be revoked; publish, then drop() at once. False if it was revoked: then give_back(). One
    /// step.
    bool close(int field, Word mine) noexcept {
        if (!P::performs(Step::check_claim)) return true;
        // Relaxed: that it is this one claim or none is all that is asked. drop() releases what was done.
        return fields_[field].claim.compare_exchange(Site::claim_close, mine.bits, with_state(mine, kClosing),
                                                     std::memory_order_relaxed, std::memory_order_relaxed);
    }
    /// Ends a claim that was closed. One step.
    void drop(int field, Word mine) noexcept {
        fields_[field].claim.store(Site::claim_drop, generation(mine) | kFree, std::memory_order_release);
    }
    /// Ends a claim that was not closed. False if it was revoked: then give_back(). One step.
    bool discard(int field, Word mine) noexcept {
        return fields_[field].claim.compare_exchange(Site::claim_discard, mine.bits, generation(mine) | kFree,
                                                     std::memory_order_release, std::memory_order_relaxed);
    }
    /// A revoked writer has come back and will not touch its slot again. Of no effect if it was buried. One step.
    void give_back(int field, Word mine) noexcept {
        fields_[field].quarantine.compare_exchange(Site::quarantine_give_back, mine.bits, kNone, std::memory_order_release,
                                                   std::memory_order_relaxed);
    }

    // ---- whoever takes a writer for lost ----

    /// Frees the field of a writer that may yet come back. At most four steps.
    Revocation revoke(int field) noexcept {
        Field& f = fields_[field];
        Word seen{f.claim.load(Site::revoke_look, std::memory_order_relaxed)};
        if (is_free(seen)) return Revocation::nobody;
        if (P::performs(Step::respect_publishing) && state(seen) == kClosing) return Revocation::publishing;
        if (f.quarantine.load(Site::quarantine_look, std::memory_order_acquire) != kNone) return Revocation::no_spare;
        // Before the field is free, so that no successor can miss it; and back if it does not become free.
        f.quarantine.store(Site::quarantine_set, seen.bits, std::memory_order_relaxed);
        if (f.claim.compare_exchange(Site::claim_revoke, seen.bits, generation(seen) | kFree, std::memory_order_release,
                                     std::memory_order_relaxed))
            return Revocation::done;
        f.quarantine.store(Site::quarantine_undo, kNone, std::memory_order_relaxed);
        return Revocation::publishing;
    }

    /// Frees the field of a writer that is dead, wherever it died. The caller learned of the death in a way that orders
    /// memory: it joined the thread, or waited for the process. Two steps.
    Revocation bury(int field) noexcept {
        Field& f = fields_[field];
        Word seen{f.claim.load(Site::bury_look, std::memory_order_relaxed)};
        if (is_free(seen)) return Revocation::nobody;
        return f.claim.compare_exchange(Site::claim_bury, seen.bits, generation(seen) | kFree, std::memory_order_release,
                                        std::memory_order_relaxed)
                   ? Revocation::done
                   : Revocation::publishing;
    }

private:
    // generation << 8 | slot << 2 | state
    static constexpr std::uint64_t kState = 3, kFree = 0, kOpen = 1, kClosing = 2;
    static constexpr std::uint64_t kNone = 0;  // no claim: the first has generation 1
    static constexpr int kSlotShift = 2;
    static constexpr std::uint64_t kOneGeneration = 1 << 8;

    static std::uint64_t generation(Word word) noexcept { return word.bits & ~(kOneGeneration - 1); }
    static std::uint64_t with_state(Word word, std::uint64_t state) noexcept { return (word.bits & ~kState) | state; }
    static std::uint64_t state(Word word) noexcept { return word.bits & kState; }
    static int slot(Word word) noexcept { return static_cast<int>(word.bits >> kSlotShift) & 63; }

    struct Field {
        Atomic<std::uint64_t> claim;
        Atomic<std::uint64_t> quarantine;  // the word of the revoked claim
    };
    // One line: normally one thread writes all fields of a camera.
    alignas(kCacheLine) std::array<Field, kFields> fields_;
};

}  // namespace chiral::core
