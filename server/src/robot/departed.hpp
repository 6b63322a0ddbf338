// SPDX-License-Identifier: Apache-2.0
// Leases whose end has found no place among the jobs of the action thread: a list through the leases themselves, which takes no
// memory.
#pragma once

#include "robot/lease.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>

namespace chiral::robot {

class Departed {
public:
    /// Any thread. Once for each lease.
    void add(const std::shared_ptr<Lease>& lease) noexcept {
        {
            const std::lock_guard lock(mutex_);
            lease->next_departed = std::exchange(last_, lease);
        }
        // release: pairs with the acquire in take_each().
        some_.store(true, std::memory_order_release);
    }

    /// Action thread: has each taken off the list, the last one first. Takes no lock where there is none.
    template <class Take>
    void take_each(Take&& take) noexcept {
        // relaxed: the exchange decides. Before the list is taken: who is added later says so again.
        if (!some_.load(std::memory_order_relaxed) || !some_.exchange(false, std::memory_order_acquire)) return;
        std::shared_ptr<Lease> next;
        {
            const std::lock_guard lock(mutex_);
            next.swap(last_);
        }
        while (next) {
            const std::shared_ptr<Lease> lease = std::move(next);
            next = std::move(lease->next_departed);
            take(*lease);
        }
    }

private:
    std::atomic<bool> some_{false};  // there may be one
    std::mutex mutex_;               // held for moments
    std::shared_ptr<Lease> last_;    // guarded by mutex_
};

}  // namespace chiral::robot
