// SPDX-License-Identifier: Apache-2.0
#include "verdict.hpp"

#include <gtest/gtest.h>

#include <string>

namespace chiral::stress {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr Limits kLimits{3, microseconds(20), milliseconds(1), milliseconds(250)};

// `count` calls of `usual`, of which the last `outliers` took `long_ones`.
Histogram calls(int count, Nanoseconds usual, int outliers = 0, Nanoseconds long_ones = {}) {
    Histogram h;
    for (int i = 0; i < count; ++i) h.record(i < count - outliers ? usual : long_ones);
    return h;
}

TEST(ExcessOverCanary, IsNoneForEqualTimes) {
    EXPECT_EQ(excess_over_canary(calls(1000, microseconds(400)), calls(1000, microseconds(400)), kLimits), "");
}

TEST(ExcessOverCanary, IsNoneWhereCachesMakeACopySlower) {
    EXPECT_EQ(excess_over_canary(calls(1000, microseconds(1100)), calls(1000, microseconds(400)), kLimits), "");
}

TEST(ExcessOverCanary, NamesAMedianThatIsTooLong) {
    const auto writers = calls(1000, microseconds(1300));
    EXPECT_EQ(excess_over_canary(writers, calls(1000, microseconds(400)), kLimits).substr(0, 3), "p50");
}

TEST(ExcessOverCanary, NamesATailThatTheCanaryDoesNotHave) {
    const auto writers = calls(1000, microseconds(400), 20, milliseconds(5));
    EXPECT_EQ(excess_over_canary(writers, calls(1000, microseconds(400)), kLimits).substr(0, 3), "p99");
}

TEST(ExcessOverCanary, ForgivesATailThatTheCanaryHasALittleLessOften) {
    const auto writers = calls(1000, microseconds(400), 20, milliseconds(5));
    const auto canary = calls(1000, microseconds(400), 5, milliseconds(6));
    EXPECT_EQ(excess_over_canary(writers, canary, kLimits), "");
}

TEST(ExcessOverCanary, NeedsNineLongOnesInAShortRun) {
    const auto canary = calls(100, microseconds(400));
    EXPECT_EQ(excess_over_canary(calls(100, microseconds(400), 8, milliseconds(5)), canary, kLimits), "");
    EXPECT_EQ(excess_over_canary(calls(100, microseconds(400), 9, milliseconds(5)), canary, kLimits).substr(0, 13),
              "ninth-longest");
}

TEST(ExcessOverCanary, NamesASingleStallThatNoSchedulerExplains) {
    const auto writers = calls(1000, microseconds(400), 1, milliseconds(400));
    EXPECT_EQ(excess_over_canary(writers, calls(1000, microseconds(400)), kLimits).substr(0, 7), "longest");
}

TEST(ExcessOverCanary, IsNotJudgedFromAHandfulOfCalls) {
    EXPECT_EQ(excess_over_canary(calls(40, milliseconds(9)), calls(40, microseconds(1)), kLimits), "");
}

// A run in which everything went well.
class VerdictOfRun : public ::testing::Test {
protected:
    VerdictOfRun() {
        options_.cameras = {{"left", 30, 40}};
        options_.engine = find_engine("lockfree");
        result_.seconds = result_.writing_seconds = 10;
        result_.camera_sources = {{"left", 301, 30.0, 30.0, 0, 0, 0}};
        for (WriterTimes* times : {&result_.cameras.writers, &result_.cameras.canaries}) {
            times->lateness = calls(300, microseconds(60));
            times->update.wall = times->update.cpu = calls(300, microseconds(400));
            times->max_steps = 20;
        }
        result_.looks.looks = 1000;
        result_.looks.full_looks = 10;
        result_.every_reader_checked = true;
        result_.writer_step_bound = result_.reader_step_bound = 30;
    }

    std::string failures() const {
        std::string all;
        for (const std::string& failure : judge(options_, result_).failures) all += failure + "\n";
        return all;
    }

