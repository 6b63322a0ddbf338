// SPDX-License-Identifier: Apache-2.0
// One writer's business with one camera, from the first field it claims to the commit that publishes all of them in one
// step: claims, slots, stamps and their numbers, discarded fields, and revocation by others in the middle of it.
//
//     Transaction<P> transaction(camera, readers);
//     if (transaction.open(field)) fill(transaction.slot(field));
//     transaction.commit(captured, published, bell);
//
// Guarantees: a commit publishes every open field or none; a field that was revoked since it was opened is never published,
// and its slot is not given to others until this writer is done with it. Wait-free; the steps are counted.
//
// Thread rules: a transaction belongs to one thread at a time. It does not end by itself: its owner commits or abandons it.
#pragma once

#include <chiral/core/atomics.hpp>
#include <chiral/core/bell.hpp>
#include <chiral/core/camera_sync.hpp>
#include <chiral/core/field_claims.hpp>
#include <chiral/core/field_news.hpp>
#include <chiral/core/looks.hpp>

#include <array>
#include <cstdint>
#include <utility>

namespace chiral::core {

/// Number and times of what lies in one slot. Written by the writer that fills the slot, read by readers that have pinned
/// it. A line of its own: the neighbour is being read.
template <class P>
struct alignas(kCacheLine) SlotStamp {
    /// 2 * sequence when the slot is complete, 2 * sequence - 1 while it is filled. Nothing is ordered by it: publication,
    /// pins and claims do that. It numbers the fills, and lets a reader check that its pins held.
    typename P::template Atomic<std::uint64_t> guard;
    std::int64_t captured{0};  // nanoseconds on the engine's clock
    std::int64_t published{0};

    std::uint64_t sequence() const noexcept { return sequence_of(guard.load(Site::guard_load, std::memory_order_relaxed)); }
    static std::uint64_t sequence_of(std::uint64_t guard) noexcept { return (guard + 1) / 2; }
};

/// So many fields, the first ones, can be waited for.
inline constexpr int kAwaitedFields = 2;
/// So many fields, the first ones, can be large.
inline constexpr int kLargeFields = 2;

/// How many readers each field has: the first ones of the camera's.
using FieldReaders = std::array<std::uint8_t, kFields>;
constexpr FieldReaders readers_of_all(int readers) noexcept {
    FieldReaders each{};
    each.fill(static_cast<std::uint8_t>(readers));
    return each;
}

/// The words of one camera that threads share. All slots of all fields are numbered 0 at first: the initial values.
template <class P>
struct CameraCore {
    CameraSync<P> sync;
    FieldClaims<P> claims;
    /// Of the first fields, image and depth. One line: normally one thread writes both.
    alignas(kCacheLine) std::array<FieldNews<P>, kAwaitedFields> news;
    std::array<Looks<P>, kLargeFields> looks;
    std::array<std::array<SlotStamp<P>, kMaxSlots>, kFields> stamps;
};

/// What became of a transaction that was to be committed.
enum class Commit : std::uint8_t {
    published,
    nothing_open,
    revoked,  ///< a field of it was revoked: nothing is published
};

template <class P>
class Transaction {
public:
    /// A transaction that is over.
    Transaction() = default;
    /// `guests`: null if there can be none.
    Transaction(CameraCore<P>& camera, const FieldReaders& readers, const GuestHazards<P>* guests = nullptr) noexcept
        : camera_(&camera), guests_(guests), readers_(readers) {}
    Transaction(Transaction&& other) noexcept { *this = std::move(other); }
    /// This one must be over.
    Transaction& operator=(Transaction&& other) noexcept {
        camera_ = std::exchange(other.camera_, nullptr);
        guests_ = other.guests_;
        readers_ = other.readers_;
        steps_ = other.steps_;
        fields_ = other.fields_;
        return *this;
    }

    bool is_over() const noexcept { return camera_ == nullptr; }
    bool is_open(int field) const noexcept { return fields_[field].slot >= 0; }
    /// The slot to fill, and the number that this fill will have. Of an open field.
    int slot(int field) const noexcept { return fields_[field].slot; }
    std::uint64_t sequence(int field) const noexcept { return fields_[field].sequence; }
    /// Atomic operations so far.
    std::uint32_t steps() const noexcept { return steps_; }
    /// Most steps that opening and committing one field takes, but for those for guests and looks; the rest of a commit takes
    /// kCommitSteps.
    static constexpr std::uint32_t steps_per_field(int readers) noexcept {
        return 9 + 3 * static_cast<std::uint32_t>(readers);
    }
    /// was_looked_at() and collect_looks(), but for those for guests.
    static constexpr std::uint32_t steps_of_looks(int readers) noexcept { return 4 + static_cast<std::uint32_t>(readers); }
    static constexpr std::uint32_t kCommitSteps = 1 + kAwaitedFields * (1 + Bell<P>::kRingSteps) + Bell<P>::kRingSteps;

