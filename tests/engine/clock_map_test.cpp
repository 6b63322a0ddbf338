// SPDX-License-Identifier: Apache-2.0
// ClockMap on series like those that devices send: jitter, drift, counters that wrap, clocks that are set.
#include "support.hpp"

#include <chiral/clock_map.hpp>

#include <gtest/gtest.h>

#include <random>

namespace chiral::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// A device that stamps at 30 Hz, and a transport that delays what it sends.
struct Device {
    double ticks_per_second = 1e9;
    double drift = 0;            // of its clock: 50e-6 gains 50 us a second
    double start_ticks = 12345;  // what its counter shows at first
    int bits = 64;
    std::mt19937_64 random{7};

    struct Arrival {
        TimePoint made;
        std::uint64_t stamp;
        TimePoint arrived;
    };
    /// Delays: at least 1 ms; mostly up to 2 ms more; every twentieth up to 40 ms more.
    Arrival next(TimePoint made) {
        std::uniform_real_distribution<double> share(0, 1);
        double delay = 1e6 + 2e6 * share(random);
        if (share(random) < 0.05) delay += 40e6 * share(random);
        const double seconds_on = std::chrono::duration<double>(made - start).count();
        const double ticks = start_ticks + seconds_on * (1 + drift) * ticks_per_second;
        const auto mask = bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
        return {made, static_cast<std::uint64_t>(ticks) & mask, made + Duration(static_cast<std::int64_t>(delay))};
    }
    TimePoint start{seconds(1'000'000)};
};

constexpr Duration kPeriod = milliseconds(33);

/// Runs `frames` frames through a map. After the first 200, every mapped time is within `error` of the least delay.
void expect_mapped(Device& device, ClockMap& map, int frames, Duration error) {
    TimePoint last = TimePoint::min();
    for (int i = 0; i < frames; ++i) {
        const Device::Arrival arrival = device.next(device.start + i * kPeriod);
        const TimePoint mapped = map.observe(arrival.stamp, arrival.arrived);
        ASSERT_GE(mapped, last) << "frame " << i;
        ASSERT_LE(mapped, arrival.arrived) << "frame " << i;
        last = mapped;
        if (i < 200) continue;
        const Duration off = mapped - (arrival.made + milliseconds(1));
        ASSERT_LE(std::abs(off.count()), error.count()) << "frame " << i;
    }
}

TEST(AClockMap, SeesThroughJitterToTheLeastDelay) {
    Device device;
    ClockMap map;
    expect_mapped(device, map, 3000, microseconds(700));
    EXPECT_LT(map.uncertainty(), milliseconds(2));
    EXPECT_GT(map.uncertainty(), Duration::zero()) << "least delays differ, too";
    EXPECT_EQ(map.steps(), 0u);
}

TEST(AClockMap, FollowsAClockThatIsTooFastOrTooSlow) {
    for (const double drift : {100e-6, -100e-6}) {
        Device device;
        device.drift = drift;
        ClockMap map;
        expect_mapped(device, map, 6000, microseconds(900));
        EXPECT_NEAR(map.drift_ppm(), drift * 1e6, 60);
        EXPECT_EQ(map.steps(), 0u);
    }
}

TEST(AClockMap, FollowsACounterOf32BitsPastItsWrap) {
    Device device;
    device.ticks_per_second = 90e6;  // wraps every 47 s
    device.bits = 32;
    ClockMap map({.ticks_per_second = 90e6, .bits = 32});
    expect_mapped(device, map, 6000, microseconds(700));
    EXPECT_EQ(map.steps(), 0u);
}

TEST(AClockMap, FollowsADeviceWhoseClockIsSet) {
    for (const double step_seconds : {1.0, -1.0, 3600.0, -3600.0}) {
        Device device;
        device.start_ticks = 1e13;
        ClockMap map;
        expect_mapped(device, map, 300, microseconds(700));
        device.start_ticks += step_seconds * 1e9;
        TimePoint last = TimePoint::min();
        for (int i = 300; i < 900; ++i) {
            const Device::Arrival arrival = device.next(device.start + i * kPeriod);
            const std::uint64_t steps = map.steps();
            const TimePoint mapped = map.observe(arrival.stamp, arrival.arrived);
            ASSERT_LE(mapped, arrival.arrived);
            if (map.steps() > steps) {
                EXPECT_EQ(i, step_seconds > 0 ? 300 : 302) << "at once if no delay explains it, else by three pairs";
                EXPECT_EQ(map.uncertainty(), Duration::max()) << "what the pairs before had told is no more";
            }
            // While it is not yet believed, a clock that was set backwards makes one time go back with it.
            if (i > 310) {
                ASSERT_GE(mapped, last) << "frame " << i;
            }
            last = mapped;
            if (i > 500) {
                ASSERT_LE(std::abs((mapped - arrival.made - milliseconds(1)).count()), 900'000) << "frame " << i;
            }
        }
        EXPECT_EQ(map.steps(), 1u) << step_seconds;
    }
}

TEST(AClockMap, TakesASingleLateArrivalForNoStep) {
    Device device;
    ClockMap map;
    expect_mapped(device, map, 300, microseconds(700));
    const double drift = map.drift_ppm();
    Device::Arrival late = device.next(device.start + 300 * kPeriod);
    const TimePoint mapped = map.observe(late.stamp, late.arrived + seconds(2));
    EXPECT_LE(std::abs((mapped - late.made - milliseconds(1)).count()), 900'000) << "it was made when it was made";
    EXPECT_EQ(map.steps(), 0u);
    EXPECT_EQ(map.drift_ppm(), drift);
}

TEST(AClockMap, LearnsNothingFromPairsThatItDoesNotBelieve) {
    Device device;
    ClockMap map({.pairs_to_believe_a_step = 1000});
    expect_mapped(device, map, 300, microseconds(700));
    for (int i = 300; i < 600; ++i) {
        const Device::Arrival late = device.next(device.start + i * kPeriod);
        const TimePoint mapped = map.observe(late.stamp, late.arrived + milliseconds(300));
        ASSERT_LE(std::abs((mapped - late.made - milliseconds(1)).count()), 900'000) << "frame " << i;
    }
}

TEST(AClockMap, KnowsNothingAtFirstAndSaysSo) {
    ClockMap map;
    EXPECT_EQ(map.map(5), TimePoint{});
    EXPECT_EQ(map.uncertainty(), Duration::max());
    const TimePoint arrival(seconds(5));
    EXPECT_EQ(map.observe(1000, arrival), arrival);
    EXPECT_EQ(map.map(3000), arrival + Duration(2000));
    EXPECT_EQ(map.uncertainty(), Duration::max()) << "one pair tells nothing of it";
}

TEST(AClockMap, RefusesOptionsThatMakeNoSense) {
    EXPECT_THROW(ClockMap({.ticks_per_second = 0}), std::invalid_argument);
    EXPECT_THROW(ClockMap({.ticks_per_second = std::nan("")}), std::invalid_argument);
    EXPECT_THROW(ClockMap({.bits = 65}), std::invalid_argument);
    EXPECT_THROW(ClockMap({.step = Duration(0)}), std::invalid_argument);
    EXPECT_THROW(ClockMap({.pairs_to_believe_a_step = 0}), std::invalid_argument);
}

}  // namespace
}  // namespace chiral::test
