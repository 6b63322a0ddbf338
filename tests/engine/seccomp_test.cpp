// SPDX-License-Identifier: Apache-2.0
// No system call on the hot path (I7): a child process forbids itself all but read, write and exit, and then works. The
// kernel kills whoever calls anything else.
#include "support.hpp"
#include "workload.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <memory>

#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace chiral::test {
namespace {

constexpr int kDone = 0;
constexpr int kWrong = 3;
constexpr int kNoSeccomp = 4;
constexpr unsigned kSecondsToLive = 60;  // for a child that hangs; nothing is asserted about it

[[noreturn]] void exit_thread(int code) {
    // exit() and _exit() call exit_group, which strict mode forbids.
    syscall(SYS_exit, code);
    __builtin_unreachable();
}

bool forbid_system_calls() { return prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0; }

/// Runs `work` in a child process and returns how that ended, as wait(2) tells.
template <class Work>
int status_of_child(Work work) {
    const pid_t child = fork();
    if (child == 0) {
        alarm(kSecondsToLive);
        work();
        exit_thread(kWrong);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return status;
}

/// Makes something in a child, which does not inherit an engine, and does `work` with it without system calls. `work` returns
/// the number of wrong results.
template <class Make, class Work>
int status_without_system_calls(Make make, Work work) {
    return status_of_child([&] {
        auto subject = make();
        if (!forbid_system_calls()) exit_thread(kNoSeccomp);
        exit_thread(work(*subject) == 0 ? kDone : kWrong);
    });
}
template <class Work>
int status_without_system_calls(Work work) {
    return status_without_system_calls([] { return std::optional<int>(0); }, [&](int) { return work(); });
}

bool seccomp_is_there() {
    const int status = status_without_system_calls([] { return 0; });
    return WIFEXITED(status) && WEXITSTATUS(status) == kDone;
}

/// Some machines have no clock that can be read without a system call. That is theirs, not the engine's.
bool clock_calls_the_system() {
    return WIFSIGNALED(status_without_system_calls([] { return Clock::now() == TimePoint{} ? 1 : 0; }));
}

TimePoint counting_clock() noexcept {
    static std::atomic<std::int64_t> time{1'000'000'000};
    return at_ns(time.fetch_add(1'000, std::memory_order_relaxed));
}

class TheHotPathWithoutSystemCalls : public ::testing::TestWithParam<Work> {
protected:
    void SetUp() override {
        if (!seccomp_is_there()) GTEST_SKIP() << "no seccomp here";
    }
};

TEST_P(TheHotPathWithoutSystemCalls, IsWalkedToItsEnd) {
    for (const int readers : {1, 14}) {
        const auto now = clock_calls_the_system() ? &counting_clock : nullptr;
        const auto make = [&] {
            auto subject = std::make_unique<Subject>(readers, now);
            const std::vector<std::uint8_t> image(48 * 64 * 3);
            if (!subject->engine.update_image(0, image.data(), image.size())) exit_thread(kWrong);
            return subject;
        };
        const int status =
            status_without_system_calls(make, [&](Subject& subject) { return run(subject, GetParam(), 500); });
        EXPECT_FALSE(WIFSIGNALED(status)) << "killed by signal " << WTERMSIG(status) << ": something called the system";
        EXPECT_EQ(WEXITSTATUS(status), kDone);
    }
}

INSTANTIATE_TEST_SUITE_P(I7, TheHotPathWithoutSystemCalls, ::testing::ValuesIn(kAllWork), [](const auto& param) {
    std::string name = to_string(param.param);
    std::erase(name, ' ');
    return name;
});

TEST(TheSystemCallTrap, KillsOneSingleCall) {
    if (!seccomp_is_there()) GTEST_SKIP() << "no seccomp here";
    const int status = status_without_system_calls([] { return syscall(SYS_getpid) == 0; });
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

TEST(TheSystemCallTrap, KillsAWaiterThatHasToSleep) {
    if (!seccomp_is_there()) GTEST_SKIP() << "no seccomp here";
    const int status = status_without_system_calls(
        [] { return std::make_unique<Subject>(1); },
        [](Subject& subject) { return subject.engine.wait_frame(0, 0, TimePoint::max()) ? 0 : 1; });
    ASSERT_TRUE(WIFSIGNALED(status));
}

// ---- the one exception: waking a sleeper ----

enum class WriterEnd { went_through, was_killed, neither };

/// In a child: a thread sleeps in wait_frame, if `with_sleeper`; another forbids itself system calls and publishes.
WriterEnd publish_without_system_calls(TimePoint (*now)() noexcept, bool with_sleeper) {
    const int status = status_of_child([&] {
        Subject subject(1, now);
        std::atomic<long> sleeper{0}, writer{0};
        std::atomic<bool> published{false};
        // Neither thread is joined: one of them may be dead. The child's end takes them along.
        if (with_sleeper) {
            std::thread([&] {
                sleeper.store(thread_id());
                static_cast<void>(subject.engine.wait_frame(0, subject.engine.newest_frame(0), deadline()));
            }).detach();
            if (!soon([&] { return sleeper.load() != 0 && thread_state(sleeper.load()) == 'S'; })) exit_thread(kWrong);
        }
        std::thread([&] {
            writer.store(thread_id());
            if (!forbid_system_calls()) return;
            const std::uint64_t wrong = run(subject, Work::updates, 1);
            published.store(wrong == 0);
            exit_thread(0);
        }).detach();
        const bool ended =
            soon([&] { return published.load() || (writer.load() != 0 && thread_state(writer.load()) == 0); });
        _exit(!ended ? kWrong : static_cast<int>(published.load() ? WriterEnd::went_through : WriterEnd::was_killed) + 10);
    });
    if (!WIFEXITED(status) || WEXITSTATUS(status) < 10) return WriterEnd::neither;
    return static_cast<WriterEnd>(WEXITSTATUS(status) - 10);
}

TEST(WakingASleeper, IsTheOnlySystemCallOfAnUpdate) {
    if (!seccomp_is_there()) GTEST_SKIP() << "no seccomp here";
    const auto now = clock_calls_the_system() ? &counting_clock : nullptr;
    EXPECT_EQ(publish_without_system_calls(now, false), WriterEnd::went_through);
    EXPECT_EQ(publish_without_system_calls(now, true), WriterEnd::was_killed);
}

}  // namespace
}  // namespace chiral::test
