// SPDX-License-Identifier: Apache-2.0
// Who waits for any of several sources is not forgotten: a lost ring is a deadlock, which Relacy reports.
#include "relacy_model.hpp"

#include <chiral/core/bell.hpp>

namespace chiral::model {
namespace {

/// Two sources and their bell: payload n of a source is written before its sequence n.
struct ModelSources {
    std::array<core::FrameSignal<ModelAtomics>, 2> signals;
    std::array<rl::var<unsigned>, 2> payload;
    core::Bell<ModelAtomics> bell;

    void announce(unsigned source) {
        payload[source](RL_INFO) = 1;
        signals[source].signal(1);
        bell.ring();
    }
    template <class Deadline>
    bool wait_for_any(std::array<std::uint64_t, 2>& seen, Deadline deadline) {
        return bell.wait(
            [&] {
                for (unsigned s = 0; s < 2; ++s) {
                    if (signals[s].look() <= seen[s]) continue;
                    seen[s] = 1;
                    RL_ASSERT(payload[s](RL_INFO).load() == 1);
                    return true;
                }
                return false;
            },
            deadline);
    }
};

/// One thread waits until both have come, one after the other, whichever is first.
struct TwoSources : rl::test_suite<TwoSources, 3> {
    ModelSources sources;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index < 2) return sources.announce(index);
        std::array<std::uint64_t, 2> seen{};
        RL_ASSERT(sources.wait_for_any(seen, Never{}));
        RL_ASSERT(sources.wait_for_any(seen, Never{}));
        RL_ASSERT(seen[0] == 1 && seen[1] == 1);
    }
};

/// A waiter whose deadline may pass at any moment, beside one that waits at the source's own signal.
struct Deadline : rl::test_suite<Deadline, 3> {
    ModelSources sources;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        std::array<std::uint64_t, 2> seen{};
        if (index == 0) return sources.announce(0);
        if (index == 1) {
            RL_ASSERT(sources.signals[0].wait(0, Never{}));
            return;
        }
        if (sources.wait_for_any(seen, AtAnyMoment{})) RL_ASSERT(seen[0] == 1);
    }
};

const Registered<TwoSources> two("bell.two_sources", "2 sources announce once; 1 waiter waits for any, twice", {4, 100'000},
                                 {6, 20'000'000});
const Registered<Deadline> deadline("bell.deadline",
                                    "1 source announces; 1 waiter at the bell whose deadline may pass, 1 at the signal",
                                    {2, 50'000}, {4, 20'000'000});

}  // namespace
}  // namespace chiral::model
