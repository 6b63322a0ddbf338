// SPDX-License-Identifier: Apache-2.0
// Two threads that write different fields of one camera. Here helping and epochs matter: a writer that helps a reader may
// be slow, and the other one may publish and reuse slots meanwhile.
#include "model_camera.hpp"

namespace chiral::model {
namespace {

template <class Derived, int readers, int updates, int reads>
struct TwoFields : rl::test_suite<Derived, 2 + readers> {
    ModelCamera<2, readers> camera;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index < 2)
            for (int i = 0; i < updates; ++i) camera.update(static_cast<int>(index));
        else
            for (int i = 0; i < reads; ++i) camera.read(static_cast<int>(index) - 2);
    }
};

struct OneReader : TwoFields<OneReader, 1, 2, 2> {};
struct TwoReaders : TwoFields<TwoReaders, 2, 2, 1> {};

/// A second reader that looks at the first field alone, as a reader without depth maps does: writers of the other field do
/// not know it, and have one slot less.
struct NotAllFields : rl::test_suite<NotAllFields, 4> {
    ModelCamera<2, 2> camera{{2, 1}};

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index < 2)
            for (int i = 0; i < 2; ++i) camera.update(static_cast<int>(index));
        else
            for (int i = 0; i < 2; ++i) camera.read(static_cast<int>(index) - 2);
    }
};

const Registered<OneReader> one("two_fields.one_reader", "2 fields, 2 updates each; 1 reader pins twice", {3, 500'000},
                                {5, 20'000'000});
const Registered<TwoReaders> two("two_fields.two_readers", "2 fields, 2 updates each; 2 readers pin", {2, 500'000},
                                 {3, 20'000'000});
const Registered<NotAllFields> not_all("two_fields.not_all_readers",
                                       "2 fields, 2 updates each; 1 reader pins both twice, 1 only the first", {2, 500'000},
                                       {3, 20'000'000});

}  // namespace
}  // namespace chiral::model
