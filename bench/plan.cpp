// SPDX-License-Identifier: Apache-2.0
#include "plan.hpp"

namespace chiral::bench {

using std::chrono::milliseconds;

namespace {

constexpr auto flat_out = WriterPace::flat_out;
constexpr auto at_rate = WriterPace::at_rate;

Plan full_plan() {
    Plan plan{};
    plan.repetitions = 31;
    plan.contention = {{64, {0, 1, 2, 4, 8}, flat_out, Load::idle, milliseconds(8)},
                       {4096, {0, 1, 8}, flat_out, Load::idle, milliseconds(8)},
                       {65536, {0, 1, 8}, flat_out, Load::idle, milliseconds(8)},
                       {kVgaBytes, {0, 8}, flat_out, Load::idle, milliseconds(62)},
                       {kVgaBytes, {1, 2, 4}, flat_out, Load::idle, milliseconds(8)},
                       {kFullHdBytes, {0, 1, 8}, flat_out, Load::idle, milliseconds(20)},
                       // Enough for 1000 updates in all repetitions together; with one reader, for a p99.
                       {kVgaBytes, {1}, at_rate, Load::idle, milliseconds(15)},
                       {kVgaBytes, {8}, at_rate, Load::idle, milliseconds(68)},
                       {kVgaBytes, {8}, at_rate, Load::busy, milliseconds(68)},
                       {kFullHdBytes, {8}, at_rate, Load::idle, milliseconds(68)}};
    plan.hold_up_bytes = {64, kVgaBytes};
    plan.age_bytes = {kFullHdBytes};
    plan.age_repetition = milliseconds(45);
    plan.observations = {{"1 x 640x480 RGB-D", 1, 480, 640, true, 40},
                         {"4 x 640x480 RGB-D", 4, 480, 640, true, 15},
                         {"8 x 640x480 RGB-D", 8, 480, 640, true, 10},
                         {"4 x 1920x1080 RGB", 4, 1080, 1920, false, 5}};
    plan.actions = 1500;
    return plan;
}

Plan quick_plan() {
    Plan plan{};
    plan.repetitions = 10;
    plan.contention = {{64, {0, 1, 8}, flat_out, Load::idle, milliseconds(2)},
                       {kVgaBytes, {0, 8}, flat_out, Load::idle, milliseconds(9)},
                       {kVgaBytes, {1}, flat_out, Load::idle, milliseconds(4)},
                       {kVgaBytes, {8}, at_rate, Load::idle, milliseconds(7)},
                       {kVgaBytes, {8}, at_rate, Load::busy, milliseconds(7)}};
    plan.hold_up_bytes = {kVgaBytes};
    plan.age_bytes = {kVgaBytes};
    plan.age_repetition = milliseconds(6);
    plan.observations = {{"1 x 640x480 RGB-D", 1, 480, 640, true, 10},
                         {"4 x 640x480 RGB-D", 4, 480, 640, true, 4},
                         {"8 x 640x480 RGB-D", 8, 480, 640, true, 4}};
    plan.actions = 200;
    return plan;
}

Plan tiny_plan() {
    Plan plan{};
    plan.repetitions = 2;
    plan.contention = {{64, {0, 1}, flat_out, Load::idle, milliseconds(2)},
                       {kVgaBytes, {0, 8}, flat_out, Load::idle, milliseconds(20)},
                       {kVgaBytes, {8}, at_rate, Load::idle, milliseconds(5)},
                       {kVgaBytes, {8}, at_rate, Load::busy, milliseconds(5)}};
    plan.hold_up_bytes = {64};
    plan.age_bytes = {65536};
    plan.age_repetition = milliseconds(5);
    plan.observations = {{"1 x 640x480 RGB-D", 1, 480, 640, true, 3},
                         {"4 x 640x480 RGB-D", 4, 480, 640, true, 3},
                         {"8 x 640x480 RGB-D", 8, 480, 640, true, 3}};
    plan.actions = 20;
    return plan;
}

}  // namespace

Plan plan_for(Effort effort) {
    switch (effort) {
        case Effort::full: return full_plan();
        case Effort::quick: return quick_plan();
        case Effort::tiny: break;
    }
    return tiny_plan();
}

}  // namespace chiral::bench
