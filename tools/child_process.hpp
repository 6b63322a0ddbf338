// SPDX-License-Identifier: Apache-2.0
// A shell command that writes to a pipe which we read, and that cannot outlive us.
//
// The command is the leader of a process group of its own: Ctrl-C at the terminal does not reach it, and ending it ends
// everything that it started.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>

namespace chiral::tools {

class ChildProcess {
public:
    /// Runs `command` with /bin/sh -c; its input is empty, its error output is ours. Throws std::system_error if that
    /// cannot be done; a command that the shell cannot find ends with exit status 127.
    explicit ChildProcess(const std::string& command);
    ChildProcess(const ChildProcess&) = delete;
    /// Kills the group if it is still there.
    ~ChildProcess();

    /// The reading end of the command's standard output; does not block.
    int output() const noexcept { return output_; }

    /// How the command ended, as waitpid() tells it, or nothing while it runs. Kills what it left behind in its group.
    std::optional<int> ended();
    /// Asks the group to end, makes it end after `grace`, and returns when it has.
    void end(std::chrono::milliseconds grace = std::chrono::milliseconds(500));

private:
    pid_t pid_{-1};  // also the number of the group
    int output_{-1};
    std::optional<int> wait_status_;
};

/// "exit status 1" or "killed by signal 15 (Terminated)".
std::string describe_end(int wait_status);

}  // namespace chiral::tools
