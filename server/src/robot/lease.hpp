// SPDX-License-Identifier: Apache-2.0
// The right of one client to move the robot, and what became of its use.
//
// One atomic says until when it holds. The action thread reads it just before each hook; whoever ends it, on whichever
// thread, writes it: from then on no action under it reaches a hook, whatever is queued and whatever else is blocked.
#pragma once

#include "robot/action_gate.hpp"
#include "robot/carrier.hpp"
#include "robot/client_rate.hpp"

#include <chiral/time.hpp>
#include <chiral/types.hpp>

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace chiral::robot {

/// What became of a client's actions, until its next observation tells it. Any thread.
class ActionReport {
public:
    void rejected(const std::string& reason) { add(rejected_, reason); }
    void clamped(const std::string& reason) { add(clamped_, reason); }
    void late(const std::string& reason) { add(late_, reason); }
    /// Adds what there is to say, and forgets it. Takes a lock only if there is something.
    void write_to(ExtraMap& extra);

private:
    void add(std::atomic<std::int64_t>& counter, const std::string& reason);

    std::atomic<std::int64_t> rejected_{0}, clamped_{0}, late_{0};
    std::mutex mutex_;
    std::string reason_;  // of the last
};

class Lease {
public:
    struct Ended {
        Cause cause{Cause::dropped};
        std::string reason;
    };

    Lease(std::weak_ptr<Carrier> holder, const ActionGate& fresh) : gate(fresh), holder_(std::move(holder)) {}

    /// Any thread. acquire: what was done before it was ended is seen by who finds that it has.
    bool holds(TimePoint now) const noexcept {
        return now.time_since_epoch().count() < until_.load(std::memory_order_acquire);
    }
    /// Any thread: ends it at once. The holder is told, the first time.
    void revoke(Cause cause, std::string_view reason) noexcept;
    /// Any thread: what was sent under it counts until then, unless it is revoked before.
    void expire(TimePoint until) noexcept { shorten(until.time_since_epoch().count()); }
    /// Any thread: why it was revoked.
    Ended ended() const;

    ActionReport report;  // any thread

    /// Set once, before anything is queued under it: the one that it follows. That may have come through another transport, whose
    /// jobs are queued in an order of their own.
    std::weak_ptr<Lease> before;
    std::shared_ptr<Lease> next_departed;  // of Departed

    // Action thread.
    ActionGate gate;
    ClientRate rate;
    bool met{false};   // on_connect() was called
    bool left{false};  // its holder is not to be met any more, nor any one before it

    /// Something is about to be queued under it.
    void use() noexcept { used_.store(true, std::memory_order_relaxed); }
    /// Whether its holder is still there, or has left something to do.
    bool worth_meeting(TimePoint now) const noexcept {
        return until_.load(std::memory_order_acquire) == kForEver || (holds(now) && used_.load(std::memory_order_relaxed));
    }

private:
    using Ticks = TimePoint::rep;
    static constexpr Ticks kNever = std::numeric_limits<Ticks>::min(), kForEver = std::numeric_limits<Ticks>::max();
    /// What it was until then.
    Ticks shorten(Ticks until) noexcept {
        Ticks known = until_.load(std::memory_order_relaxed);
        while (until < known && !until_.compare_exchange_weak(known, until, std::memory_order_acq_rel)) {}
        return known;
    }

    std::atomic<Ticks> until_{kForEver};
    std::atomic<bool> used_{false};
    const std::weak_ptr<Carrier> holder_;
    mutable std::mutex mutex_;
    Ended ended_;  // guarded by mutex_
};

}  // namespace chiral::robot
