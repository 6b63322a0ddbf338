// SPDX-License-Identifier: Apache-2.0
// One writer of one field, and readers that pin, read and unpin: no slot is written while it is read.
#include "model_camera.hpp"

namespace chiral::model {
namespace {

template <class Derived, int readers, int updates, int reads>
struct Pins : rl::test_suite<Derived, 1 + readers> {
    ModelCamera<1, readers> camera;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0)
            for (int i = 0; i < updates; ++i) camera.update(0);
        else
            for (int i = 0; i < reads; ++i) camera.read(static_cast<int>(index) - 1);
    }
};

struct OneReader : Pins<OneReader, 1, 3, 2> {};
struct TwoReaders : Pins<TwoReaders, 2, 2, 1> {};

const Registered<OneReader> one("pins.one_reader", "one field, 3 updates; 1 reader pins twice", {6, 500'000},
                                {9, 20'000'000});
const Registered<TwoReaders> two("pins.two_readers", "one field, 2 updates; 2 readers pin", {4, 500'000}, {6, 20'000'000});

}  // namespace
}  // namespace chiral::model
