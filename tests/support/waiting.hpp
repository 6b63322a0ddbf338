// SPDX-License-Identifier: Apache-2.0
// How tests wait: for the thing itself, and never longer than a deadline that only a failing test meets.
#pragma once

#include <chiral/time.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

namespace chiral::test {

/// However slow the machine and the sanitizer: what has not happened by then will not happen. Nothing is asserted about how
/// long it takes.
inline constexpr std::chrono::seconds kDeadline{60};

inline TimePoint deadline() { return Clock::now() + kDeadline; }

/// Waits for a condition that nothing announces: a counter of another thread, the end of a connection. False at the deadline.
template <class Condition>
[[nodiscard]] bool eventually(Condition&& condition) {
    const TimePoint end = deadline();
    while (!condition()) {
        if (Clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

/// The same without sleeping, for what lasts less than a millisecond.
template <class Condition>
[[nodiscard]] bool soon(Condition&& condition) {
    const TimePoint end = deadline();
    while (!condition()) {
        if (Clock::now() > end) return false;
        std::this_thread::yield();
    }
    return true;
}

/// A value that tests wait for. Any thread.
template <class T>
class Watched {
public:
    explicit Watched(T value = {}) : value_(std::move(value)) {}
    template <class Change>
    void change(Change&& how) {
        {
            const std::lock_guard lock(mutex_);
            how(value_);
        }
        changed_.notify_all();
    }
    void set(T value) {
        change([&](T& current) { current = std::move(value); });
    }
    T get() const {
        const std::lock_guard lock(mutex_);
        return value_;
    }
    /// False at the deadline.
    template <class Condition>
    bool wait(Condition&& condition) const {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, kDeadline, [&] { return condition(std::as_const(value_)); });
    }

private:
    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    T value_;
};

/// Hooks stop here until the test opens it, which it does at the latest when it ends.
class Gate {
public:
    void open() { open_.set(true); }
    void pass() {
        waiting_.change([](int& waiting) { ++waiting; });
        EXPECT_TRUE(open_.wait([](bool open) { return open; })) << "the gate was never opened";
    }
    /// Waits until somebody stands, or has stood, at the gate.
    [[nodiscard]] bool reached() const {
        return waiting_.wait([](int waiting) { return waiting > 0; });
    }

private:
    Watched<bool> open_{false};
    Watched<int> waiting_{0};
};

/// Opens the gate when the test's scope ends, before the server waits for its hooks.
class OpensAtEnd {
public:
    explicit OpensAtEnd(Gate& gate) : gate_(gate) {}
    ~OpensAtEnd() { gate_.open(); }

private:
    Gate& gate_;
};

}  // namespace chiral::test
