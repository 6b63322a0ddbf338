// SPDX-License-Identifier: Apache-2.0
#include "robot/lease.hpp"

#include <exception>

namespace chiral::robot {

void ActionReport::add(std::atomic<std::int64_t>& counter, const std::string& reason) {
    const std::lock_guard lock(mutex_);
    reason_ = reason;
    counter.fetch_add(1, std::memory_order_relaxed);
}

void ActionReport::write_to(ExtraMap& extra) {
    const auto none = [](const std::atomic<std::int64_t>& counter) { return counter.load(std::memory_order_relaxed) == 0; };
    if (none(rejected_) && none(clamped_) && none(late_)) return;
    const std::lock_guard lock(mutex_);
    const auto tell = [&extra](const char* key, std::atomic<std::int64_t>& counter) {
        if (const std::int64_t so_far = counter.exchange(0, std::memory_order_relaxed); so_far > 0) extra[key] = so_far;
    };
    tell("chiral.actions_rejected", rejected_);
    tell("chiral.actions_clamped", clamped_);
    tell("chiral.actions_late", late_);
    extra["chiral.action_reason"] = reason_;
}

void Lease::revoke(Cause cause, std::string_view reason) noexcept {
    if (shorten(kNever) == kNever) return;  // first of all, and whatever fails below
    try {
        const std::lock_guard lock(mutex_);
        ended_.cause = cause;
        ended_.reason = reason;
    } catch (const std::exception&) {  // no memory for the words
    }
    if (const auto holder = holder_.lock()) holder->notify(Notice::lease_over);
}

Lease::Ended Lease::ended() const {
    const std::lock_guard lock(mutex_);
    return ended_;
}

}  // namespace chiral::robot
