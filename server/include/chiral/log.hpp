// SPDX-License-Identifier: Apache-2.0
// Lines for a person to read, from any thread, at no risk to whoever says them.
//
// A terminal may be stopped (Ctrl-S), standard error may be a pipe that nobody reads, a callback may block: who writes there himself
// waits for as long as that lasts, and in a hook, so does all that stops the robot. So lines are queued, and a thread of the log's own
// passes them on. The queue is bounded in lines and in bytes; what finds no room is left out and counted, and the log says how much
// once there is room. A server has one, for ServerOptions::log; this is for what hooks and sensor threads have to say.
//
//     void on_action_timeout() override {
//         arm_.hold();
//         log_.say("the policy is late: holding still");  // chiral::Log log_;
//     }
#pragma once

#include <chiral/api.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

namespace chiral {

class CHIRAL_API Log {
public:
    using Sink = std::function<void(const std::string&)>;
    static constexpr std::size_t kMostLines = 1024, kMostBytes = 256 * 1024, kLongestLine = 4096;

    /// Lines go to `sink`, which is called on the log's own thread, which has SIGPIPE blocked, a line at a time; what it throws is
    /// dropped with its line. Without one: to the file descriptor `to`, default standard error, behind `prefix`, with control
    /// characters made visible; to nobody if that was closed when this library was loaded, and its number is something else's by now. Throws
    /// std::system_error if there is no thread to be had.
    explicit Log(Sink sink = {}, std::string prefix = {}, int to = 2);
    /// Gives what is queued a second to be passed on. Waits for a call of `sink` that is under way, for a file descriptor not
    /// longer than that.
    ~Log();
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;

    /// Any thread. Waits for nothing but other callers' pushes; may allocate.
    void say(std::string line) noexcept;
    /// Waits until all that was said is passed on. False after `at_most`, and at once on the log's own thread.
    bool flush(std::chrono::milliseconds at_most) noexcept;
    /// Lines left out so far. Any thread.
    std::uint64_t left_out() const noexcept;

private:
    struct State;
    static void work(State& state);

    const std::shared_ptr<State> state_;  // outlives the log where its thread cannot be waited for
    std::thread thread_;
};

}  // namespace chiral
