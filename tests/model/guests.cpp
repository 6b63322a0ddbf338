// SPDX-License-Identifier: Apache-2.0
// Readers whose hazards lie where others can write. One that writes anything there at any time harms nobody: good readers find
// whole and current views, and writers a slot, in as many steps as ever. A seat goes from one occupant to the next, whose page
// is another, while a helper of the first one is still around.
#include "model_camera.hpp"

#include <iterator>

namespace chiral::model {
namespace {

using Hazard = core::Hazard<ModelAtomics>;

constexpr std::uint64_t kOneVersion = std::uint64_t{1} << (core::kSlotBits * core::kFields);

/// What a page may hold that was not written by the rules: epochs of its own and of the next occupant, any slot, also one that
/// there is not, a view that never was, and what is neither pending nor pinned.
std::uint64_t anything(std::uint64_t occupant) {
    const std::uint64_t words[] = {
        0,
        Hazard::pending(core::guest_epoch(occupant, 1)),
        Hazard::pending(core::guest_epoch(occupant + 1, 1)),
        Hazard::pinned(0),
        Hazard::pinned(1 + kOneVersion),
        Hazard::pinned(2 + (2 << core::kSlotBits)),
        Hazard::pinned(3),
        Hazard::pinned(~std::uint64_t{0} >> 2),
        3,
    };
    return words[rl::rand(std::size(words))];
}

template <class Derived, int fields, int updates>
struct Guests : rl::test_suite<Derived, fields + 1> {
    ModelCamera<fields, 0, 1> camera;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index < fields) {
            for (int i = 0; i < updates; ++i) camera.update(static_cast<int>(index));
        } else {
            static_cast<Derived*>(this)->guest();
        }
    }
};

/// Is let in in the middle of it, and goes without a word while it has pinned; the server has heard of it.
struct ComesAndDies : Guests<ComesAndDies, 1, 3> {
    void guest() {
        const std::uint64_t occupant = camera.admit(0);
        camera.read_as_guest(0, occupant, 1);
        camera.pin_as_guest(0, occupant, 2);
        camera.retire(0);
    }
};

/// Two in turn, both by the rules. The second one's epochs are not those of the first.
struct InTurn : Guests<InTurn, 2, 2> {
    void guest() {
        for (int i = 0; i < 2; ++i) {
            const std::uint64_t occupant = camera.admit(0);
            camera.read_as_guest(0, occupant, 1);
            camera.retire(0);
        }
    }
};

/// The first one writes anything, also what the second one will write; the second one keeps to the rules and is not harmed.
struct AfterAHostileOne : Guests<AfterAHostileOne, 2, 2> {
    void guest() {
        const std::uint64_t hostile = camera.admit(0);
        camera.scribble(0, anything(hostile));
        camera.retire(0);
        const std::uint64_t good = camera.admit(0);
        camera.read_as_guest(0, good, 1);
        camera.retire(0);
    }
};

/// Beside a reader of the engine's own.
struct Hostile : rl::test_suite<Hostile, 3> {
    ModelCamera<1, 1, 1> camera;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            for (int i = 0; i < 3; ++i) camera.update(0);
        } else if (index == 1) {
            camera.read(0);
        } else {
            const std::uint64_t occupant = camera.admit(0);
            for (int i = 0; i < 2; ++i) camera.scribble(0, anything(occupant));
        }
    }
};

/// Beside a guest that keeps to the rules, and two writers.
struct HostileNeighbour : rl::test_suite<HostileNeighbour, 4> {
    ModelCamera<2, 0, 2> camera;
    std::uint64_t hostile{0}, good{0};

    void before() {
        ModelAtomics::begin_execution();
        hostile = camera.admit(0);
        good = camera.admit(1);
    }
    void thread(unsigned index) {
        if (index < 2) {
            for (int i = 0; i < 2; ++i) camera.update(static_cast<int>(index));
        } else if (index == 2) {
            camera.scribble(0, anything(hostile));
        } else {
            camera.read_as_guest(1, good, 1);
        }
    }
};

const Registered<ComesAndDies> dies("guests.comes_and_dies",
                                    "3 updates; a guest is let in, pins, and dies while it has pinned again", {4, 500'000},
                                    {7, 20'000'000});
const Registered<InTurn> in_turn("guests.in_turn", "2 fields, 2 updates each; 2 guests in turn in one seat", {2, 500'000},
                                 {5, 20'000'000});
const Registered<AfterAHostileOne> after("guests.after_a_hostile_one",
                                         "2 fields, 2 updates each; a guest in the seat of one that wrote anything",
                                         {2, 500'000}, {4, 20'000'000});
const Registered<Hostile> hostile("guests.hostile", "3 updates; 1 reader pins; a guest writes anything", {2, 500'000},
                                  {4, 20'000'000});
const Registered<HostileNeighbour> neighbour("guests.hostile_neighbour",
                                             "2 fields, 2 updates each; a guest pins, another one writes anything",
                                             {1, 500'000}, {2, 20'000'000});

}  // namespace
}  // namespace chiral::model
