// SPDX-License-Identifier: Apache-2.0
// No wake-up is lost: a waiter that sleeps through the signal it waits for never ends, which Relacy reports as a deadlock.
#include "relacy_model.hpp"

namespace chiral::model {
namespace {

/// What a signal announces: payload n is written before sequence n.
struct ModelSignal {
    core::FrameSignal<ModelAtomics> signal;
    std::array<rl::var<unsigned>, 4> payload;

    void announce(std::uint64_t sequence) {
        payload[sequence](RL_INFO) = static_cast<unsigned>(sequence);
        signal.signal(sequence);
    }
    void check(std::uint64_t at_least) {
        const std::uint64_t newest = signal.newest();
        RL_ASSERT(newest >= at_least);
        for (std::uint64_t n = 1; n <= newest; ++n) RL_ASSERT(payload[n](RL_INFO).load() == n);
    }
};

template <class Derived, int waiters, int signals>
struct Signal : rl::test_suite<Derived, 1 + waiters> {
    ModelSignal frames;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            for (std::uint64_t n = 1; n <= signals; ++n) frames.announce(n);
            return;
        }
        for (std::uint64_t seen = 0; seen < signals; ++seen) {
            RL_ASSERT(frames.signal.wait(seen, Never{}));
            frames.payload[seen + 1](RL_INFO).load();
        }
        frames.check(signals);
    }
};

struct OneWaiter : Signal<OneWaiter, 1, 2> {};
struct TwoWaiters : Signal<TwoWaiters, 2, 2> {};

/// A waiter whose deadline may pass at any moment, beside one that has none.
struct Deadline : rl::test_suite<Deadline, 3> {
    ModelSignal frames;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) return frames.announce(1);
        if (index == 1) {
            RL_ASSERT(frames.signal.wait(0, Never{}));
            return frames.check(1);
        }
        if (frames.signal.wait(0, AtAnyMoment{})) frames.check(1);
    }
};

/// One thread waits for both of two cameras, as wait_frames() does: one after the other.
struct TwoCameras : rl::test_suite<TwoCameras, 3> {
    std::array<ModelSignal, 2> cameras;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index < 2) return cameras[index].announce(1);
        for (ModelSignal& camera : cameras) RL_ASSERT(camera.signal.wait(0, Never{}));
        for (ModelSignal& camera : cameras) camera.check(1);
    }
};

const Registered<OneWaiter> one("signal.one_waiter", "2 signals; 1 waiter waits for each", {7, 300'000}, {12, 20'000'000});
const Registered<TwoWaiters> two("signal.two_waiters", "2 signals; 2 waiters wait for each", {3, 300'000}, {5, 20'000'000});
const Registered<Deadline> deadline("signal.deadline", "1 signal; 1 waiter whose deadline may pass, 1 without", {3, 300'000},
                                    {5, 20'000'000});

const Registered<TwoCameras> two_cameras("signal.two_cameras", "2 cameras signal once; 1 waiter waits for both",
                                         {4, 300'000}, {6, 20'000'000});

}  // namespace
}  // namespace chiral::model
