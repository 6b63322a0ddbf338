// SPDX-License-Identifier: Apache-2.0
// Who may be connected: the server serves one client at a time, so the harness' own client makes room for a faulty one.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace chiral::stress {

class ConnectionTurn {
public:
    // ---- the client ----

    /// True if it shall disconnect and call lend().
    bool wanted() const noexcept { return wanted_.load(std::memory_order_relaxed); }
    /// Returns when the turn is given back, or at `stop`.
    void lend(const std::atomic<bool>& stop) {
        std::unique_lock lock(mutex_);
        lent_ = true;
        changed_.notify_all();
        while (wanted_ && !stop) changed_.wait_for(lock, std::chrono::milliseconds(50));
        lent_ = false;
    }

    // ---- the fault ----

    /// False at `stop`.
    bool take(const std::atomic<bool>& stop) {
        std::unique_lock lock(mutex_);
        wanted_ = true;
        while (!lent_ && !stop) changed_.wait_for(lock, std::chrono::milliseconds(50));
        return lent_;
    }
    void give_back() {
        const std::lock_guard lock(mutex_);
        wanted_ = false;
        changed_.notify_all();
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::atomic<bool> wanted_{false};
    bool lent_{false};
};

}  // namespace chiral::stress
