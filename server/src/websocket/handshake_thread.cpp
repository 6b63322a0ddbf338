// SPDX-License-Identifier: Apache-2.0
#include "websocket/handshake_thread.hpp"

#include "net/thread_name.hpp"

#include <chrono>
#include <new>
#include <utility>

#ifdef __linux__
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace chiral::websocket {

namespace {

// Where the robot's threads want the core, handshakes wait.
void lower_priority() noexcept {
#ifdef __linux__
    const auto self = static_cast<id_t>(::syscall(SYS_gettid));  // on Linux each thread has a nice value of its own
    ::setpriority(PRIO_PROCESS, self, 10);                       // politeness only: nothing depends on it
#endif
}

}  // namespace

HandshakeThread::HandshakeThread() : thread_([this] { work(); }) {}

HandshakeThread::~HandshakeThread() {
    {
        const std::lock_guard lock(mutex_);
        over_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

bool HandshakeThread::push(const std::string& address, Priority priority, Step step) {
    {
        const std::lock_guard lock(mutex_);
        auto [place, first] = waiting_.try_emplace(address);
        if (priority == Priority::newcomer && place->second.size() >= kMostOfOneAddress) return false;
        try {
            place->second.push_back(std::move(step));
            if (first) turns_.push_back(address);
        } catch (const std::bad_alloc&) {  // as if it had not come: an address without a turn would never have one again
            if (first) waiting_.erase(place);
            throw;
        }
    }
    changed_.notify_all();
    return true;
}

// Waits for it. Nothing at the end. Needs no memory: nobody could be told here that there is none.
std::optional<HandshakeThread::Step> HandshakeThread::next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return over_ || !turns_.empty(); });
    if (over_) return std::nullopt;
    const auto place = waiting_.find(turns_.front());
    Step step = std::move(place->second.front());
    place->second.pop_front();
    if (place->second.empty()) {
        waiting_.erase(place);
        turns_.pop_front();
    } else {
        turns_.splice(turns_.end(), turns_, turns_.begin());
    }
    return step;
}

void HandshakeThread::work() {
    net::name_this_thread("chiral-tls");
    lower_priority();
    while (auto step = next()) {
        const auto began = std::chrono::steady_clock::now();
        (*step)();
        step.reset();
        const auto took = std::chrono::steady_clock::now() - began;
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, took, [&] { return over_; });
    }
}

}  // namespace chiral::websocket
