// SPDX-License-Identifier: Apache-2.0
#include "histogram.hpp"

#include "duration_text.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace chiral::stress {
namespace {

using std::chrono::nanoseconds;

TEST(Histogram, AValueComesBackToWithinThreePercent) {
    for (std::int64_t value = 1; value < 2'000'000'000'000; value += value / 3 + 1) {
        Histogram h;
        h.record(nanoseconds(value));
        h.record(nanoseconds(value * 2));
        const std::int64_t found = h.quantile(0.4).count();
        EXPECT_GE(found, value);
        EXPECT_LE(found, value + value / 32 + 1);
    }
}

TEST(Histogram, QuantilesOfAThousandValues) {
    Histogram h;
    for (int i = 1; i <= 1000; ++i) h.record(std::chrono::microseconds(i));
    EXPECT_NEAR(static_cast<double>(h.quantile(0.5).count()), 500e3, 500e3 / 32);
    EXPECT_NEAR(static_cast<double>(h.quantile(0.99).count()), 990e3, 990e3 / 32);
    EXPECT_EQ(h.max(), std::chrono::microseconds(1000));
    EXPECT_EQ(h.all_but(0), h.max());
    EXPECT_EQ(h.all_but(1000), nanoseconds(0));
}

TEST(Histogram, MergingIsRecordingInOne) {
    Histogram a, b, both;
    for (int i = 1; i <= 100; ++i) {
        (i % 3 ? a : b).record(nanoseconds(i * 1000));
        both.record(nanoseconds(i * 1000));
    }
    a.merge(b);
    EXPECT_EQ(a.count(), both.count());
    EXPECT_EQ(a.max(), both.max());
    for (const double q : {0.1, 0.5, 0.9, 0.99}) EXPECT_EQ(a.quantile(q), both.quantile(q));
}

TEST(Histogram, ExtremesStayInside) {
    Histogram h;
    EXPECT_EQ(h.quantile(0.99), nanoseconds(0)) << "nothing recorded";
    h.record(nanoseconds(-5));
    EXPECT_EQ(h.max(), nanoseconds(0));
    h.record(nanoseconds::max());
    EXPECT_EQ(h.max(), nanoseconds::max());
}

TEST(DurationText, HasThreeDigitsAndAFittingUnit) {
    EXPECT_EQ(text(nanoseconds(412'000)), "412 us");
    EXPECT_EQ(text(nanoseconds(1'047'000)), "1.05 ms");
    EXPECT_EQ(text(nanoseconds(999'700)), "1 ms");
    EXPECT_EQ(text(nanoseconds(2'500'000'000)), "2.5 s");
    EXPECT_EQ(text(nanoseconds(87)), "0.087 us");
}

}  // namespace
}  // namespace chiral::stress
