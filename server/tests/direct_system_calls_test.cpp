// SPDX-License-Identifier: Apache-2.0
// A client that reads directly calls the system neither to look at the newest image nor to give it back: a process in which one
// forbids itself to is killed by the kernel if it does. Sanitizers call the system themselves.
#include "local_processes.hpp"
#include "local_robot.hpp"

#include <cstddef>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace chiral::test {
namespace {

/// For this thread: whatever it asks of the system but to end ends the process.
bool forbid_system_calls() {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

constexpr int kNoFilter = 4;

/// How a process ends in which a client does that without system calls.
int status_of(const LocalRobot& robot, const std::function<void(PolicyClient&)>& look) {
    const pid_t process = start_process([&] {
        PolicyClient client(robot.uri());
        client.connect();
        look(client);  // what it needs of memory, it has then
        if (!forbid_system_calls()) _exit(kNoFilter);
        for (int i = 0; i < 1000; ++i) look(client);
        _exit(0);
    });
    int status = 0;
    EXPECT_EQ(waitpid(process, &status, 0), process);
    return status;
}

TEST(DirectReading, CallsNoSystem) {
    LocalRobot robot([](ServerOptions& options) { options.access.local.direct_readers = 1; });
    robot.publish(1);
    CameraInfo camera;
    const int status = status_of(robot, [&](PolicyClient& client) {
        client.get_camera("wrist", camera);
        if (!client.reads_directly() || camera.sequence != 1) _exit(1);
    });
    if (WIFEXITED(status) && WEXITSTATUS(status) == kNoFilter) GTEST_SKIP() << "no seccomp here";
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
    // For comparison: who has to ask does.
    ASSERT_TRUE(eventually([&] { return robot.log.count(" gone: ") == 1; }));
    Observation obs;
    EXPECT_TRUE(WIFSIGNALED(status_of(robot, [&](PolicyClient& client) { client.get_obs(obs); })));
}

}  // namespace
}  // namespace chiral::test
