// SPDX-License-Identifier: Apache-2.0
// Threads that want to write the same field: one at a time gets the claim, and it knows all that the one before it did.
#include "model_transactions.hpp"

namespace chiral::model {
namespace {

/// Two writers of one field and a reader.
struct OneField : rl::test_suite<OneField, 3> {
    ModelTransactions<1, 1> camera;

    void before() { camera.begin_execution(); }
    void thread(unsigned index) {
        if (index == 2) return camera.read(0);
        for (int i = 0; i < 2; ++i) camera.update(0);
    }
    void after() { RL_ASSERT(camera.newest(0) >= 2); }
};

/// Of fields 0, 1 and 2, one thread writes 0 and 1 together, another 1 and 2: 1 counts both.
struct Overlapping : rl::test_suite<Overlapping, 3> {
    ModelTransactions<3, 1> camera;

    void before() { camera.begin_execution(); }
    void thread(unsigned index) {
        if (index == 2) {
            const core::View view = camera.pin_and_read(0);
            const std::uint64_t version = view.version();
            RL_ASSERT(camera.noted(version, 0) + camera.noted(version, 2) == camera.noted(version, 1));
            return camera.unpin(0, view);
        }
        ModelTransactions<3, 1>::Writer writer(camera);
        const int own = index == 0 ? 0 : 2;
        if (writer.open(own) && writer.open(1)) RL_ASSERT(writer.commit() == core::Commit::published);
        else writer.abandon();
    }
};

const Registered<OneField> one("claims.one_field", "2 threads try to update the same field twice; 1 reader pins",
                               {2, 300'000}, {3, 20'000'000});
const Registered<Overlapping> overlapping("claims.overlapping", "2 transactions of 2 fields that share one; 1 reader pins",
                                          {2, 300'000}, {3, 20'000'000});

}  // namespace
}  // namespace chiral::model
