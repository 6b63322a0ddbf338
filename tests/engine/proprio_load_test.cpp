// SPDX-License-Identifier: Apache-2.0
// Proprioception streams while their writer runs flat out: every sample that a reader accepts is a whole one, and every
// interpolated value lies between its neighbours.
#include "support.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <latch>

namespace chiral::test {
namespace {

constexpr float kUntouched = -1;

struct Tally {
    std::uint64_t good{0}, empty{0}, overrun{0}, torn{0}, misnumbered{0}, backwards{0}, outside{0}, late{0};

    Tally& operator+=(const Tally& o) {
        good += o.good, empty += o.empty, overrun += o.overrun, torn += o.torn, misnumbered += o.misnumbered;
        backwards += o.backwards, outside += o.outside, late += o.late;
        return *this;
    }
    void expect_clean() const {
        EXPECT_EQ(torn, 0u) << "samples that hold parts of two";
        EXPECT_EQ(misnumbered, 0u) << "samples whose values are not those of their sequence number";
        EXPECT_EQ(backwards, 0u) << "samples older than the one before";
        EXPECT_EQ(outside, 0u) << "interpolated values that do not lie between their neighbours";
        EXPECT_EQ(late, 0u) << "readers that did not see the last sample in time";
        EXPECT_GT(good, 0u);
        ::testing::Test::RecordProperty("good", std::to_string(good));
        ::testing::Test::RecordProperty("empty", std::to_string(empty));
        ::testing::Test::RecordProperty("overrun", std::to_string(overrun));
    }
};

/// Stream size, samples remembered.
class AStreamUnderLoad : public ::testing::TestWithParam<std::tuple<int, std::size_t>> {
protected:
    static constexpr int kReaders = 3;
    const std::size_t size = static_cast<std::size_t>(std::get<0>(GetParam()));
    const std::size_t history = std::get<1>(GetParam());
    Engine engine{{}, {{"arm", std::get<0>(GetParam())}}, options()};
    const std::uint64_t samples = load(size > 1000 ? 8'000 : 150'000);

    EngineOptions options() const {
        EngineOptions o = with_readers(kReaders);
        o.proprio_history = history;
        return o;
    }

