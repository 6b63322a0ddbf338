// SPDX-License-Identifier: Apache-2.0
// The log: nobody who says something waits for whoever reads it; and what reaches a terminal.
#include "client/guarded_log.hpp"
#include "net/printable.hpp"

#include "standard_error.hpp"
#include "support.hpp"

#include <chiral/log.hpp>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include <fcntl.h>
#include <unistd.h>

namespace chiral::test {
namespace {

using net::printable;

TEST(Log, PassesLinesOnInOrder) {
    LogBook book;
    Log log(book.sink());
    for (int i = 0; i < 100; ++i) log.say("line " + std::to_string(i));
    EXPECT_TRUE(log.flush(kDeadline));
    for (int i = 0; i < 100; ++i) EXPECT_GE(book.count("line " + std::to_string(i)), 1u);
    EXPECT_EQ(log.left_out(), 0u);
}

TEST(Log, LeavesOutWhatFindsNoRoomAndSaysSoWhenThereIsSome) {
    Gate reader;
    LogBook book;
    const auto sink = book.sink();
    Log log([&](const std::string& line) {
        reader.pass();
        sink(line);
    });
    const OpensAtEnd opens(reader);
    log.say("first");
    ASSERT_TRUE(reader.reached());
    for (std::size_t i = 0; i < Log::kMostLines + 50; ++i) log.say("more");
    EXPECT_EQ(log.left_out(), 50u);
    reader.open();
    EXPECT_TRUE(book.wait_for("left out 50 lines"));
    EXPECT_TRUE(log.flush(kDeadline));
    EXPECT_EQ(book.count("more"), Log::kMostLines);
}

TEST(Log, IsBoundedInBytesToo) {
    Gate reader;
    Log log([&](const std::string&) { reader.pass(); });
    const OpensAtEnd opens(reader);
    log.say("first");
    ASSERT_TRUE(reader.reached());
    for (std::size_t i = 0; i < Log::kMostBytes / Log::kLongestLine; ++i) log.say(std::string(1 << 20, 'x'));
    EXPECT_EQ(log.left_out(), 0u) << "long lines are cut";
    log.say("one more");
    EXPECT_EQ(log.left_out(), 1u);
}

TEST(Log, SurvivesAReaderThatThrows) {
    LogBook book;
    const auto sink = book.sink();
    Log log([&](const std::string& line) {
        if (line == "bad") throw std::runtime_error("cannot");
        sink(line);
    });
    log.say("bad");
    log.say("good");
    EXPECT_TRUE(book.wait_for("good"));
}

TEST(LogToStandardError, MakesControlCharactersVisible) {
    PipedStandardError piped;
    Log log(nullptr, "robot: ");
    log.say("he\x1b[2Jllo\n");
    EXPECT_EQ(piped.read_some(), "robot: he?[2Jllo?\n");
}

TEST(Log, PassesEmptyLinesOnToTheDescriptorItIsGiven) {
    PipedStandardError other;
    const int to = ::dup(STDERR_FILENO);
    {
        PipedStandardError piped;
        Log log({}, {}, to);
        log.say({});
        log.say("line");
        ASSERT_TRUE(log.flush(kDeadline));
    }
    ::close(to);
    EXPECT_EQ(other.read_some(), "\nline\n");
}

TEST(LogToStandardError, ThatNobodyReadsHoldsNobodyUpAndEnds) {
    PipedStandardError piped;
    piped.fill();
    Log log(nullptr);
    for (int i = 0; i < 2000; ++i) log.say("line");
    EXPECT_GE(log.left_out(), 2000 - Log::kMostLines - 1);
    // The end of the scope ends the log all the same.
}

TEST(LogToStandardError, WhoseReaderHasGoneDoesNotEndTheProgram) {
    PipedStandardError piped;
    piped.close_reading_end();
    Log log(nullptr);
    log.say("line");  // SIGPIPE ends a program that does nothing about it
    EXPECT_TRUE(log.flush(kDeadline));
}

// In a process of its own, which began without a standard error.
TEST(LogToStandardError, WritesNothingToWhatWasOpenedInTheStandardErrorsPlace) {
    constexpr const char* kOpened = "CHIRAL_TEST_OPENED";
    if (const char* opened = std::getenv(kOpened)) {
        const int file = ::open(opened, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (file != STDERR_FILENO) ::dup2(file, STDERR_FILENO);
        client::guarded_log({})("of a client");
        Log log(nullptr);
        log.say("line");
        std::_Exit(log.flush(kDeadline) && ::lseek(STDERR_FILENO, 0, SEEK_END) == 0 ? 0 : 1);
    }
    const std::string itself = std::filesystem::read_symlink("/proc/self/exe").string();
    const std::string opened = testing::TempDir() + "opened_as_standard_error." + std::to_string(::getpid());
    const std::string command =
        "env -u GTEST_TOTAL_SHARDS " + std::string(kOpened) + "='" + opened + "' '" + itself +
        "' --gtest_filter=LogToStandardError.WritesNothingToWhatWasOpenedInTheStandardErrorsPlace 2>&-";
    EXPECT_EQ(std::system(command.c_str()), 0);
    EXPECT_TRUE(std::filesystem::remove(opened)) << "it was opened";
}

TEST(Printable, LeavesNothingThatATerminalObeysOrThatTurnsTextRound) {
    EXPECT_EQ(printable("\x1b[31m"), "?[31m");
    EXPECT_EQ(printable("a\xc2\x9b"
                        "31m"),
              "a?31m")
        << "C1: CSI";
    EXPECT_EQ(printable("\xc2\x80\xc2\x9f\xc2\xa0"), "??\xc2\xa0");
    EXPECT_EQ(printable("a\xe2\x80\xae"
                        "b"),
              "a?b")
        << "U+202E, right-to-left override";
    for (const char* mark : {"\xd8\x9c", "\xe2\x80\x8e", "\xe2\x80\x8f", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaa",
                             "\xe2\x81\xa6", "\xe2\x81\xa9"})
        EXPECT_EQ(printable(mark), "?");
    EXPECT_EQ(printable("\xe2\x80\x8d \xe2\x82\xac \xf0\x9f\xa6\xbe"), "\xe2\x80\x8d \xe2\x82\xac \xf0\x9f\xa6\xbe");
}

}  // namespace
}  // namespace chiral::test
