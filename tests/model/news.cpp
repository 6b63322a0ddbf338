// SPDX-License-Identifier: Apache-2.0
// Waiting for the field of a camera: no wake-up is lost, for a waiter that sleeps through the publication it waits for never
// ends, which Relacy reports as a deadlock; what was told of is published and visible; and nothing that was is taken back.
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
            RL_ASSERT(frames.look() > seen);
        }
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
            RL_ASSERT(frames.look() == 2);
        } else if (frames.wait(1, AtAnyMoment{})) {
            frames.check(2);
        }
    }
};

/// With two slots, each comes round again with the next but one update.
struct ComesRound : rl::test_suite<ComesRound, 2> {
    ModelSource frames;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            for (unsigned n = 1; n <= 3; ++n) frames.update(n);
            return;
        }
        std::uint64_t seen = 0;
        for (int looks = 0; looks < 2; ++looks) {
            const std::uint64_t newest = frames.look();
            RL_ASSERT(newest >= seen);
            seen = newest;
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
const Registered<ComesRound> round("news.comes_round", "3 updates of two slots; who looks twice finds nothing taken back",
                                   {3, 100'000}, {6, 20'000'000});
const Registered<Untold> untold("news.untold",
                                "a writer dies before it tells of its update, another updates; 1 waiter may give up",
                                {2, 100'000}, {3, 20'000'000});

}  // namespace
}  // namespace chiral::model
