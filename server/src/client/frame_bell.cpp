// SPDX-License-Identifier: Apache-2.0
#include "client/frame_bell.hpp"

#include "net/local_protocol.hpp"

#include <algorithm>
#include <chrono>
#include <stdexcept>

namespace chiral::client {

std::uint64_t FrameBell::wait(Lender& lender, const std::string& camera, std::uint64_t after, TimePoint deadline) {
    const std::lock_guard one_at_a_time(wishing_);
    net::BellWish wish{camera, after};
    {
        const std::lock_guard lock(mutex_);
        wish.number = ++wish_;
        said_.reset();
    }
    while (!lender.wish(wish)) {  // the server does not read just now
        std::unique_lock lock(mutex_);
        const TimePoint again = std::min<TimePoint>(deadline, Clock::now() + std::chrono::milliseconds(1));
        if (changed_.wait_until(lock, again, [&] { return ended_; }) || again == deadline) return 0;
    }
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [&] { return ended_ || said_; });
    if (!said_) return 0;
    if (*said_ == net::kNoSuchCamera) throw std::out_of_range("wait_frame(): the robot has no camera '" + camera + "'");
    return *said_;
}

void FrameBell::ring(const net::BellAnswer& answer) {
    const std::lock_guard lock(mutex_);
    if (answer.number == wish_) said_ = answer.newest;
    changed_.notify_all();
}

void FrameBell::end() noexcept {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
}

}  // namespace chiral::client
