// SPDX-License-Identifier: Apache-2.0
// Lines for a person to read, from any thread, at no risk to whoever says them.
//
// Standard error may be a pipe that nobody reads, and a log callback may block: either would stop the network thread, and with
// it the watchdog, for as long as that lasts. So lines are queued, and a thread of the log's own passes them on. The queue is
// bounded in lines and in bytes; what finds no room is left out and counted, and the log says how much once there is room.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

namespace chiral::net {

class Log {
public:
    using Sink = std::function<void(const std::string&)>;
    static constexpr std::size_t kMostLines = 1024, kMostBytes = 256 * 1024, kLongestLine = 4096;

    /// `sink` is called on the log's own thread, which has SIGPIPE blocked, a line at a time; what it throws is dropped with
    /// its line. Without one: lines go to standard error behind `prefix`, control characters made visible.
    explicit Log(Sink sink, std::string prefix = {});
    /// Gives what is queued a second to be passed on. Waits for a call of `sink` that is under way, for standard error not
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

}  // namespace chiral::net
