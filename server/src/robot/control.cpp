// SPDX-License-Identifier: Apache-2.0
#include "robot/control.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace chiral::robot {

std::shared_ptr<Lease> Control::take(std::weak_ptr<Carrier> holder, bool take_over) {
    auto lease = std::make_shared<Lease>(std::move(holder), gate_);
    const std::lock_guard lock(mutex_);
    if (stopped_ || (current_ && !take_over)) return nullptr;
    if (take_over) {
        constexpr const char* why = "another client has taken over";
        for (const std::weak_ptr<Lease>& former : former_)
            if (const auto left = former.lock()) left->revoke(Cause::control_lost, why);
        if (current_) end_locked(current_, Cause::control_lost, why, TimePoint{});
    }
    current_ = lease;
    return lease;
}

bool Control::begin(const std::shared_ptr<Lease>& lease, const std::string& peer) {
    const std::lock_guard lock(mutex_);
    if (current_ != lease) return false;
    lease->before = last_begun_;
    Holder holder{peer, Clock::now()};  // before anybody is told: what has begun is ended, and that told, too
    hooks_.push(ActionJob(Connected{lease, peer}));
    last_begun_ = lease;  // not if there was no memory to tell: the next one follows the one before
    holder_ = std::move(holder);
    ++begun_;
    return true;
}

void Control::end(const std::shared_ptr<Lease>& lease, Cause cause, const std::string& reason, TimePoint now) noexcept {
    const std::lock_guard lock(mutex_);
    if (current_ == lease) end_locked(lease, cause, reason, now);
}

void Control::end_locked(std::shared_ptr<Lease> lease, Cause cause, const std::string& reason, TimePoint now) noexcept {
    const bool begun = holder_.has_value();
    current_.reset();
    holder_.reset();
    if (ending_of(cause).tail == Tail::dropped) lease->revoke(cause, reason);
    else lease->expire(now + options_.departed_action_time);
    if (!begun) return;
    std::erase_if(former_, [](const std::weak_ptr<Lease>& former) { return former.expired(); });
    if (ending_of(cause).tail == Tail::counts) {
        try {
            former_.push_back(lease);
        } catch (const std::bad_alloc&) {  // nobody could find it to end it: what it left is dropped
            lease->revoke(cause, reason);
        }
    }
    hooks_.departed(lease, reason);
}

void Control::stop() noexcept {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    constexpr const char* why = "the server is stopping";
    if (current_) current_->revoke(Cause::stopping, why);
    for (const std::weak_ptr<Lease>& former : former_)
        if (const auto lease = former.lock()) lease->revoke(Cause::stopping, why);
}

std::optional<Control::Holder> Control::holder() const {
    const std::lock_guard lock(mutex_);
    return holder_;
}

std::uint64_t Control::begun() const {
    const std::lock_guard lock(mutex_);
    return begun_;
}

}  // namespace chiral::robot
