// SPDX-License-Identifier: Apache-2.0
// Who waits for any of several sources is not forgotten: a lost ring is a deadlock, which Relacy reports.
#include "model_source.hpp"

namespace chiral::model {
namespace {

/// The image of a camera, a stream, and the bell of both: payload n of a source is written before its number n.
struct ModelSources {
    ModelSource camera;
    core::RingHead<ModelAtomics> head;
    std::array<ModelAtomics::Atomic<std::uint64_t>, 2 * 2> cells;
    core::SampleRing<ModelAtomics> ring{head, cells.data(), 2, 1};
    core::Bell<ModelAtomics> of_the_stream;
    rl::var<unsigned> sample;
    core::Bell<ModelAtomics> of_all;

    void announce(unsigned source) {
        if (source == 0) return camera.update(1, of_all);
        sample(RL_INFO) = 1;
        ring.push([](std::size_t) { return 1; });
        of_the_stream.ring();
        of_all.ring();
    }
    void check(unsigned source) {
        if (source == 0) camera.check(1);
        else RL_ASSERT(sample(RL_INFO).load() == 1);
    }
    std::uint64_t look(unsigned source) { return source == 0 ? camera.look() : ring.look(); }

    template <class Deadline>
    bool wait_for_any(std::array<std::uint64_t, 2>& seen, Deadline deadline) {
        return of_all.wait(
            [&] {
                for (unsigned s = 0; s < 2; ++s) {
                    if (look(s) <= seen[s]) continue;
                    seen[s] = 1;
                    check(s);
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

/// A waiter whose deadline may pass at any moment, beside one that waits at the source's own bell.
struct Deadline : rl::test_suite<Deadline, 3> {
    ModelSources sources;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) return sources.announce(1);
        if (index == 1) {
            RL_ASSERT(sources.of_the_stream.wait([&] { return sources.look(1) > 0; }, Never{}));
            return sources.check(1);
        }
        std::array<std::uint64_t, 2> seen{};
        if (sources.wait_for_any(seen, AtAnyMoment{})) RL_ASSERT(seen[1] == 1);
    }
};

const Registered<TwoSources> two("bell.two_sources", "a camera and a stream update once; 1 waiter waits for any, twice",
                                 {2, 100'000}, {4, 20'000'000});
const Registered<Deadline> deadline("bell.deadline", "a stream updates; 1 waiter for any that may give up, 1 for the stream",
                                    {1, 50'000}, {3, 20'000'000});

}  // namespace
}  // namespace chiral::model
