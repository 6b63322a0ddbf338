// SPDX-License-Identifier: Apache-2.0
// chiral-stress as a user meets it: exit codes, messages, and the JSON that other programs read.
#include "stress_command.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <string>

namespace fs = std::filesystem;
using namespace chiral::stress::test;

namespace {

ShortRun run(const std::string& options) { return run_with_json("--size 64x48 --seconds 2 " + options); }

void expect_quantiles(const nlohmann::json& json) {
    for (const char* key : {"p50", "p99", "p999", "max"}) ASSERT_TRUE(json.contains(key)) << json;
    EXPECT_GE(json["p50"], 0.0);
    EXPECT_LE(json["p50"], json["p99"]);
    EXPECT_LE(json["p99"], json["p999"]);
    EXPECT_LE(json["p999"], json["max"]);
}

// What holds of every run that saw nothing wrong.
void expect_sane(const nlohmann::json& json) {
    for (const char* key : {"verdict",
                            "failures",
                            "interrupted",
                            "seconds",
                            "snapshots",
                            "snapshots_checked_in_full",
                            "torn",
                            "incoherent",
                            "backwards",
                            "stale",
                            "frozen",
                            "mixed",
                            "writer_max_steps",
                            "writer_step_bound",
                            "reader_max_steps",
                            "reader_step_bound",
                            "lateness_us",
                            "update_us",
                            "update_cpu_us",
                            "update_sleeps",
                            "snapshot_us",
                            "rtt_ms",
                            "ws",
                            "sources",
                            "config",
                            "machine"})
        ASSERT_TRUE(json.contains(key)) << key;
    EXPECT_NEAR(json["seconds"], 2.0, 1.0);
    EXPECT_GT(json["snapshots"], 0);
    EXPECT_GT(json["snapshots_checked_in_full"], 0);
    for (const char* key : {"torn", "backwards", "stale"}) EXPECT_EQ(json[key], 0) << key;
    for (const char* measure : {"lateness_us", "update_us", "update_cpu_us"})
        for (const char* kind : {"camera", "proprio"}) {
            expect_quantiles(json[measure][kind]);
            expect_quantiles(json[measure][kind]["canary"]);
        }
    ASSERT_EQ(json["sources"].size(), 6u);
    for (const auto& source : json["sources"]) {
        EXPECT_GT(source["published"], 1) << source;
        EXPECT_LT(source["hz"], source["kind"] == "camera" ? 40.0 : 600.0) << source;
    }
    EXPECT_EQ(json["config"]["cameras"].size(), 3u);
    for (const char* key : {"cpu", "kernel", "compiler"}) EXPECT_NE(json["machine"][key], "") << key;
}

TEST(StressCommand, LockfreePassesInThisProcess) {
    const ShortRun r = run("");
    EXPECT_EQ(r.outcome.exit_code, 0) << r.outcome.output;
    EXPECT_NE(r.outcome.output.find("\nverdict: pass\n"), std::string::npos) << r.outcome.output;
    expect_sane(r.json);
    EXPECT_EQ(r.json["verdict"], "pass");
    EXPECT_EQ(r.json["incoherent"], 0);
    EXPECT_TRUE(r.json["failures"].empty());
    EXPECT_GT(r.json["writer_max_steps"], 0);
    EXPECT_LE(r.json["writer_max_steps"], r.json["writer_step_bound"]);
    EXPECT_GT(r.json["reader_max_steps"], 0);
    EXPECT_LE(r.json["reader_max_steps"], r.json["reader_step_bound"]);
    EXPECT_TRUE(r.json["ws"].is_null());
}

TEST(StressCommand, LockfreePassesOverWebSocket) {
    const ShortRun r = run("--transport ws --readers 2");
    EXPECT_EQ(r.outcome.exit_code, 0) << r.outcome.output;
    expect_sane(r.json);
    EXPECT_EQ(r.json["incoherent"], 0);
    EXPECT_GT(r.json["ws"]["observations"], 0);
    EXPECT_GT(r.json["ws"]["bytes"], r.json["ws"]["observations"].get<double>() * 64 * 48 * 3 * 3);
    expect_quantiles(r.json["rtt_ms"]);
}

TEST(StressCommand, LockfreePassesOverALocalSocket) {
    const ShortRun r = run("--transport local --readers 2");
    EXPECT_EQ(r.outcome.exit_code, 0) << r.outcome.output;
    expect_sane(r.json);
    EXPECT_EQ(r.json["incoherent"], 0);
    EXPECT_EQ(r.json["config"]["transport"], "local");
    EXPECT_GT(r.json["ws"]["observations"], 0);
    expect_quantiles(r.json["rtt_ms"]);
    EXPECT_GT(r.json["direct"]["looks"], 0);
    EXPECT_GT(r.json["direct"]["checked_in_full"], 0);
    expect_quantiles(r.json["direct"]["look_us"]);
}

TEST(StressCommand, LockfreePassesWhenFieldsArePublishedOneByOne) {
    const ShortRun r = run("--writes fields");
    EXPECT_EQ(r.outcome.exit_code, 0) << r.outcome.output;
    expect_sane(r.json);
    EXPECT_EQ(r.json["incoherent"], 0);
}

TEST(StressCommand, NamesTheWordsThatAnOptionTakes) {
    for (const auto& [option, words] :
         {std::pair{"--transport", "{inproc,local,ws}"}, std::pair{"--writes", "{fields,frame}"}}) {
        const Outcome o = stress(std::string(option) + " nope");
        EXPECT_EQ(o.exit_code, 2);
        EXPECT_NE(o.output.find(std::string("nope not in ") + words), std::string::npos) << o.output;
    }
}

// Where the limits do not allow it, it says at once what would.
TEST(StressCommand, RunsAsOnARealTimeRobotWhereItMay) {
    const Outcome o = stress("--rt --size 64x48 --seconds 2");
    if (o.exit_code == 0) {
        EXPECT_NE(o.output.find("; real time on "), std::string::npos) << o.output;
        EXPECT_NE(o.output.find("verdict: pass"), std::string::npos) << o.output;
    } else {
        EXPECT_EQ(o.exit_code, 1) << o.output;
        EXPECT_NE(o.output.find("--rt: "), std::string::npos) << o.output;
        EXPECT_NE(o.output.find("raise the limit"), std::string::npos) << o.output;
    }
}

// Whether its writers had to wait in two seconds is chance, so only the contents are asked for, and that the figures are there.
TEST(StressCommand, MutexIsNotTornAndShowsItsStalls) {
    const ShortRun r = run("--engine mutex --writes fields");
    expect_sane(r.json);
    EXPECT_EQ(r.json["incoherent"], 0);
    EXPECT_TRUE(r.json["writer_max_steps"].is_null()) << "it counts no steps";
    for (const char* kind : {"camera", "proprio"}) {
        const auto& sleeps = r.json["update_sleeps"][kind];
        EXPECT_GT(sleeps["updates"], 0);
        EXPECT_LE(sleeps["slept"], sleeps["updates"]);
        EXPECT_NE(
            r.outcome.output.find("slept in " + sleeps["slept"].dump() + " of " + sleeps["updates"].dump() + " updates"),
            std::string::npos)
            << r.outcome.output;
        EXPECT_NE(r.outcome.output.find(std::string(kind) + " writers wake on time"), std::string::npos) << r.outcome.output;
    }
}

TEST(StressCommand, MutexIsServedFromCopies) {
    const ShortRun r = run("--engine mutex --writes fields --transport ws");
    expect_sane(r.json);
    EXPECT_EQ(r.json["incoherent"], 0);
    EXPECT_GT(r.json["ws"]["observations"], 0);
}

TEST(StressCommand, ABrokenEngineFailsWithTheReason) {
    const ShortRun r = run("--engine split_commit");
    EXPECT_EQ(r.outcome.exit_code, 1) << r.outcome.output;
    EXPECT_EQ(r.json["verdict"], "fail");
    EXPECT_EQ(r.json["torn"], 0);
    EXPECT_GT(r.json["incoherent"], 0);
    ASSERT_FALSE(r.json["failures"].empty());
    const std::string reason = r.json["failures"][0];
    EXPECT_EQ(reason.find("the buffers of a camera are one frame (I3): "), 0u) << reason;
    EXPECT_NE(r.outcome.output.find("verdict: fail: " + reason), std::string::npos) << r.outcome.output;
}

TEST(StressCommand, ABrokenEngineIsFoundWhileItIsServed) {
    const ShortRun r = run("--engine frozen_source --transport ws");
    EXPECT_EQ(r.outcome.exit_code, 1) << r.outcome.output;
    EXPECT_GT(r.json["ws"]["observations"], 0);
    const std::string reason = r.json["failures"].at(0);
    EXPECT_EQ(reason, "no source is frozen: camera 'cam0' shows the same content for ever");
}

TEST(StressCommand, ASourceKindMayBeMissing) {
    EXPECT_EQ(stress("--cameras 0 --seconds 1").exit_code, 0);
    EXPECT_EQ(stress("--cameras 1 --size 33x7 --no-depth --proprios 0 --seconds 1").exit_code, 0);
}

TEST(StressCommand, ChecksElementsOfOtherTypes) {
    const ShortRun r = run("--transport ws --depth-dtype uint16 --image-dtype int16 --proprio-dtype float64");
    EXPECT_EQ(r.outcome.exit_code, 0) << r.outcome.output;
    EXPECT_EQ(r.json["config"]["cameras"][0]["depth_dtype"], "uint16");
    EXPECT_EQ(r.json["config"]["cameras"][0]["image_dtype"], "int16");
    EXPECT_EQ(stress("--depth-dtype bool --seconds 1").exit_code, 2) << "no frame can be told from the next one";
    EXPECT_EQ(stress("--proprio-dtype uint8 --seconds 1").exit_code, 2);
}

TEST(StressCommand, HelpSucceedsAndShowsExamples) {
    const Outcome help = stress("--help");
    EXPECT_EQ(help.exit_code, 0);
    for (const char* option :
         {"--seconds", "--cameras", "--size", "--no-depth", "--proprios", "--camera-hz", "--proprio-hz", "--reader-hz",
          "--readers", "--transport", "--json", "--engine", "--fault", "--listen", "--writes", "Examples"})
        EXPECT_NE(help.output.find(option), std::string::npos) << option;
}

TEST(StressCommand, EngineListPrintsOneNameALine) {
    const Outcome list = stress("--engine list");
    EXPECT_EQ(list.exit_code, 0);
    EXPECT_EQ(list.output,
              "lockfree\nmutex\npublish_early\nno_recheck\nshared_slot\nsplit_commit\nslow_lock\nfrozen_source\n");
}

TEST(StressCommand, AnUnknownEngineIsAUsageErrorThatNamesTheKnownOnes) {
    const Outcome outcome = stress("--engine seqlock");
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_NE(outcome.output.find("no engine 'seqlock'; there are: lockfree, mutex"), std::string::npos) << outcome.output;
}

TEST(StressCommand, AFaultThatCannotBeIsAUsageErrorThatSaysWhy) {
    const auto expect = [](const std::string& options, const std::string& why) {
        const Outcome outcome = stress(options);
        EXPECT_EQ(outcome.exit_code, 2) << options;
        EXPECT_NE(outcome.output.find(why), std::string::npos) << outcome.output;
    };
    expect("--fault nonsense", "there are: stopped_reader, dead_writer, late_writer");
    expect("--fault dead_writer --fault nonsense", "there are: stopped_reader, dead_writer, late_writer");
    expect("--fault dead_writer --engine mutex", "--fault: needs --engine lockfree and --writes frame");
    expect("--fault dead_writer --writes fields", "--fault: needs --engine lockfree and --writes frame");
    expect("--fault killed_client", "--fault killed_client: needs --transport ws");
    expect("--fault local_lies --transport ws", "--fault local_lies: needs --transport local");
    expect("--fault dead_writer --cameras 0", "--fault dead_writer: needs a camera");
    expect("--fault extra_readers --readers 13", "--readers: 13, here at most 12");
    expect("--transport local --fault local_lies --readers 2", "--readers: 2, here at most 1");
}

TEST(StressCommand, APortForOthersThatCannotBeIsAUsageErrorThatSaysWhy) {
    for (const char* options :
         {"--listen 0", "--listen 0 --transport ws --engine mutex", "--listen 0 --transport ws --fault all"}) {
        SCOPED_TRACE(options);
        const Outcome r = stress(options);
        EXPECT_EQ(r.exit_code, 2);
        EXPECT_NE(r.output.find("--listen: needs --transport ws and --engine lockfree, and no --fault"), std::string::npos)
            << r.output;
    }
    EXPECT_NE(stress("--listen 0 --transport ws --readers 9").output.find("--readers: 9, here at most 8"),
              std::string::npos);
}

TEST(StressCommand, WrongOptionsAreUsageErrors) {
    for (const char* options :
         {"--size 64", "--size 64x48x3", "--size 0x0", "--cameras -1", "--camera-hz 0", "--readers 0", "--transport tcp",
          "--writes both", "--seconds x", "--nonsense", "--cameras 0 --proprios 0", "--transport ws --readers 12"})
        EXPECT_EQ(stress(options).exit_code, 2) << options;
}

TEST(StressCommand, AJsonFileThatCannotBeWrittenFailsBeforeTheRun) {
    const auto before = std::chrono::steady_clock::now();
    const Outcome outcome = stress("--seconds 60 --json /nonexistent/result.json");
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(20));
    EXPECT_NE(outcome.output.find("cannot write '/nonexistent/result.json': No such file or directory"), std::string::npos)
        << outcome.output;
}

TEST(StressCommand, AFullDiskIsAnErrorThoughTheRunPassed) {
    if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
    const Outcome outcome = stress("--size 64x48 --seconds 1 --json /dev/full");
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_NE(outcome.output.find("cannot write '/dev/full': No space left on device"), std::string::npos) << outcome.output;
    EXPECT_EQ(shell(std::string(CHIRAL_STRESS) + " --size 64x48 --seconds 1 2>&1 >/dev/full; exit $?").exit_code, 1);
}

TEST(StressCommand, CtrlCEndsEarlyWithTheTableOverWhatRan) {
    const Outcome outcome =
        shell(std::string("timeout --preserve-status -s INT 2 ") + CHIRAL_STRESS + " --size 64x48 --seconds 60");
    EXPECT_EQ(outcome.exit_code, 130) << outcome.output;
    EXPECT_NE(outcome.output.find("verdict: pass (interrupted after"), std::string::npos) << outcome.output;
}

}  // namespace