    /// Claims `field`, which is not open, and finds it a slot. False if another thread is writing it. At most 6 + 3 * readers
    /// steps, and those for guests.
    bool open(int field) noexcept {
        using Claims = FieldClaims<P>;
        typename Claims::Word free = camera_->claims.look(field);
        ++steps_;
        if (!Claims::is_free(free)) return false;
        // The slot is chosen before the claim is taken, so that the claim can name it from its first instant. All of this is
        // in vain if another thread takes the claim meanwhile; it disturbs nobody.
        const FreeSlot chosen =
            camera_->sync.choose_slot(field, readers_[field], camera_->claims.quarantined(field), guests_);
        auto& stamps = camera_->stamps[field];
        Open& open = fields_[field];
        open.sequence = stamps[chosen.current].sequence() + 1;
        steps_ += chosen.steps + 3;
        if (!camera_->claims.take(field, free, chosen.slot, open.claim)) return false;
        open.slot = chosen.slot;
        open.current = chosen.current;
        stamps[chosen.slot].guard.store(Site::guard_open, 2 * open.sequence - 1, std::memory_order_relaxed);
        ++steps_;
        return true;
    }

    /// Of an open field, one of the first kLargeFields: whether readers have looked at its slot since it was filled last, a hint for
    /// who fills it (looks.hpp). One step.
    bool was_looked_at(int field) noexcept {
        ++steps_;
        return camera_->looks[field].at(slot(field));
    }
    /// After such a field was filled: notes what the next fills want to know. readers + 3 steps, and for guests one for each
    /// seat and one for each hazard of an occupant.
    void collect_looks(int field) noexcept {
        steps_ += camera_->looks[field].collect(camera_->sync, field, slot(field), readers_[field], guests_);
    }

    /// Takes an open field out of the transaction. Its guard stays odd: the slot is not current. At most two steps.
    void discard(int field) noexcept {
        if (!is_open(field)) return;
        if (!camera_->claims.discard(field, fields_[field].claim)) give_back(field);
        ++steps_;
        fields_[field].slot = -1;
    }

    /// Discards all fields and ends the transaction.
    void abandon() noexcept {
        if (is_over()) return;
        for (int f = 0; f < kFields; ++f) discard(f);
        camera_ = nullptr;
    }

    /// Publishes all open fields in one step, with these times in nanoseconds, wakes who waits for one of them or, at `bell`, for
    /// any of several sources, and ends the transaction, whatever it returns. The claims come last: this writer touches nothing
    /// any more once the field is seen to be free.
    Commit commit(std::int64_t captured, std::int64_t published, Bell<P>& bell) noexcept {
        const Commit outcome = close_all(captured, published);
        if (outcome == Commit::published) {
            ViewDelta delta;
            for (int f = 0; f < kFields; ++f)
                if (is_open(f)) delta.move(f, fields_[f].current, fields_[f].slot);
            camera_->sync.publish(delta);
            ++steps_;
            bool awaited = false;
            for (int f = 0; f < kAwaitedFields; ++f) {
                if (!is_open(f)) continue;
                camera_->news[f].tell(fields_[f].sequence, fields_[f].slot);
                steps_ += 1 + camera_->news[f].bell.ring();
                awaited = true;
            }
            if (awaited) steps_ += bell.ring();
            for (int f = 0; f < kFields; ++f) drop(f);
        }
        camera_ = nullptr;
        return outcome;
    }

private:
    struct Open {
        typename FieldClaims<P>::Word claim;
        std::uint64_t sequence{0};
        int slot{-1};  // not open
        int current{-1};
    };

    // Stamps and closes every open field; if one of them was revoked, ends the claims of all.
    Commit close_all(std::int64_t captured, std::int64_t published) noexcept {
        bool any = false;
        for (int f = 0; f < kFields; ++f) {
            if (!is_open(f)) continue;
            any = true;
            SlotStamp<P>& stamp = camera_->stamps[f][fields_[f].slot];
            stamp.captured = captured;
            stamp.published = published;
            stamp.guard.store(Site::guard_close, 2 * fields_[f].sequence, std::memory_order_relaxed);
            steps_ += 2;
            if (camera_->claims.close(f, fields_[f].claim)) continue;
            give_back(f);
            for (int closed = 0; closed < f; ++closed) drop(closed);
            for (int rest = f + 1; rest < kFields; ++rest) discard(rest);
            return Commit::revoked;
        }
        return any ? Commit::published : Commit::nothing_open;
    }

    void drop(int field) noexcept {
        if (!is_open(field)) return;
        camera_->claims.drop(field, fields_[field].claim);
        fields_[field].slot = -1;
        ++steps_;
    }
    void give_back(int field) noexcept {
        camera_->claims.give_back(field, fields_[field].claim);
        fields_[field].slot = -1;
        ++steps_;
    }

    CameraCore<P>* camera_{nullptr};  // null once it is over
    const GuestHazards<P>* guests_{nullptr};
    FieldReaders readers_{};
    std::uint32_t steps_{0};
    std::array<Open, kFields> fields_;
};

}  // namespace chiral::core
