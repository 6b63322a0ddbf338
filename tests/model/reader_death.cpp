// SPDX-License-Identifier: Apache-2.0
// A reader that stops for good while its hazard is pending or pinned costs its slots and nothing else: writers and the
// other reader go on. When it continues after all, it still reads one coherent view.
#include "model_camera.hpp"

namespace chiral::model {
namespace {

template <class Derived, int fields>
struct ReaderDeath : rl::test_suite<Derived, 2 + fields> {
    ModelCamera<fields, 2> camera;

    void before() { ModelAtomics::begin_execution(1 + fields); }
    void thread(unsigned index) {
        if (index == 0) {
            constexpr Site stops[] = {Site::pin_view_load, Site::pin_cas, Site::unpin_store};
            ModelAtomics::stop_before(stops[rl::rand(3)]);
            return camera.read(0);
        }
        if (index == 1) {
            camera.read(1);
        } else {
            const int field = static_cast<int>(index) - 2;
            const int updates = fields == 1 ? 3 : 2 - field;
            for (int i = 0; i < updates; ++i) camera.update(field);
        }
        ModelAtomics::done();
    }
};

struct OneField : ReaderDeath<OneField, 1> {};
struct TwoFields : ReaderDeath<TwoFields, 2> {};

const Registered<OneField> one("reader_death.one_field",
                               "a reader stops at any step of a pin; 3 updates, another reader pins", {3, 500'000},
                               {5, 20'000'000});
const Registered<TwoFields> two("reader_death.two_fields",
                                "a reader stops at any step of a pin; 2 and 1 updates of 2 fields, another reader pins",
                                {1, 500'000}, {3, 20'000'000});

}  // namespace
}  // namespace chiral::model
