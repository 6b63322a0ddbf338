// SPDX-License-Identifier: Apache-2.0
// How a service ends, and its sessions with it.
#include "zenoh/service.hpp"
#include "zenoh/session.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>

namespace chiral::zenoh {

using robot::Cause;

Service::Lent::Lent(std::shared_ptr<Door> door) : door_(std::move(door)) {
    door_->lent.fetch_add(1, std::memory_order_relaxed);
}

// release pairs with the acquire in ~Service(): what was lent is no longer read.
Service::Lent::~Lent() {
    if (door_) door_->lent.fetch_sub(1, std::memory_order_release);
}

Service::~Service() {
    {
        const std::lock_guard lock(door_->mutex);
        door_->service = nullptr;
    }
    // What was started and is cancelled now refers to this: after an event loop that never ran, too.
    let_loop_end();
    io.restart();
    io.poll();
    publications_.reset();
    token_watches_.clear();
    declarations_.clear();
    to_documented_.reset();
    senders_.clear();
    session_.reset();
    // By looking, so that a reply takes no lock for it.
    for (TimePoint said = Clock::now(); door_->lent.load(std::memory_order_acquire) != 0;) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        if (Clock::now() - said < std::chrono::seconds(5)) continue;
        said = Clock::now();
        log("stopping waits for Zenoh, which still reads what it was given");
    }
    io.restart();
    io.poll();  // they give back what they had pinned
}

void Service::shut_down() {
    stopping_ = true;
    // They leave as they are closed.
    for (std::size_t left = sessions_.size(); left > 0 && !sessions_.empty(); --left)
        std::shared_ptr(sessions_.begin()->second)->close(Cause::stopping, "the server is stopping");
    if (senders_.empty()) return let_loop_end();
    force_.expires_after(std::chrono::seconds(2));
    force_.async_wait([this](boost::system::error_code error) {
        if (!error) let_loop_end();
    });
}

void Service::let_loop_end() {
    force_.cancel();
    beat_.cancel();
    work_.reset();
}

void Service::abort_sessions() noexcept {
    // They leave as they are dropped. Without memory for a list of them: that may be when this is called.
    for (std::size_t left = sessions_.size(); left > 0 && !sessions_.empty(); --left)
        std::shared_ptr(sessions_.begin()->second)->abort();
}

}  // namespace chiral::zenoh
