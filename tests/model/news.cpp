// SPDX-License-Identifier: Apache-2.0
// Waiting for the field of a camera: no wake-up is lost, for a waiter that sleeps through the publication it waits for never
// ends, which Relacy reports as a deadlock; and what was told of is published and visible.
#include "model_source.hpp"

namespace chiral::model {
namespace {

template <class Derived, int waiters, int updates>
struct News : rl::test_suite<Derived, 1 + waiters> {
    ModelSource frames;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            for (unsigned n = 1; n <= updates; ++n) frames.update(n);
            return;
        }
        // The first waits for each, the second for the last one alone, without having seen those before.
        for (unsigned seen = index == 1 ? 0 : updates - 1; seen < updates; ++seen) {
            RL_ASSERT(frames.wait(seen, Never{}));
            frames.check(seen + 1);
        }
        frames.check_newest(updates - 1);
    }
};

struct OneWaiter : News<OneWaiter, 1, 2> {};
struct TwoWaiters : News<TwoWaiters, 2, 2> {};

/// A waiter whose deadline may pass at any moment, beside one that has none.
struct Deadline : rl::test_suite<Deadline, 3> {
    ModelSource frames;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) return frames.update(1);
        if (index == 1) {
            RL_ASSERT(frames.wait(0, Never{}));
            return frames.check(1);
        }
        if (frames.wait(0, AtAnyMoment{})) frames.check(1);
    }
};

/// One thread waits for both of two cameras, as wait_frames() does: one after the other.
struct TwoCameras : rl::test_suite<TwoCameras, 3> {
    std::array<ModelSource, 2> cameras;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index < 2) return cameras[index].update(1);
        for (ModelSource& camera : cameras) RL_ASSERT(camera.wait(0, Never{}));
        for (ModelSource& camera : cameras) camera.check(1);
    }
};

/// A writer dies when it has published and before it has told of it; another takes over. Who waits for the second is not
/// told of it by the first, and not forgotten.
struct Untold : rl::test_suite<Untold, 3> {
    ModelSource frames;
    rl::atomic<int> death_notice{0};

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            frames.publish_and_die(1);
            death_notice.store(1, rl::mo_release, RL_INFO);
        } else if (index == 1) {
            if (death_notice.load(rl::mo_acquire, RL_INFO) != 1) return;
            frames.bury();
            frames.update(2);
            frames.check_newest(2);
        } else if (frames.wait(1, AtAnyMoment{})) {
            frames.check(2);
        }
    }
};

const Registered<OneWaiter> one("news.one_waiter", "2 updates; 1 waiter waits for each", {3, 50'000}, {5, 20'000'000});
const Registered<TwoWaiters> two("news.two_waiters", "2 updates; 1 waiter waits for each, 1 for the second", {1, 100'000},
                                 {3, 20'000'000});
const Registered<Deadline> deadline("news.deadline", "1 update; 1 waiter whose deadline may pass, 1 without", {0, 100'000},
                                    {2, 20'000'000});
const Registered<TwoCameras> two_cameras("news.two_cameras", "2 cameras update once; 1 waiter waits for both", {2, 100'000},
                                         {4, 20'000'000});
const Registered<Untold> untold("news.untold",
                                "a writer dies before it tells of its update, another updates; 1 waiter may give up",
                                {2, 100'000}, {3, 20'000'000});

}  // namespace
}  // namespace chiral::model
