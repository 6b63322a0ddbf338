// SPDX-License-Identifier: Apache-2.0
// Where the synchronisation core gets its atomics from.
//
// The core is written against a policy P, so that the very same headers run on std::atomic in the product and on the
// model checker's atomics in tests/model. A policy offers
//
//     P::Atomic<T>   load, store, exchange, fetch_add, fetch_sub, compare_exchange; each takes its Site first
//     P::wait / P::wake_all   sleep while a word holds a value / wake all that sleep on it
//     P::performs(Step)       false only in the model checker, to show that the step is needed
//
// A Site names one atomic operation of the core. The product ignores it. The models use it to weaken the order of one
// operation at a time and to count which were reached: tests/model names for each Site the model that fails.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace chiral::core {

enum class Site : std::uint8_t {
    // hazard.hpp: pinning a view
    pin_pending_store,  // seq_cst: before pin_view_load in the total order, as publish_view_add is before scan_hazard_load
    pin_view_load,      // seq_cst: see pin_pending_store; acquires the payload from publish_view_add
    pin_cas,            // acquire on failure, from help_cas: the helper's view and so its payload
    unpin_store,        // release, to scan_hazard_load and help_cas: this reader's reads before the slot's next fill
    // hazard.hpp and camera_sync.hpp: choosing a slot and publishing it
    own_view_load,     // relaxed: reads only bits that this thread itself wrote last, or that claim_look handed over
    scan_hazard_load,  // seq_cst: see pin_pending_store; acquires from unpin_store
    help_view_load,    // seq_cst: after pin_pending_store, so it sees every publication whose scan missed that store
    help_cas,          // release, to pin_cas; acquire on failure, from unpin_store. (Success need not acquire what
                       // scan_hazard_load has; acq_rel because checkers want success no weaker than failure.)
    publish_view_add,  // seq_cst: see pin_pending_store and news_first_view; releases the payload to pin_view_load and
                       // help_view_load
    // field_claims.hpp: who writes a field
    claim_look,            // acquire, from claim_drop, claim_discard, claim_revoke and claim_bury: the previous writers'
                           // view bits, numbers and fills, and what is in quarantine
    claim_take,            // relaxed: claim_look has acquired. A read-modify-write keeps the release of the word it replaces
    claim_close,           // relaxed: of it and claim_revoke one succeeds
    claim_drop,            // release, to claim_look
    claim_discard,         // release, to claim_look: this writer's fill before the slot's next one
    quarantine_load,       // acquire, from quarantine_give_back: a late writer's fill before the slot's next one
    quarantine_give_back,  // release, to quarantine_load and quarantine_look
    revoke_look,           // relaxed: only what the claim_revoke compares with
    quarantine_look,       // acquire, from quarantine_give_back: claim_revoke hands it on, as quarantine_set hides it
    quarantine_set,        // relaxed: ordered before quarantine_load by claim_revoke
    claim_revoke,          // release, to claim_look
    quarantine_undo,       // relaxed: until it is seen a free slot is passed over
    bury_look,             // relaxed: the caller's knowledge of the death orders it
    claim_bury,            // release, to claim_look: what the caller knows of the dead, its half-made fill included
    // transaction.hpp: the numbers of fills. Claims, publication and pins order them.
    guard_load,   // relaxed
    guard_open,   // relaxed
    guard_close,  // relaxed
    // looks.hpp: a hint, of which nothing but the speed of a copy depends
    looks_view_load,    // relaxed
    looks_hazard_load,  // relaxed
    looks_load,         // relaxed
    looks_store,        // relaxed
    // reader_seats.hpp: handing a reader's hazards from one owner to the next
    seat_take,  // acquire, from seat_drop: the epochs
    seat_drop,  // release, to seat_take
    // guest_seats.hpp: whose hazards are looked at in memory that somebody else can write
    guest_admit,  // seq_cst: before the occupant's pin_view_load in the total order, as publish_view_add is before guest_look.
                  // Releases the empty hazards and the reads of the occupants before to guest_look
    guest_retire,  // release, to guest_look: the occupant's reads before the slots' next fill
    guest_look,    // seq_cst: see guest_admit; acquires from guest_retire and guest_admit
    // sample_ring.hpp
    ring_own_head_load,  // relaxed: the writer's own last store, or handed over by ring_claim_take
    ring_guard_open,     // relaxed: ordered before the sample's words by ring_word_store
    ring_word_store,     // release, to ring_word_load: a reader that sees a new word sees the opened guard as well
    ring_guard_close,   // release, to ring_guard_first: the words of the sample. Needed only by reads by number: who came by
                        // ring_head_load has acquired the closed guard and the words already
    ring_head_store,    // seq_cst: before bell_waiters_load in the total order, as bell_enter is before ring_head_look;
                        // releases the closed guard of the newest sample to ring_head_load
    ring_head_load,     // acquire, from ring_head_store
    ring_guard_first,   // acquire, from ring_guard_close: needed only by reads by number, as that is
    ring_word_load,     // acquire, from ring_word_store
    ring_guard_second,  // relaxed: ordered after the words by ring_word_load
    ring_claim_take,    // acquire, from ring_claim_drop: the previous writer's head
    ring_claim_drop,    // release, to ring_claim_take
    ring_head_look,     // seq_cst: after bell_enter in the total order, as bell_waiters_load is after ring_head_store
    // field_news.hpp: of a camera's field, for who waits
    news_store,       // release, to news_load and news_again: the publication
    news_first_view,  // seq_cst: after bell_enter in the total order, as bell_waiters_load is after publish_view_add;
                      // acquires from publish_view_add the notes of all publications before
    news_load,        // acquire, from news_store: the second look at the view is not older
    news_second_view,  // acquire, from publish_view_add: the publication that has not been noted yet, and the notes of those before
    news_again,  // acquire, from news_store
    // bell.hpp
    bell_waiters_load,  // seq_cst: see news_first_view and ring_head_look
    bell_ring,          // release, to bell_look: a waiter that sees the ring sees the publication as well
    bell_enter,         // seq_cst: see news_first_view and ring_head_look
    bell_look,          // acquire, from bell_ring; and before the look at the sources that follows it
    bell_leave,         // relaxed: only a count
    count_
};

