// SPDX-License-Identifier: Apache-2.0
// A stream over a link that is simulated: what it costs comes down to its budget and goes up again.
#include "imaging/budget.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

namespace chiral::imaging {
namespace {

// A client that asks 30 times a second for pictures that take 30 KB at full quality.
struct Stream {
    Budget budget;
    WantBudget wanted;
    TimePoint now{std::chrono::seconds(1000)};
    double bytes_of_full = 30e3;
    double link = 1e12;  // bytes a second
    double sent{0};      // since the last call of run()
    std::size_t answers{0};

    void run(double seconds) {
        sent = 0;
        answers = 0;
        const TimePoint end = now + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
        while (now < end) {
            budget.set(wanted, now);
            const Reduction reduction = budget.reduction();
            const double bytes = bytes_of_full * reduction.quality / 100 * reduction.scale * reduction.scale;
            const auto latency = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(bytes / link));
            now += std::max({latency, budget.period(), Duration(std::chrono::milliseconds(33))});
            budget.answered(static_cast<std::size_t>(bytes), latency, now);
            sent += bytes;
            ++answers;
        }
    }
    double rate(double seconds) const { return sent / seconds; }
    double quality() const { return budget.reduction().quality; }
};

TEST(ABudget, ThatIsKeptChangesNothing) {
    Stream stream;
    stream.wanted.bytes_per_second = 2e6;
    stream.run(10);
    EXPECT_EQ(stream.budget.reduction(), Reduction{});
    EXPECT_EQ(stream.budget.period(), Duration::zero());
    ExtraMap extra;
    stream.budget.write_to(extra);
    EXPECT_TRUE(extra.empty());
}

TEST(ABudget, LowersQualityFirst) {
    Stream stream;
    stream.wanted.bytes_per_second = 6e5;  // of 9e5
    stream.run(10);
    stream.run(10);
    EXPECT_LE(stream.rate(10), 6.6e5);
    EXPECT_LT(stream.quality(), 85);
    EXPECT_GE(stream.quality(), 30);
    EXPECT_EQ(stream.budget.reduction().scale, 1.0);
    ExtraMap extra;
    stream.budget.write_to(extra);
    EXPECT_EQ(std::get<std::int64_t>(extra.at("chiral.want_quality")), stream.quality());
    EXPECT_FALSE(extra.contains("chiral.want_hz"));
}

TEST(ABudget, LowersSizeBehindQualityAndThenRateAndNothingBelowItsBound) {
    Stream stream;
    stream.wanted = {1.5e5, 0, 30, 0.5, 5};
    stream.run(20);
    EXPECT_EQ(stream.quality(), 30);
    EXPECT_LT(stream.budget.reduction().scale, 1);
    stream.wanted.bytes_per_second = 1;  // impossible
    stream.run(20);
    EXPECT_EQ(stream.budget.reduction(), (Reduction{30, 0.5}));
    EXPECT_NEAR(std::chrono::duration<double>(stream.budget.period()).count(), 0.2, 1e-6);
    stream.run(10);
    EXPECT_NEAR(static_cast<double>(stream.answers), 50, 3);
    ExtraMap extra;
    stream.budget.write_to(extra);
    EXPECT_NEAR(std::get<double>(extra.at("chiral.want_hz")), 5, 1e-6);
}

TEST(ABudget, OfLatencyFollowsTheLinkAndRecovers) {
    Stream stream;
    stream.wanted.latency = 0.02;
    stream.link = 1e6;  // 30 ms for a full picture
    stream.run(10);
    EXPECT_LT(stream.quality(), 85);
    stream.link = 1e8;
    stream.run(120);
    EXPECT_EQ(stream.budget.reduction(), Reduction{});
}

TEST(ABudget, OnTheEdgeIsTriedMoreAndMoreSeldom) {
    Stream stream;
    stream.wanted.bytes_per_second = 5e5;
    stream.run(20);
    int swings = 0;
    for (int second = 0; second < 120; ++second) {
        const double before = stream.quality();
        stream.run(1);
        swings += stream.quality() != before;
    }
    EXPECT_LE(swings, 24);
}

TEST(ABudget, ThatChangesBeginsAnew) {
    Stream stream;
    stream.wanted.bytes_per_second = 1;
    stream.run(10);
    stream.wanted.bytes_per_second = 1e9;
    stream.budget.set(stream.wanted, stream.now);
    EXPECT_EQ(stream.budget.reduction(), Reduction{});
}

}  // namespace
}  // namespace chiral::imaging
