// SPDX-License-Identifier: Apache-2.0
// Stops a thread just before a chosen atomic operation of the core, so that a test can write an interleaving as a script:
//
//     Puppet reader([&] { view = sync.pin(0); });
//     reader.run_until(Site::pin_view_load);   // "pending" is announced, the view not yet loaded
//     ... a million updates ...
//     reader.finish();
//
// The core is a template over where its atomics come from; WatchedAtomics is std::atomic that asks the puppet first and counts.
#pragma once

#include "support.hpp"

#include <chiral/core/atomics.hpp>

#include <functional>
#include <semaphore>
#include <thread>

namespace chiral::test {

using core::Site;
using core::Step;

struct WatchedAtomics {
    /// Atomic operations of this thread so far.
    static inline thread_local std::uint32_t operations = 0;
    static inline thread_local std::function<void(Site)> before_each;

    template <class T>
    class Atomic {
    public:
        T load(Site site, std::memory_order order) const noexcept { return at(site), value_.load(order); }
        void store(Site site, T desired, std::memory_order order) noexcept { at(site), value_.store(desired, order); }
        T exchange(Site site, T desired, std::memory_order order) noexcept {
            return at(site), value_.exchange(desired, order);
        }
        T fetch_add(Site site, T delta, std::memory_order order) noexcept {
            return at(site), value_.fetch_add(delta, order);
        }
        T fetch_sub(Site site, T delta, std::memory_order order) noexcept {
            return at(site), value_.fetch_sub(delta, order);
        }
        bool compare_exchange(Site site, T& expected, T desired, std::memory_order success,
                              std::memory_order failure) noexcept {
            at(site);
            return value_.compare_exchange_strong(expected, desired, success, failure);
        }
        T peek() const noexcept { return value_.load(std::memory_order_seq_cst); }

    private:
        static void at(Site site) {
            ++operations;
            if (before_each) before_each(site);
        }
        std::atomic<T> value_{};
    };

    using Deadline = TimePoint;
    /// Sleeps as the product does: not at all if the word has changed, else until wake_all or the deadline.
    static bool wait(const Atomic<std::uint64_t>& word, std::uint64_t value, Deadline end) noexcept {
        const std::uint64_t calls = wake_calls.load();
        while (word.peek() == value && wake_calls.load() == calls) {
            if (Clock::now() >= end) return false;
            std::this_thread::yield();
        }
        return true;
    }
    static void wake_all(const Atomic<std::uint64_t>&) noexcept { ++wake_calls; }
    static inline std::atomic<std::uint64_t> wake_calls{0};

    static constexpr bool performs(Step) noexcept { return true; }
};

class Puppet {
public:
    explicit Puppet(std::function<void()> play)
        : thread_([this, play = std::move(play)] {
              my_turn_.acquire();
              WatchedAtomics::before_each = [this](Site site) { stop_before(site); };
              play();
              WatchedAtomics::before_each = nullptr;
              done_ = true;
              your_turn_.release();
          }) {}
    Puppet(const Puppet&) = delete;
    ~Puppet() {
        if (!done_) finish();
        thread_.join();
    }

    /// Lets the thread run until it is about to perform `site` the next time. False if it ended before.
    bool run_until(Site site) {
        if (done_) return false;
        stop_at_ = site;
        my_turn_.release();
        your_turn_.acquire();
        return !done_;
    }
    /// Lets it run to its end.
    void finish() { run_until(Site::count_); }
    bool done() const { return done_; }

private:
    void stop_before(Site site) {
        if (site != stop_at_) return;
        your_turn_.release();
        my_turn_.acquire();
    }

    // Handed to and fro by the semaphores, so that only one side runs at a time.
    Site stop_at_{Site::count_};
    bool done_{false};
    std::binary_semaphore my_turn_{0};
    std::binary_semaphore your_turn_{0};
    std::thread thread_;
};

/// Atomic operations that `call` performs.
template <class Call>
std::uint32_t operations_of(Call call) {
    const std::uint32_t before = WatchedAtomics::operations;
    call();
    return WatchedAtomics::operations - before;
}

}  // namespace chiral::test
