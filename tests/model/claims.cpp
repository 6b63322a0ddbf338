// SPDX-License-Identifier: Apache-2.0
// Threads that want to write the same field: one at a time gets the claim, and it knows all that the one before it did.
#include "model_camera.hpp"

namespace chiral::model {
namespace {

/// Two writers of one field, a writer of another one, and a reader.
struct Claims : rl::test_suite<Claims, 4> {
    ModelCamera<2, 1> camera;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index < 2)
            for (int i = 0; i < 2; ++i) camera.claim_and_update(0);
        else if (index == 2) camera.claim_and_update(1);
        else camera.read(0);
    }
    void after() { RL_ASSERT(camera.noted(camera.newest(), 0) >= 2 && camera.noted(camera.newest(), 1) == 1); }
};

const Registered<Claims> claims("claims", "2 threads try to update the same field twice, 1 another field; 1 reader pins",
                                {2, 500'000}, {3, 20'000'000});

}  // namespace
}  // namespace chiral::model
