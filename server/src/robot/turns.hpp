// SPDX-License-Identifier: Apache-2.0
// Whose hook runs, where hooks of the action thread and of the request thread run one at a time.
//
// Who waits looks every now and then whether that is still worth it: nothing wakes it when a lease is revoked, or when
// on_action_timeout() is due. Where both wait they take turns, so that neither a stream of actions nor one of observations keeps
// the other out.
//
// Thread rule: one thread for each side. The mutex is held for moments, never while a hook runs.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <utility>

namespace chiral::robot {

class Turns {
public:
    enum class Side : std::size_t { actions, requests };

    /// The right to call a hook, until its end. Whoever has given up has none, but may ask.
    class Turn {
    public:
        Turn() = default;
        explicit Turn(Turns& of) noexcept : of_(&of) {}
        Turn(Turn&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
        Turn& operator=(Turn&&) = delete;
        ~Turn() {
            if (of_ != nullptr) of_->end();
        }

    private:
        Turns* of_{nullptr};
    };

    /// `one_at_a_time` false: everybody has its turn at once.
    explicit Turns(bool one_at_a_time) noexcept : one_at_a_time_(one_at_a_time) {}

    /// Waits for the turn of that side, and asks `worth_it` now and then. No turn if it says no: then no hook may be called.
    template <class WorthIt>
    Turn wait(Side side, WorthIt&& worth_it) {
        if (!one_at_a_time_) return Turn();
        const auto own = static_cast<std::size_t>(side), other = 1 - own;
        constexpr std::chrono::milliseconds look{5};
        std::unique_lock lock(mutex_);
        waits_[own] = true;
        while (taken_ || (last_ == own && waits_[other])) {
            if (changed_.wait_for(lock, look) == std::cv_status::no_timeout) continue;
            lock.unlock();
            const bool goes_on = worth_it();
            lock.lock();
            if (goes_on) continue;
            waits_[own] = false;
            changed_.notify_all();
            return Turn();
        }
        waits_[own] = false;
        taken_ = true;
        last_ = own;
        return Turn(*this);
    }

private:
    void end() noexcept {
        {
            const std::lock_guard lock(mutex_);
            taken_ = false;
        }
        changed_.notify_all();
    }

    const bool one_at_a_time_;
    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::array<bool, 2> waits_{};
    bool taken_{false};
    std::size_t last_{0};
};

}  // namespace chiral::robot
