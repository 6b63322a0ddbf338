// SPDX-License-Identifier: Apache-2.0
// A thread that does one thing at a fixed rate, until it is stopped or the thing fails.
//
// Periods lie on a fixed grid that begins at the start, so that delays do not add up. A turn that takes longer than its
// period makes it miss periods; they are skipped, never made up for in a burst.
//
// start() and stop() may be called from any thread but its own.
#pragma once

#include <chiral/time.hpp>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace chiral::client {

class PacedThread {
public:
    /// `what` names it in messages: "the observation stream".
    explicit PacedThread(std::string what) : what_(std::move(what)) {}
    ~PacedThread() { stop(); }
    PacedThread(const PacedThread&) = delete;
    PacedThread& operator=(const PacedThread&) = delete;

    /// Calls `turn` `hz` times a second, first at once, and `ended` when that is over. An exception from `turn` ends it,
    /// and its text is the error. Forgets an earlier error, and calls `prepare` before the thread begins. Throws
    /// std::invalid_argument unless 0 < hz <= 10000, and std::logic_error while it runs.
    void start(
        double hz, std::function<void()> turn, std::function<void()> ended, const std::function<void()>& prepare = [] {});
    /// Asks it to end after the current turn. What that turn still throws is no error.
    void request_stop();
    /// Asks, and waits until it has ended.
    void stop();

    bool running() const;
    /// Why it ended by itself; nothing if it did not.
    std::optional<std::string> error() const;

private:
    void run(Duration period, const std::function<void()>& turn);

    const std::string what_;
    std::mutex control_;  // held while the thread is started or joined; never taken by the thread itself
    std::thread thread_;

    mutable std::mutex mutex_;
    std::condition_variable stopped_;
    bool stop_{false};
    bool running_{false};
    std::optional<std::string> error_;
};

}  // namespace chiral::client
