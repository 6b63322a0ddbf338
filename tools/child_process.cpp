// SPDX-License-Identifier: Apache-2.0
#include "child_process.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

extern char** environ;

namespace chiral::tools {

namespace {

[[noreturn]] void fail(int error, const char* what) { throw std::system_error(error, std::generic_category(), what); }

// The child begins with the signals of a program started by a shell, whatever our threads block or ignore.
int spawn_shell(const char* command, int output, pid_t& pid) {
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t files;
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_init(&files);

    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaddset(&defaults, signal);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);

    const char* const arguments[] = {"sh", "-c", command, nullptr};
    const int error = posix_spawn(&pid, "/bin/sh", &files, &attributes, const_cast<char* const*>(arguments), environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    return error;
}

}  // namespace

ChildProcess::ChildProcess(const std::string& command) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) fail(errno, "pipe for a camera command");
    const int error = spawn_shell(command.c_str(), ends[1], pid_);
    close(ends[1]);
    if (error != 0) {
        close(ends[0]);
        fail(error, "start /bin/sh for a camera command");
    }
    output_ = ends[0];
    fcntl(output_, F_SETFL, O_NONBLOCK);
    fcntl(output_, F_SETPIPE_SZ, 1 << 20);  // fewer wake-ups per frame; the default size works, too
}

ChildProcess::~ChildProcess() {
    close(output_);
    end(std::chrono::milliseconds(0));
}

std::optional<int> ChildProcess::ended() {
    if (wait_status_) return wait_status_;
    // Until it is reaped, the dead leader keeps the group's number from being given to somebody else.
    siginfo_t info{};
    if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return {};
    kill(-pid_, SIGKILL);
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {}
    wait_status_ = status;
    return wait_status_;
}

void ChildProcess::end(std::chrono::milliseconds grace) {
    const auto deadline = std::chrono::steady_clock::now() + grace;
    if (ended()) return;
    kill(-pid_, SIGTERM);
    while (!ended() && std::chrono::steady_clock::now() < deadline) poll(nullptr, 0, 5);
    if (ended()) return;
    kill(-pid_, SIGKILL);
    while (!ended()) poll(nullptr, 0, 1);
}

std::string describe_end(int wait_status) {
    if (WIFEXITED(wait_status)) return fmt::format("exit status {}", WEXITSTATUS(wait_status));
    const int signal = WTERMSIG(wait_status);
    return fmt::format("killed by signal {} ({})", signal, strsignal(signal));
}

}  // namespace chiral::tools
