// SPDX-License-Identifier: Apache-2.0
// A frame commit moves several fields in one step, beside a thread that updates another field: a reader sees all of the
// commit or none of it. A frame that is abandoned leaves nothing.
#include "model_camera.hpp"

namespace chiral::model {
namespace {

template <class Derived, int readers>
struct FrameCommit : rl::test_suite<Derived, 2 + readers> {
    ModelCamera<3, readers> camera;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            for (int i = 0; i < 2; ++i) {
                const auto image = camera.open(0);
                if (i == 0 && readers == 1 && rl::rand(2) == 1) continue;  // abandoned
                camera.commit({image, camera.open(1)});
            }
        } else if (index == 1) {
            for (int i = 0; i < 3 - readers; ++i) camera.update(2);
        } else {
            const int r = static_cast<int>(index) - 2;
            for (int i = 0; i < 3 - readers; ++i) {
                const core::View view = camera.pin_and_read(r);
                RL_ASSERT(camera.noted(view.version(), 0) == camera.noted(view.version(), 1));
                camera.sync().unpin(r, view);
            }
        }
    }
};

struct OneReader : FrameCommit<OneReader, 1> {};
struct TwoReaders : FrameCommit<TwoReaders, 2> {};

const Registered<OneReader> one("frame_commit.one_reader",
                                "2 commits of 2 fields, 2 updates of a third; 1 reader pins twice", {2, 500'000},
                                {4, 20'000'000});
const Registered<TwoReaders> two("frame_commit.two_readers", "2 commits of 2 fields, 1 update of a third; 2 readers pin",
                                 {1, 500'000}, {2, 20'000'000});

}  // namespace
}  // namespace chiral::model
