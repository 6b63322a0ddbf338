// SPDX-License-Identifier: Apache-2.0
// The synchronisation of one camera, with the assertions that every model of its protocol makes. Who may write is settled
// by the model itself; model_transactions.hpp has the claims.
//
// Payloads are plain memory, so Relacy reports any slot that is written while it is read. Beside the camera the model keeps
// what a bystander would note: which payloads every version of the view had. A read is right if it finds exactly those
// of the version it pinned, and if that version was current at some instant of the pin.
#pragma once

#include "relacy_model.hpp"

#include <array>
#include <initializer_list>

namespace chiral::model {

/// `guests`: readers whose hazards lie in pages of their own. They look at all fields.
template <int fields, int readers, int guests = 0>
class ModelCamera {
public:
    static constexpr int kSlots = readers + guests + 2;
    static constexpr int kMaxVersions = 12;

    core::CameraSync<ModelAtomics>& sync() { return *sync_; }

    /// `readers_of`: how many of the readers, the first ones, each field has.
    explicit ModelCamera(std::array<int, fields> readers_of = all()) : readers_of_(readers_of) {
        for (int f = 0; f < fields; ++f)
            for (int s = 0; s < kSlots; ++s) payload(f, s)(RL_INFO) = 0;
        hazards_ = {&*guest_seats_, guests, 1, pages_.data(), 1};
    }

    struct Open {
        int field;
        core::FreeSlot free;
        unsigned value;
    };

    /// Chooses a slot and fills it, as Frame::open: the stamp is one more than that of the current slot.
    Open open(int field) {
        const int most = readers_of_[field];
        const core::FreeSlot free = sync_->choose_slot(field, most, 0, guests > 0 ? &hazards_ : nullptr);
        RL_ASSERT(free.slot < most + guests + 2 && free.slot != free.current);
        RL_ASSERT(free.steps <= 1u + 3u * static_cast<unsigned>(most) + hazards_.steps_for(guests, 1));
        const unsigned value = payload(field, free.current)(RL_INFO).load() + 1;
        payload(field, free.slot)(RL_INFO) = value;
        return {field, free, value};
    }

    /// Publishes all of `opened` in one step.
    void commit(std::initializer_list<Open> opened) {
        core::ViewDelta delta;
        for (const Open& o : opened) delta.move(o.field, o.free.current, o.free.slot);
        const core::View before = sync_->publish(delta);
        // Nothing is scheduled between the add and these notes.
        RL_ASSERT(before.version() == newest_);
        ++newest_;
        RL_ASSERT(newest_ < kMaxVersions);
        history_[newest_] = history_[newest_ - 1];
        for (const Open& o : opened) {
            RL_ASSERT(before.slot(o.field) == o.free.current);
            RL_ASSERT(history_[newest_][o.field] + 1 == o.value);
            history_[newest_][o.field] = o.value;
        }
    }

    void update(int field) { commit({open(field)}); }

    /// Pins, checks and reads; the caller unpins.
    core::View pin_and_read(int r) {
        const std::uint64_t current_before = newest_;
        const core::View view = sync_->pin(r);
        check(view, current_before, r);
        return view;
    }
    void read(int r) { sync_->unpin(r, pin_and_read(r)); }

    // One thread at a time for a seat, as if it were the server's and its guest's: what it does, the next one knows.

    /// The number of the occupant, whose page is empty.
    std::uint64_t admit(int seat) {
        pages_[seat].scribble(0);
        return guest_seats_->admit(seat);
    }
    void retire(int seat) { guest_seats_->retire(seat); }
    core::View pin_as_guest(int seat, std::uint64_t occupant, std::uint64_t attempt) {
        const std::uint64_t current_before = newest_;
        const core::View view =
            core::Hazard<ModelAtomics>::pin(pages_[seat], sync_->view_word(), core::guest_epoch(occupant, attempt));
        check(view, current_before, readers + seat);
        return view;
    }
    void read_as_guest(int seat, std::uint64_t occupant, std::uint64_t attempt) {
        core::Hazard<ModelAtomics>::unpin(pages_[seat], pin_as_guest(seat, occupant, attempt));
    }
    /// What a guest writes that does not keep to the rules.
    void scribble(int seat, std::uint64_t word) { pages_[seat].scribble(word); }

    /// What a bystander noted of `field` at `version`.
    unsigned noted(std::uint64_t version, int field) const { return history_[version][field]; }
    std::uint64_t newest() const { return newest_; }

private:
    void check(core::View view, std::uint64_t current_before, int r) {
        const std::uint64_t version = view.version();
        RL_ASSERT(version >= current_before && version <= newest_);
        RL_ASSERT(version >= last_[r]);
        last_[r] = version;
        for (int f = 0; f < fields; ++f)
            if (r >= readers || r < readers_of_[f])
                RL_ASSERT(payload(f, view.slot(f))(RL_INFO).load() == history_[version][f]);
    }

    static constexpr std::array<int, fields> all() {
        std::array<int, fields> each{};
        each.fill(readers);
        return each;
    }
    rl::var<unsigned>& payload(int field, int slot) { return slots_[field][slot]; }

    Aligned<core::CameraSync<ModelAtomics>> sync_;
    Aligned<core::GuestSeats<ModelAtomics>> guest_seats_;
    std::array<ModelAtomics::Atomic<std::uint64_t>, guests> pages_;
    core::GuestHazards<ModelAtomics> hazards_;
    std::array<std::array<rl::var<unsigned>, kSlots>, fields> slots_;
    std::array<std::array<unsigned, fields>, kMaxVersions> history_{};
    std::array<std::uint64_t, readers + guests> last_{};
    std::array<int, fields> readers_of_;
    std::uint64_t newest_{0};
};

}  // namespace chiral::model
