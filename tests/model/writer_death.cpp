// SPDX-License-Identifier: Apache-2.0
// A writer that stops for good in the middle of an update harms nobody, and its field can be given to another thread.
#include "model_camera.hpp"
#include "model_transactions.hpp"

namespace chiral::model {
namespace {

/// The first writer dies between two steps of its transactions. Whoever learns of it (as by join() or waitpid(), which
/// order memory) buries it; then another thread writes the field.
struct Died : rl::test_suite<Died, 4> {
    ModelTransactions<1, 1> camera;
    rl::atomic<int> death_notice{0};

    void before() { camera.begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            if (rl::rand(2) == 1) camera.update(0);
            ModelTransactions<1, 1>::Writer half_done(camera);
            if (half_done.open(0)) death_notice.store(1, rl::mo_release, RL_INFO);
        } else if (index == 1) {
            if (death_notice.load(rl::mo_acquire, RL_INFO) == 1) camera.bury(0);
        } else if (index == 2) {
            for (int i = 0; i < 2; ++i) camera.update(0);
        } else {
            camera.read(0);
        }
    }
};

/// The first writer dies when it has closed its claim and not yet published. Others are refused; then it is buried.
struct DiedClosing : rl::test_suite<DiedClosing, 3> {
    ModelTransactions<1, 1> camera;
    rl::atomic<int> death_notice{0};

    void before() { camera.begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            if (camera.close_and_die(0)) death_notice.store(1, rl::mo_release, RL_INFO);
        } else if (index == 1) {
            if (death_notice.load(rl::mo_acquire, RL_INFO) != 1) return;
            RL_ASSERT(camera.revoke(0) == core::Revocation::publishing);
            RL_ASSERT(camera.bury(0) == core::Revocation::done);
        } else {
            if (camera.update(0)) camera.update(0);
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
const Registered<DiedClosing> closing("writer_death.closing",
                                      "a writer dies just before it publishes, is buried; another updates twice",
                                      {3, 300'000}, {5, 20'000'000});
const Registered<Stopped> stopped("writer_death.stopped",
                                  "a writer stops at any step; another field goes on, 1 reader pins twice", {3, 300'000},
                                  {5, 20'000'000});

}  // namespace
}  // namespace chiral::model
