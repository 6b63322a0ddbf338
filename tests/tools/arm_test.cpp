// SPDX-License-Identifier: Apache-2.0
// The simulated joints follow actions, smoothly, and swing by themselves otherwise.
#include "simulated_arm.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace chiral::tools {
namespace {

using namespace std::chrono_literals;

const SimulatedArm::TimePoint start{std::chrono::seconds(1000)};

TEST(SimulatedArm, swings_by_itself_within_its_range) {
    SimulatedArm arm(3, 20.0, start);
    double low = 0.0, high = 0.0;
    for (auto t = start; t < start + 20s; t += 50ms) {
        const auto state = arm.at(t);
        for (const double position : state.position) {
            low = std::min(low, position);
            high = std::max(high, position);
        }
    }
    EXPECT_LT(low, -0.5);
    EXPECT_GT(high, 0.5);
    EXPECT_GT(low, -1.0);
    EXPECT_LT(high, 1.0);
}

TEST(SimulatedArm, approaches_the_target_of_an_action_and_goes_back_to_swinging) {
    SimulatedArm arm(2, 20.0, start), untouched(2, 20.0, start);
    arm.apply({{1.5f, -2.0f}, 1, 2}, start + 1s);
    const double before = arm.at(start + 1s).position[0];
    const double soon = arm.at(start + 1100ms).position[0];
    EXPECT_GT(soon, before);
    EXPECT_LT(soon, 1.5);
    const auto arrived = arm.at(start + 2500ms);
    EXPECT_NEAR(arrived.position[0], 1.5, 0.01);
    EXPECT_NEAR(arrived.position[1], -2.0, 0.01);
    EXPECT_NEAR(arrived.velocity[0], 0.0, 0.1);
    const auto later = start + 1s + SimulatedArm::patience + 3s;
    EXPECT_NEAR(arm.at(later).position[0], untouched.at(later).position[0], 0.01);
}

TEST(SimulatedArm, velocity_is_the_slope_of_position_even_when_the_target_jumps) {
    SimulatedArm arm(1, 20.0, start);
    double position = arm.at(start).position[0];
    for (int i = 1; i < 4000; ++i) {
        if (i % 500 == 0) arm.apply({{i % 1000 == 0 ? 3.0f : -3.0f}, 1, 1}, start + i * 1ms);
        const auto state = arm.at(start + i * 1ms);
        EXPECT_NEAR((state.position[0] - position) / 0.001, state.velocity[0], 0.4) << "at " << i << " ms";
        position = state.position[0];
    }
}

TEST(SimulatedArm, plays_the_rows_of_a_chunk_at_the_control_rate) {
    SimulatedArm arm(1, 1.0, start);  // one row a second
    arm.apply({{1.0f, -1.0f, 2.0f}, 3, 1}, start);
    EXPECT_NEAR(arm.at(start + 950ms).position[0], 1.0, 0.02);
    EXPECT_NEAR(arm.at(start + 1950ms).position[0], -1.0, 0.02);
    EXPECT_NEAR(arm.at(start + 2950ms).position[0], 2.0, 0.02);
    EXPECT_NEAR(arm.at(start + 4500ms).position[0], 2.0, 0.02) << "the last target stays for a while";
}

TEST(SimulatedArm, holds_where_it_comes_to_rest_until_the_next_action) {
    SimulatedArm arm(1, 20.0, start);
    EXPECT_FALSE(arm.hold(start, SimulatedArm::Hold::at_once)) << "it swings by itself: there is nothing to stop";
    arm.apply({{3.0f}, 1, 1}, start);
    const auto moving = arm.at(start + 150ms);
    ASSERT_GT(moving.velocity[0], 1.0);
    EXPECT_TRUE(arm.hold(start + 150ms, SimulatedArm::Hold::at_once));
    EXPECT_FALSE(arm.hold(start + 150ms, SimulatedArm::Hold::at_once)) << "it holds already";
    const double rest = arm.at(start + 2s).position[0];
    EXPECT_GT(rest, moving.position[0]) << "it has turned back";
    EXPECT_LT(rest, 2.9);
    EXPECT_NEAR(arm.at(start + 20s).position[0], rest, 0.001);
    EXPECT_NEAR(arm.at(start + 20s).velocity[0], 0.0, 0.001);
    arm.apply({{-1.0f}, 1, 1}, start + 20s);
    EXPECT_NEAR(arm.at(start + 21900ms).position[0], -1.0, 0.01);
}

TEST(SimulatedArm, plays_a_chunk_to_its_end_before_it_holds_if_it_may) {
    SimulatedArm arm(1, 1.0, start);  // one row a second
    arm.apply({{1.0f, -1.0f}, 2, 1}, start);
    EXPECT_TRUE(arm.hold(start + 100ms, SimulatedArm::Hold::when_played));
    EXPECT_NEAR(arm.at(start + 1900ms).position[0], -1.0, 0.02);
    EXPECT_NEAR(arm.at(start + 20s).position[0], -1.0, 0.02) << "and stays there";
    arm.apply({{1.0f, -1.0f}, 2, 1}, start + 20s);
    EXPECT_TRUE(arm.hold(start + 20900ms, SimulatedArm::Hold::at_once));
    EXPECT_NEAR(arm.at(start + 24s).position[0], 1.0, 0.02);
}

TEST(SimulatedArm, clips_targets_and_ignores_what_it_cannot_use) {
    SimulatedArm arm(3, 20.0, start);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    arm.apply({{100.0f, nan}, 1, 2}, start);
    const auto state = arm.at(start + 1900ms);
    EXPECT_NEAR(state.position[0], 3.14159, 0.01);
    EXPECT_LT(std::abs(state.position[1]), 1.0);
    EXPECT_LT(std::abs(state.position[2]), 1.0);
    arm.apply({{0, 0, 0, 0, 0}, 1, 5}, start + 2s);  // more values than joints
    arm.apply({{1.0f}, 2, 3}, start + 2s);           // fewer values than its shape says: no action
    EXPECT_NEAR(arm.at(start + 3900ms).position[0], 0.0, 0.01);
    arm.reset();
    EXPECT_TRUE(std::isfinite(arm.at(start + 1h).position[0]));
}

TEST(SimulatedArm, time_does_not_run_backwards) {
    SimulatedArm arm(1, 20.0, start);
    const auto now = arm.at(start + 1s);
    EXPECT_EQ(arm.at(start + 500ms).position[0], now.position[0]);
}

}  // namespace
}  // namespace chiral::tools
