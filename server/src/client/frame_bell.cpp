// SPDX-License-Identifier: Apache-2.0
#include "client/frame_bell.hpp"

#include "net/local_protocol.hpp"

#include <algorithm>
#include <chrono>
#include <stdexcept>

namespace chiral::client {

std::uint64_t FrameBell::wait(Lender& lender, const net::PageBell* page, const std::string& camera, std::uint64_t after,
                              TimePoint deadline) {
    const std::lock_guard one_at_a_time(wishing_);
    net::BellWish wish{camera, after};
    {
        const std::lock_guard lock(mutex_);
        wish.number = ++wish_;
        said_.reset();
        page_ = page;
    }
    while (!lender.wish(wish)) {  // the server does not read just now
        std::unique_lock lock(mutex_);
        const TimePoint again = std::min<TimePoint>(deadline, Clock::now() + std::chrono::milliseconds(1));
        if (changed_.wait_until(lock, again, [&] { return ended_; }) || again == deadline) return 0;
    }
    const std::optional<std::uint64_t> said = page != nullptr ? hear_in(*page, wish.number, deadline) : hear(deadline);
    if (!said) return 0;
    if (*said == net::kNoSuchCamera) throw std::out_of_range("wait_frame(): the robot has no camera '" + camera + "'");
    return *said;
}

std::optional<std::uint64_t> FrameBell::hear(TimePoint deadline) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [&] { return ended_ || said_; });
    return said_;
}

// In slices: what wakes it at the end comes to nothing if it comes before it sleeps.
std::optional<std::uint64_t> FrameBell::hear_in(const net::PageBell& page, std::uint64_t wish, TimePoint deadline) {
    constexpr Duration at_most = std::chrono::milliseconds(50);
    for (;;) {
        if (const auto newest = page.answer_to(wish)) return newest;
        const Duration left = deadline - Clock::now();
        {
            const std::lock_guard lock(mutex_);
            if (ended_ || left <= Duration::zero()) return std::nullopt;
        }
        page.wait_for(wish, std::min(left, at_most));
    }
}

void FrameBell::ring(const net::BellAnswer& answer) {
    const std::lock_guard lock(mutex_);
    if (answer.number == wish_) said_ = answer.newest;
    changed_.notify_all();
}

void FrameBell::end() noexcept {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    if (page_ != nullptr) page_->wake();
    changed_.notify_all();
}

}  // namespace chiral::client