/// Parts of the protocol that the models leave out one at a time, to show that each is needed.
enum class Step : std::uint8_t {
    help_pending_reader,  // a writer installs the current view for a reader that it meets halfway
    respect_failed_help,  // a pin that beat the helper still blocks its slot
    fresh_epoch,          // every attempt to pin has an epoch of its own
    scan_hazards,         // a slot is reused only when no reader has pinned it
    new_generation,       // every claim has a generation of its own
    check_claim,          // a commit publishes only what has not been revoked
    respect_publishing,   // a writer that is publishing cannot be revoked
    quarantine_slot,      // the slot of a revoked writer is not reused until that writer has given it back
    ring_recheck,         // a sample is used only if its guard is the same after the copy
    wait_recheck,         // a waiter looks again after it has announced itself
    look_at_view,         // a waiter counts a publication that is in the view and has not been noted yet
    look_at_note_again,   // where the view shows the slot that was noted, it may have come round again
    new_occupant,         // every occupant of a guest's seat has a number of its own
    check_occupant,       // a writer helps no epoch that is not of the occupant that it found in the seat
    count_
};

/// The product's policy: std::atomic and the futex of the operating system.
struct StdAtomics {
    template <class T>
    class Atomic {
    public:
        T load(Site, std::memory_order order) const noexcept { return value_.load(order); }
        void store(Site, T desired, std::memory_order order) noexcept { value_.store(desired, order); }
        T exchange(Site, T desired, std::memory_order order) noexcept { return value_.exchange(desired, order); }
        T fetch_add(Site, T delta, std::memory_order order) noexcept { return value_.fetch_add(delta, order); }
        T fetch_sub(Site, T delta, std::memory_order order) noexcept { return value_.fetch_sub(delta, order); }
        bool compare_exchange(Site, T& expected, T desired, std::memory_order success, std::memory_order failure) noexcept {
            return value_.compare_exchange_strong(expected, desired, success, failure);
        }
        const void* address() const noexcept { return &value_; }

    private:
        static_assert(std::atomic<T>::is_always_lock_free);
        std::atomic<T> value_{};
    };

    struct Deadline {
        std::chrono::steady_clock::time_point end;
        std::chrono::steady_clock::time_point (*now)() noexcept = nullptr;  // the clock that `end` is on; null: steady_clock
    };

    /// Sleeps while `word` holds `value`, at most until the deadline; may return early. False once the deadline passed.
    static bool wait(const Atomic<std::uint64_t>& word, std::uint64_t value, Deadline deadline) noexcept;
    static void wake_all(const Atomic<std::uint64_t>& word) noexcept;

    static constexpr bool performs(Step) noexcept { return true; }
};

}  // namespace chiral::core