    Options options_;
    RunResult result_;
};

TEST_F(VerdictOfRun, PassesWhenAllWentWell) { EXPECT_EQ(failures(), ""); }

TEST_F(VerdictOfRun, FailsForASingleViolationOfAnyKind) {
    for (std::uint64_t Tally::*count :
         {&Tally::torn, &Tally::incoherent, &Tally::backwards, &Tally::stale, &Tally::frozen}) {
        result_.looks.*count = 1;
        EXPECT_NE(failures(), "");
        result_.looks.*count = 0;
        result_.observations.emplace().looks = 1;
        EXPECT_EQ(failures(), "");
        (*result_.observations).*count = 1;
        EXPECT_NE(failures(), "") << "over ws";
        result_.observations.reset();
    }
}

TEST_F(VerdictOfRun, FailsWhenNothingWasChecked) {
    result_.looks.looks = 0;
    EXPECT_NE(failures(), "");
    result_.looks.looks = 1000;
    result_.every_reader_checked = false;
    EXPECT_NE(failures(), "");
    result_.every_reader_checked = true;
    result_.observations.emplace();
    EXPECT_NE(failures(), "") << "a client that got nothing";
}

TEST_F(VerdictOfRun, FailsWhenABoundIsExceeded) {
    result_.cameras.writers.max_steps = 31;
    EXPECT_NE(failures(), "");
    result_.cameras.writers.max_steps = 30;
    result_.readers.max_steps = 31;
    EXPECT_NE(failures(), "");
    result_.reader_step_bound = 0;
    EXPECT_EQ(failures(), "") << "an engine that promises no bound";
}

TEST_F(VerdictOfRun, FailsWhenWritersSleptAndTheCanaryDidNot) {
    // A sanitizer's own sleeps are excused, but never many.
    const std::uint64_t allowed = allowed_sleeps(300, 0);
    EXPECT_GE(allowed, 2u);
    EXPECT_LE(allowed, 10u);
    result_.cameras.writers.update.slept = allowed;
    EXPECT_EQ(failures(), "");
    result_.cameras.writers.update.slept = allowed + 1;
    EXPECT_EQ(failures(), "camera writers wait for nobody (I4): slept in " + std::to_string(allowed + 1) +
                              " of 300 updates; canary 0 of 300\n");
    result_.cameras.canaries.update.slept = 1;
    EXPECT_EQ(failures(), "");
}

TEST_F(VerdictOfRun, FailsWhenASourceLosesItsRate) {
    result_.camera_sources[0].hz = 15;
    EXPECT_EQ(failures(), "");
    result_.camera_sources[0].hz = 14;
    EXPECT_EQ(failures(), "cameras keep their rate: slowest 'left' 14.0 Hz, slowest canary 30.0, asked 30\n");
}

TEST_F(VerdictOfRun, NamesASourceThatIsFrozen) {
    result_.looks.frozen = 1;
    result_.looks.frozen_sources = {"camera 'left'"};
    EXPECT_EQ(failures(), "no source is frozen: camera 'left' shows the same content for ever\n");
}

TEST_F(VerdictOfRun, FailsForAFaultThatDidNotHappenOrLeftSomethingBehind) {
    const FaultOutcome good{"dead_writer", 3, "3 writers died", "", 100 << 20, 100 << 20, ""};
    FaultOutcome& fault = result_.faults.emplace_back(good);
    EXPECT_EQ(failures(), "");
    fault.happened = 0;
    EXPECT_EQ(failures(), "fault dead_writer happens: 3 writers died\n");
    result_.interrupted = true;
    EXPECT_EQ(failures(), "") << "it had no time";
    result_.interrupted = false;
    fault = good;
    fault.problem = "nothing was published";
    EXPECT_EQ(failures(), "fault dead_writer happens: nothing was published; 3 writers died\n");
    fault = good;
    fault.not_resumed = "not every source publishes";
    EXPECT_EQ(failures(), "dead_writer: a newcomer is served afterwards: not every source publishes\n");
    fault = good;
    fault.resident_after += memory_margin(options_.cameras);
    EXPECT_EQ(failures(), "");
    fault.resident_after += 1;
    EXPECT_NE(failures().find("dead_writer: memory stays flat"), std::string::npos);
}

TEST_F(VerdictOfRun, SaysOnlyWhoIsStuckWhenAThreadDidNotEnd) {
    result_.stuck = std::make_shared<int>();
    result_.errors = {"reader 0 is stuck"};
    result_.looks.looks = 0;
    EXPECT_EQ(failures(), "reader 0 is stuck\n");
}

}  // namespace
}  // namespace chiral::stress
