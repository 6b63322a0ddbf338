// SPDX-License-Identifier: Apache-2.0
#include "client/frame_bell.hpp"

#include "net/local_protocol.hpp"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <thread>

namespace chiral::client {

std::uint64_t FrameBell::wait(Lender& lender, DirectSeat* seat, const std::string& camera, std::uint64_t after,
                              TimePoint deadline) {
    const std::lock_guard one_at_a_time(wishing_);
    const net::PageBell* const page = seat != nullptr ? seat->bell() : nullptr;
    // Whoever waits in slices wishes once: the answer may take longer than a slice.
    if (standing_ && (standing_->camera != camera || standing_->after != after)) standing_.reset();
    std::optional<std::uint64_t> newest = standing_ ? answer(page) : std::nullopt;
    // One that came between two calls is true at the deadline still. But there may be a newer image by now: so it is wished anew.
    if (newest) standing_.reset();
    if (newest != net::kNoSuchCamera && (standing_ || wish(lender, page, camera, after, deadline))) {
        if (const auto said = page != nullptr ? hear_in(*seat, deadline) : hear(deadline)) {
            newest = said;
            standing_.reset();
        }
    }
    if (newest == net::kNoSuchCamera) throw std::out_of_range("wait_frame(): the robot has no camera '" + camera + "'");
    return newest.value_or(0);
}

bool FrameBell::wish(Lender& lender, const net::PageBell* page, const std::string& camera, std::uint64_t after,
                     TimePoint deadline) {
    {
        const std::lock_guard lock(mutex_);
        ++wish_;
        said_.reset();
        page_ = page;
    }
    while (!lender.wish({camera, after, wish_})) {  // the server does not read just now
        std::unique_lock lock(mutex_);
        const TimePoint again = std::min<TimePoint>(deadline, Clock::now() + std::chrono::milliseconds(1));
        if (changed_.wait_until(lock, again, [&] { return ended_; }) || again == deadline) return false;
    }
    standing_ = {camera, after};
    return true;
}

std::optional<std::uint64_t> FrameBell::answer(const net::PageBell* page) {
    if (page != nullptr) return page->answer_to(wish_);
    const std::lock_guard lock(mutex_);
    return said_;
}

std::optional<std::uint64_t> FrameBell::hear(TimePoint deadline) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [&] { return ended_ || said_; });
    return said_;
}

// In slices: what wakes it at the end comes to nothing if it comes before it sleeps. The wish stands while it polls: an image that
// comes before it is due wakes it as well.
std::optional<std::uint64_t> FrameBell::hear_in(DirectSeat& seat, TimePoint deadline) {
    constexpr Duration at_most = std::chrono::milliseconds(50);
    const net::PageBell& page = *seat.bell();
    for (;;) {
        if (const auto newest = page.answer_to(wish_)) return newest;
        if (over(deadline)) return std::nullopt;
        const TimePoint now = Clock::now();
        TimePoint until = std::min(deadline, now + at_most);
        if (busy_poll_ > Duration::zero()) {
            const DirectSeat::Coming coming = seat.coming(standing_->camera);
            if (coming.newest > standing_->after) return coming.newest;
            const Duration early = coming.due ? difference(*coming.due, now) : -Duration::max();
            if (-busy_poll_ <= early && early <= busy_poll_) {
                std::this_thread::yield();  // whoever else wants the core has it
                continue;
            }
            if (early > busy_poll_) until = std::min(until, *coming.due - busy_poll_);
        }
        page.wait_for(wish_, until - now);
    }
}

bool FrameBell::over(TimePoint deadline) {
    const std::lock_guard lock(mutex_);
    return ended_ || Clock::now() >= deadline;
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
