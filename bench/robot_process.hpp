// SPDX-License-Identifier: Apache-2.0
// The robot, in a process of its own: a PolicyServer, the bare TCP sender of the same bytes, and somebody to ask what they
// used.
//
// Two processes, because the client's work must not be counted as the server's, and because that is how it is used.
#pragma once

#include "plan.hpp"
#include "process_counters.hpp"
#include "samples.hpp"

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace chiral::bench {

class RobotProcess {
public:
    /// Forks: the calling process has no other thread yet. `camera_hz` 0: nothing is published after the first frames.
    /// `zenoh`: it serves Zenoh, too.
    RobotProcess(const ObservationCase& setup, double camera_hz, bool zenoh = false);
    ~RobotProcess();
    RobotProcess(const RobotProcess&) = delete;

    int server_port() const { return ports_.server; }
    int floor_port() const { return ports_.floor; }
    int zenoh_port() const { return ports_.zenoh; }
    /// For clients on the same machine.
    std::string local_uri() const { return "unix://" + local_socket_; }
    /// What the robot's process has used so far, without the CPU time of its sensor thread.
    ProcessCounters counters() const;
    /// From an action's receipt to its callback, of all actions so far; forgets them.
    Values action_latencies() const;
    /// get_obs() waits for frames newer than the last ones from now on, or no longer does.
    void wait_for_frames(bool wait) const;

private:
    struct Ports {
        int server, floor, zenoh;
    };
    [[noreturn]] void be_the_robot(const ObservationCase& setup, double camera_hz, bool zenoh, int control) const;
    void ask(char what) const;
    void get(void* data, std::size_t size) const;

    std::string local_socket_;
    pid_t child_{-1};
    int control_{-1};
    Ports ports_{};
};

/// The pieces of which an observation of these cameras consists on the wire, the first being its head.
std::vector<std::size_t> piece_sizes(const ObservationCase& setup);

}  // namespace chiral::bench
