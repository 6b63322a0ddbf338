// SPDX-License-Identifier: Apache-2.0
#include "robot/watchdog.hpp"

#include "net/thread_name.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <utility>

namespace chiral::robot {
namespace {

constexpr TimePoint::rep kNotDue = std::numeric_limits<TimePoint::rep>::max();
constexpr Duration kLook = std::chrono::milliseconds(500);  // at hooks that do not return
constexpr Duration kAgain = std::chrono::milliseconds(10);  // where there was no memory

TimePoint at(TimePoint::rep ticks) { return TimePoint(TimePoint::duration(ticks)); }

}  // namespace

Watchdog::Watchdog(const Stage& actions, const Stage& requests, std::function<void()> wake,
                   std::function<void(const std::string&)> log)
    : wake_(std::move(wake)),
      log_(std::move(log)),
      reports_{Report{actions}, Report{requests}},
      armed_(kNotDue),
      due_(kNotDue),
      fired_(kNotDue),
      thread_([this] { watch(); }) {}

void Watchdog::join() noexcept {
    {
        const std::lock_guard lock(mutex_);
        ended_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void Watchdog::wake() noexcept {
    wake_asked_.store(true);
    { const std::lock_guard lock(mutex_); }
    changed_.notify_one();
}

// ---- action thread ----

void Watchdog::applied(TimePoint due) noexcept {
    put_off_ = false;
    // What became due while the action was being applied, or in the very moment that it came, is not what is armed now:
    // take_due() passes it over, whenever fire() comes to say it.
    armed_ = due.time_since_epoch().count();
    const Ticks before = due_.exchange(armed_);
    if (before != kNotDue && before <= armed_) return;  // the thread wakes before that by itself
    { const std::lock_guard lock(mutex_); }
    changed_.notify_one();
}

void Watchdog::was_reset(TimePoint due) noexcept {
    if (armed_ == kNotDue || put_off_) return;
    applied(due);
    put_off_ = true;
}

void Watchdog::disarm() noexcept {
    due_.store(kNotDue);
    armed_ = kNotDue;
}

std::optional<TimePoint> Watchdog::take_due() noexcept {
    if (fired_.load() == kNotDue) return std::nullopt;
    const Ticks due = fired_.exchange(kNotDue);
    if (due != armed_) return std::nullopt;
    armed_ = kNotDue;
    return at(due);
}

// ---- its own thread ----

void Watchdog::watch() {
    net::name_this_thread("chiral-watchdog");
    std::unique_lock lock(mutex_);
    while (!ended_) {
        lock.unlock();
        const TimePoint next = look(Clock::now());
        lock.lock();
        // What was armed or asked for since look() is not in `next`; who does so from now on needs the lock to say so.
        if (!ended_ && due_.load() == seen_ && !wake_asked_.load()) changed_.wait_until(lock, next);
    }
}

// Returns when to look again.
TimePoint Watchdog::look(TimePoint now) {
    seen_ = due_.load();
    TimePoint next = now + kLook;
    if (seen_ != kNotDue && at(seen_) > now) next = std::min(next, at(seen_));
    if (seen_ != kNotDue && at(seen_) <= now) fire();
    if (wake_asked_.exchange(false)) wake_owed_ = true;
    if (wake_owed_ && !woken()) next = std::min(next, now + kAgain);
    try {
        say_what_is_stuck(now);
    } catch (const std::exception&) {  // no memory for the words: it is said the next time
    }
    return next;
}

void Watchdog::fire() noexcept {
    Ticks due = seen_;
    if (!due_.compare_exchange_strong(due, kNotDue)) return;
    seen_ = kNotDue;
    fired_.store(due);
    wake_owed_ = true;
}

// False: there was no memory to wake an idle thread with; a busy one looks by itself.
bool Watchdog::woken() noexcept {
    try {
        wake_();
        wake_owed_ = false;
    } catch (const std::exception&) {  // it is owed still
    }
    return !wake_owed_;
}

void Watchdog::say_what_is_stuck(TimePoint now) {
    const bool stopping = stopping_.load(std::memory_order_relaxed);
    for (Report& report : reports_) {
        const char* hook = report.stage.hook();
        const TimePoint since = report.stage.since();
        if (!hook) continue;
        // A reset may take minutes, and get_obs() may wait for something worth sending; not when everybody waits for them.
        const bool may_take_long = std::strcmp(hook, "reset") == 0 || &report == &reports_[1];
        if (may_take_long && !stopping) continue;
        const Duration ran = now - since;
        if (report.of != since) {
            report.of = since;
            report.next = std::chrono::seconds(1);
        }
        if (ran < report.next) continue;
        while (report.next <= ran) report.next *= 2;
        char text[128];
        std::snprintf(text, sizeof text, "%s%s() has not returned for %lld s", stopping ? "stopping waits for a hook: " : "",
                      hook, static_cast<long long>(std::chrono::duration_cast<std::chrono::seconds>(ran).count()));
        log_(text);
    }
}

}  // namespace chiral::robot
