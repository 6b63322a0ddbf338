// SPDX-License-Identifier: Apache-2.0
// A ring of two samples whose writer laps its readers: what a reader accepts is exactly one sample.
#include "relacy_model.hpp"

namespace chiral::model {
namespace {

constexpr std::size_t kCapacity = 2;
constexpr std::size_t kWords = 2;

auto into(std::uint64_t* out) {
    return [out](std::size_t i, std::uint64_t word) { out[i] = word; };
}

/// The ring, and how many samples a bystander has seen begun.
struct ModelRing {
    core::RingHead<ModelAtomics> head;
    std::array<ModelAtomics::Atomic<std::uint64_t>, kCapacity*(1 + kWords)> cells;
    core::SampleRing<ModelAtomics> ring{head, cells.data(), kCapacity, kWords};
    std::uint64_t begun{0};

    void push() {
        const std::uint64_t next = ++begun;
        const std::uint64_t sample[kWords] = {10 * next, 10 * next + 1};
        const std::uint64_t sequence = ring.push([&](std::size_t i) { return sample[i]; });
        RL_ASSERT(sequence == next);
    }
    /// False only if the writer has come round to this sample's slot.
    void read(std::uint64_t sequence, std::size_t words) {
        std::uint64_t sample[kWords];
        if (ring.read(sequence, words, into(sample)))
            for (std::size_t i = 0; i < words; ++i) RL_ASSERT(sample[i] == 10 * sequence + i);
        else RL_ASSERT(begun >= sequence + kCapacity);
    }
};

template <class Derived, int readers, int samples>
struct Lapped : rl::test_suite<Derived, 1 + readers> {
    ModelRing samples_ring;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            for (int i = 0; i < samples; ++i) samples_ring.push();
            return;
        }
        const std::uint64_t first = samples_ring.ring.newest();
        if (first != 0) samples_ring.read(first, kWords);
        const std::uint64_t second = samples_ring.ring.newest();
        RL_ASSERT(second >= first);
        if (second != 0) samples_ring.read(samples_ring.ring.oldest(second), 1);
    }
};

struct OneReader : Lapped<OneReader, 1, 4> {};
struct TwoReaders : Lapped<TwoReaders, 2, 3> {};

/// A reader that asks for samples by their numbers without looking at the newest: nothing but the guard tells it that a
/// sample is complete.
struct ByNumber : rl::test_suite<ByNumber, 2> {
    ModelRing samples_ring;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        for (std::uint64_t n = 1; n <= 3; ++n) {
            if (index == 0) {
                samples_ring.push();
                continue;
            }
            std::uint64_t sample[kWords];
            if (samples_ring.ring.read(n, kWords, into(sample))) RL_ASSERT(sample[0] == 10 * n && sample[1] == 10 * n + 1);
        }
    }
};

/// Two threads that push one after the other, each if the other is not writing.
struct HandedOver : rl::test_suite<HandedOver, 3> {
    ModelRing samples_ring;
    bool written{false};

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            const std::uint64_t newest = samples_ring.ring.newest();
            if (newest != 0) samples_ring.read(newest, kWords);
            return;
        }
        for (int i = 0; i < 2; ++i) {
            if (!samples_ring.ring.claim()) continue;
            RL_ASSERT(!written);
            written = true;
            samples_ring.push();
            written = false;
            samples_ring.ring.drop_claim();
        }
    }
};

const Registered<OneReader> one("ring.one_reader", "4 samples through a ring of 2; 1 reader takes newest and oldest",
                                {4, 500'000}, {6, 20'000'000});
const Registered<TwoReaders> two("ring.two_readers", "3 samples through a ring of 2; 2 readers take newest and oldest",
                                 {2, 500'000}, {4, 20'000'000});
const Registered<ByNumber> by_number("ring.by_number", "3 samples through a ring of 2; 1 reader asks for each by its number",
                                     {6, 500'000}, {8, 20'000'000});
const Registered<HandedOver> handed_over("ring.handed_over", "2 threads push in turn; 1 reader takes the newest",
                                         {4, 500'000}, {6, 20'000'000});

}  // namespace
}  // namespace chiral::model
