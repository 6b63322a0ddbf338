// SPDX-License-Identifier: Apache-2.0
// Faults while the load goes on: each happens, and nobody but its victim notices.
#include "stress_command.hpp"

#include <gtest/gtest.h>

#include <string>

namespace chiral::stress::test {
namespace {

struct Case {
    const char* fault;
    const char* options;

    friend void PrintTo(const Case& value, std::ostream* to) { *to << value.fault; }
};

// All that a run with a fault must show, whatever the fault.
void expect_unharmed(const ShortRun& r) {
    ASSERT_EQ(r.outcome.exit_code, 0) << r.outcome.output;
    EXPECT_EQ(r.json["verdict"], "pass");
    for (const char* key : {"torn", "incoherent", "backwards", "stale", "frozen"}) EXPECT_EQ(r.json[key], 0) << key;
    ASSERT_FALSE(r.json["faults"].empty());
    for (const auto& fault : r.json["faults"]) {
        const std::string name = fault["name"];
        EXPECT_GT(fault["happened"], 0) << fault;
        EXPECT_EQ(fault["problem"], "");
        EXPECT_EQ(fault["resumed"], true) << fault;
        EXPECT_GT(fault["resident_before_bytes"], 0);
        EXPECT_GT(fault["resident_after_bytes"], 0);
        for (const std::string& row :
             {"fault " + name + " happens", name + ": memory stays flat", name + ": a newcomer is served afterwards"})
            EXPECT_NE(r.outcome.output.find(row), std::string::npos) << row;
    }
}

class EveryFault : public ::testing::TestWithParam<Case> {};

TEST_P(EveryFault, HarmsNobodyElse) {
    const ShortRun r = run_with_json(std::string("--fault ") + GetParam().fault + " " + GetParam().options);
    expect_unharmed(r);
    EXPECT_EQ(r.json["faults"].size(), 1u);
    EXPECT_EQ(r.json["faults"][0]["name"], GetParam().fault);
}

constexpr const char* kSmall = "--size 64x48 --seconds 2";
constexpr const char* kLocal = "--cameras 2 --size 320x240 --seconds 2 --transport local";
constexpr const char* kServed = "--cameras 2 --size 320x240 --seconds 2 --transport ws";

// More than the kernel's buffers hold.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// Sanitizers make large copies into a slot slower than the canary's, with a fault and without.
constexpr const char* kManyPixels = "--cameras 14 --size 320x240 --camera-hz 10 --seconds 3 --transport ws";
#else
constexpr const char* kManyPixels = "--cameras 8 --size 640x480 --camera-hz 5 --seconds 3 --transport ws";
#endif

INSTANTIATE_TEST_SUITE_P(, EveryFault,
                         ::testing::Values(Case{"stopped_reader", kSmall}, Case{"dead_writer", kSmall},
                                           Case{"late_writer", kSmall}, Case{"fork", kSmall}, Case{"second_writer", kSmall},
                                           Case{"extra_readers", kSmall}, Case{"clock_steps", kSmall},
                                           // 17 MB, or 11: more than the kernel takes for a client that does not read.
                                           Case{"stalled_client", kManyPixels}, Case{"killed_client", kServed},
                                           Case{"reconnect_storm", kServed}, Case{"local_killed", kLocal},
                                           Case{"local_stopped", kLocal}, Case{"local_forked", kLocal},
                                           Case{"local_lies", kLocal}, Case{"local_flood", kLocal},
                                           Case{"local_restart", kLocal}),
                         [](const auto& test) { return std::string(test.param.fault); });

TEST(Faults, AreAllAmongTheCasesAbove) {
    EXPECT_EQ(stress("--fault list").output,
              "stopped_reader\ndead_writer\nlate_writer\nfork\nsecond_writer\nextra_readers\nclock_steps\nstalled_"
              "client\nkilled_client\n"
              "reconnect_storm\nlocal_killed\nlocal_stopped\nlocal_forked\nlocal_lies\nlocal_flood\nlocal_restart\n");
}

TEST(Faults, MayComeOneAfterTheOther) {
    const ShortRun r = run_with_json("--size 64x48 --seconds 3 --transport ws --fault dead_writer --fault killed_client");
    expect_unharmed(r);
    ASSERT_EQ(r.json["faults"].size(), 2u);
    EXPECT_EQ(r.json["faults"][1]["name"], "killed_client");
    EXPECT_GT(r.json["ws"]["observations"], 0);
}

}  // namespace
}  // namespace chiral::stress::test
