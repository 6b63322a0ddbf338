// SPDX-License-Identifier: Apache-2.0
// A writer that stops for good in the middle of an update harms nobody, and its field can be given to another thread.
#include "model_camera.hpp"

namespace chiral::model {
namespace {

/// The first writer dies between two steps of its update. Whoever learns of it (as by join() or waitpid(), which order
/// memory) drops its claim; then another thread writes the field.
struct Died : rl::test_suite<Died, 4> {
    ModelCamera<1, 1> camera;
    rl::atomic<int> death_notice{0};

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            if (!camera.sync().claim(0)) return;
            const unsigned steps_before_death = rl::rand(4);
            if (steps_before_death > 0) camera.update(0);
            if (steps_before_death > 1) {
                const auto half_filled = camera.open(0);
                if (steps_before_death > 2) camera.commit({half_filled});
            }
            death_notice.store(1, rl::mo_release, RL_INFO);
        } else if (index == 1) {
            if (death_notice.load(rl::mo_acquire, RL_INFO) == 1) camera.sync().drop_claim(0);
        } else if (index == 2) {
            for (int i = 0; i < 2; ++i) camera.claim_and_update(0);
        } else {
            for (int i = 0; i < 2; ++i) camera.read(0);
        }
    }
};

/// The first writer stops just before one of its atomic operations until the others are done, and then goes on.
struct Stopped : rl::test_suite<Stopped, 3> {
    ModelCamera<2, 1> camera;

    void before() { ModelAtomics::begin_execution(2); }
    void thread(unsigned index) {
        if (index == 0) {
            constexpr Site stops[] = {Site::own_view_load, Site::scan_hazard_load, Site::help_view_load, Site::help_cas,
                                      Site::publish_view_add};
            ModelAtomics::stop_before(stops[rl::rand(5)]);
            return camera.update(0);
        }
        if (index == 1)
            for (int i = 0; i < 2; ++i) camera.update(1);
        else
            for (int i = 0; i < 2; ++i) camera.read(0);
        ModelAtomics::done();
    }
};

const Registered<Died> died("writer_death.replaced",
                            "a writer dies anywhere in 2 updates, another takes over; 1 reader pins twice", {2, 500'000},
                            {3, 20'000'000});
const Registered<Stopped> stopped("writer_death.stopped",
                                  "a writer stops at any step; another field goes on, 1 reader pins twice", {3, 300'000},
                                  {5, 20'000'000});

}  // namespace
}  // namespace chiral::model