    /// Sample n is n in every value, captured at n microseconds. Readers run until they return true.
    template <class Look>
    Tally run(Look look) {
        std::latch start(kReaders + 1);
        std::vector<Tally> tallies(kReaders);
        std::vector<std::thread> threads;
        for (Tally& tally : tallies)
            threads.emplace_back([&] {
                start.arrive_and_wait();
                const TimePoint end = deadline();
                auto state = look(tally);
                while (!state())
                    if (Clock::now() > end) {
                        ++tally.late;
                        break;
                    }
            });
        std::vector<float> values(size);
        std::uint64_t failed = 0;
        start.arrive_and_wait();
        for (std::uint64_t n = 1; n <= samples; ++n) {
            fill(std::span<float>(values), static_cast<float>(n));
            const Status status =
                engine.update_proprio(0, values.data(), values.size(), at_ns(static_cast<std::int64_t>(1000 * n)));
            failed += !status.ok() || status.sequence() != n || status.steps() > engine.writer_step_bound();
        }
        for (std::thread& thread : threads) thread.join();
        EXPECT_EQ(failed, 0u);
        Tally sum;
        for (const Tally& tally : tallies) sum += tally;
        return sum;
    }
};

TEST_P(AStreamUnderLoad, GivesWholeSamplesInOrder) {
    const Tally tally = run([this](Tally& found) {
        return [this, &found, last = std::uint64_t{0}, out = std::vector<float>(size)]() mutable {
            fill(std::span<float>(out), kUntouched);
            Stamp stamp;
            const ProprioRead how = engine.latest_proprio(0, out, &stamp);
            if (how == ProprioRead::overrun) return ++found.overrun, false;  // what is in the buffer is worthless
            found.torn += std::memcmp(out.data(), out.data() + 1, (size - 1) * sizeof(float)) != 0;
            found.misnumbered += out[0] != static_cast<float>(stamp.sequence);
            found.misnumbered += stamp.captured != at_ns(static_cast<std::int64_t>(1000 * stamp.sequence));
            found.backwards += stamp.sequence < last;
            ++(how == ProprioRead::empty ? found.empty : found.good);
            last = stamp.sequence;
            return last == samples;
        };
    });
    tally.expect_clean();
}

TEST_P(AStreamUnderLoad, InterpolatesBetweenWholeNeighbours) {
    const Tally tally = run([this](Tally& found) {
        return [this, &found, out = std::vector<float>(size)]() mutable {
            Stamp newest;
            // Asks a little behind the newest sample, at a time between two of them.
            const ProprioRead first = engine.latest_proprio(0, out, &newest);
            if (first == ProprioRead::empty) return ++found.empty, false;
            if (first == ProprioRead::overrun) return ++found.overrun, false;
            const std::uint64_t behind = newest.sequence > history / 2 ? newest.sequence - history / 2 : 1;
            const std::int64_t time = static_cast<std::int64_t>(1000 * behind + behind * 7 % 1000);
            Stamp stamp;
            fill(std::span<float>(out), kUntouched);
            const ProprioRead how = engine.proprio_at(0, at_ns(time), out, &stamp);
            if (how == ProprioRead::overrun) return ++found.overrun, newest.sequence == samples;
            found.torn += std::memcmp(out.data(), out.data() + 1, (size - 1) * sizeof(float)) != 0;
            const float value = out[0];
            const auto sequence = static_cast<float>(stamp.sequence);
            switch (how) {
                case ProprioRead::interpolated:
                    found.outside += !(value >= sequence - 1 && value <= sequence);
                    found.outside += std::abs(static_cast<double>(value) - static_cast<double>(time) / 1000) > 0.02;
                    found.misnumbered += stamp.captured != at_ns(time);
                    break;
                case ProprioRead::before_oldest:
                    found.outside += static_cast<double>(value) < static_cast<double>(time) / 1000;
                    [[fallthrough]];
                case ProprioRead::latest:
                case ProprioRead::after_newest: found.misnumbered += value != sequence; break;
                case ProprioRead::overrun:
                case ProprioRead::empty: ++found.backwards; break;
            }
            ++found.good;
            return newest.sequence == samples;
        };
    });
    tally.expect_clean();
}

TEST_P(AStreamUnderLoad, IsWholeInSnapshotsToo) {
    const Tally tally = run([this](Tally& found) {
        return [this, &found, reader = engine.make_reader(), last = std::uint64_t{0}]() mutable {
            const Snapshot snapshot = reader.snapshot();
            const ProprioView view = snapshot.proprio(0);
            found.torn += std::memcmp(view.values().data(), view.values().data() + 1, (size - 1) * sizeof(float)) != 0;
            // After an overrun, values and stamp are those of the snapshot before: they agree all the same.
            found.misnumbered += view.values()[0] != static_cast<float>(view.sequence());
            found.backwards += view.sequence() < last;
            found.outside += snapshot.steps() > engine.reader_step_bound();
            if (view.how() == ProprioRead::latest)
                found.outside += last > 0 && view.sequence() > last && view.missed() != view.sequence() - last - 1;
            ++(view.how() == ProprioRead::overrun ? found.overrun : view.sequence() == 0 ? found.empty : found.good);
            last = view.sequence();
            return last == samples;
        };
    });
    tally.expect_clean();
}

INSTANTIATE_TEST_SUITE_P(Sizes, AStreamUnderLoad,
                         ::testing::Values(std::tuple{1, 256}, std::tuple{2, 2}, std::tuple{7, 256}, std::tuple{8, 3},
                                           std::tuple{65, 16}, std::tuple{4096, 2}, std::tuple{4096, 64}),
                         [](const auto& param) {
                             return std::to_string(std::get<0>(param.param)) + "values" +
                                    std::to_string(std::get<1>(param.param)) + "remembered";
                         });

}  // namespace
}  // namespace chiral::test
