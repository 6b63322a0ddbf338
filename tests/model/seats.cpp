// SPDX-License-Identifier: Apache-2.0
// A reader's seat passes from one thread to another, with the epoch of its hazard and whatever else its owner keeps. A
// writer that was helping the first owner must not disturb the second.
#include "model_camera.hpp"

namespace chiral::model {
namespace {

template <class Derived, int fields>
struct Seats : rl::test_suite<Derived, 2 + fields> {
    ModelCamera<fields, 1> camera;
    Aligned<core::ReaderSeats<ModelAtomics>> seats;
    rl::var<unsigned> kept{0};  // stands for the epoch, which is plain memory inside the core
    int owners{0};

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index >= 2) {
            for (int i = 0; i < 2; ++i) camera.update(static_cast<int>(index) - 2);
            return;
        }
        const int seat = seats->take(1);
        if (seat < 0) return;
        RL_ASSERT(seat == 0 && owners++ == 0);
        kept(RL_INFO) = kept(RL_INFO).load() + 1;
        camera.read(seat);
        --owners;
        seats->drop(seat);
    }
};

struct OneWriter : Seats<OneWriter, 1> {};
struct TwoWriters : Seats<TwoWriters, 2> {};

const Registered<OneWriter> one("seats.one_writer", "2 threads take the only seat in turn and pin; 2 updates", {4, 500'000},
                                {6, 20'000'000});
const Registered<TwoWriters> two("seats.two_writers", "2 threads take the only seat in turn and pin; 2 updates of 2 fields",
                                 {2, 500'000}, {3, 20'000'000});

}  // namespace
}  // namespace chiral::model
