// SPDX-License-Identifier: Apache-2.0
// Notices that the robot was told nothing new for too long, and that a hook does not return.
//
// It has a thread of its own, which decides by the time alone. It waits for no lock that is held during I/O, a hook or a
// write to a log; so neither a client, nor a blocked network thread, nor what waits in a queue can keep it from deciding.
// on_action_timeout() itself belongs to the action thread, like every hook that moves the robot: it is called there ahead
// of everything that is queued, at once if the thread is idle. While another hook keeps that thread, nothing can be called
// on it; that it is stuck is then said in the log, with the name of the hook and for how long.
#pragma once

#include <chiral/time.hpp>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace chiral::robot {

/// Which hook runs on a thread, since when.
class Stage {
public:
    /// The thread of the hooks.
    void enter(const char* hook) noexcept {
        since_.store(Clock::now().time_since_epoch().count(), std::memory_order_relaxed);
        hook_.store(hook, std::memory_order_release);
    }
    void leave() noexcept { hook_.store(nullptr, std::memory_order_release); }

    /// Any thread; null if none runs.
    const char* hook() const noexcept { return hook_.load(std::memory_order_acquire); }
    TimePoint since() const noexcept { return TimePoint(Duration(since_.load(std::memory_order_relaxed))); }

private:
    std::atomic<const char*> hook_{nullptr};
    std::atomic<TimePoint::rep> since_{0};
};

class Watchdog {
public:
    /// `wake` has the action thread call take_due(); it must not block, and is called again where it throws. `log` must not throw.
    /// `actions` and `requests` are where hooks run.
    Watchdog(const Stage& actions, const Stage& requests, std::function<void()> wake,
             std::function<void(const std::string&)> log);
    ~Watchdog() { join(); }
    Watchdog(const Watchdog&) = delete;

    // ---- action thread ----

    /// An action has been applied, and the next one is due at `due`; TimePoint::max(): whenever it comes. What became due while
    /// it was being applied is forgotten: nobody was late.
    void applied(TimePoint due) noexcept;
    /// When the next action is due.
    TimePoint due() const noexcept { return TimePoint(Duration(armed_)); }
    /// A reset() has returned, and whether the robot stands only that knows: what was due, or became due meanwhile, is due at `due`. Once
    /// behind each action, or resets would put it off for ever. Where nothing was due, nothing is.
    void was_reset(TimePoint due) noexcept;
    /// Nobody is in control: nothing is due.
    void disarm() noexcept;
    /// When the time-out ended for which on_action_timeout() is to be called now, if there is one. Once for each silence.
    std::optional<TimePoint> take_due() noexcept;

    // ---- any thread ----

    /// Has the action thread woken, as soon as there is memory for that.
    void wake() noexcept;
    /// The server is to stop: hooks that keep it from that are named in the log.
    void stopping() noexcept { stopping_.store(true, std::memory_order_relaxed); }
    /// Ends the thread.
    void join() noexcept;

private:
    using Ticks = TimePoint::rep;
    struct Report {  // on one stage
        const Stage& stage;
        TimePoint of{};   // the call that was last reported
        Duration next{};  // when that is reported again
    };

    void watch();
    TimePoint look(TimePoint now);
    void fire() noexcept;
    bool woken() noexcept;
    void say_what_is_stuck(TimePoint now);

    const std::function<void()> wake_;
    const std::function<void(const std::string&)> log_;
    std::array<Report, 2> reports_;
    Ticks seen_{0};          // of due_, by the last look()
    bool wake_owed_{false};  // of its own thread
    Ticks armed_;            // action thread: for when the next action is due
    bool put_off_{false};    // action thread: a reset() has, since the last action
    std::atomic<Ticks> due_;
    std::atomic<Ticks> fired_;
    std::atomic<bool> stopping_{false}, wake_asked_{false};
    std::mutex mutex_;  // held for moments only: it orders the notification with the wait
    std::condition_variable changed_;
    bool ended_{false};
    std::thread thread_;
};

}  // namespace chiral::robot
