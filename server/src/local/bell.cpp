// SPDX-License-Identifier: Apache-2.0
#include "local/bell.hpp"

#include "net/local_protocol.hpp"
#include "net/packets.hpp"
#include "net/thread_name.hpp"

#include <algorithm>
#include <chrono>

#include <sys/socket.h>

namespace chiral::local {

Bell::~Bell() {
    {
        const std::lock_guard lock(mutex_);
        ended_ = true;
    }
    changed_.notify_all();
    for (auto& [camera, thread] : threads_) thread.join();
}

void Bell::ring(const void* client, Way way, std::size_t camera, std::uint64_t after, std::uint64_t number) {
    if (!threads_.contains(camera))
        threads_.emplace(camera, [this, camera] {
            net::name_this_thread("chiral-bell");
            watch(camera);
        });
    {
        const std::lock_guard lock(mutex_);
        const Wish wish{way, camera, after, number};
        wishes_.erase(client);
        if (const std::uint64_t newest = engine_.newest_frame(camera); newest > after) return answer(wish, newest);
        // A thread that sleeps does so until the next image, which is not there yet.
        wishes_.emplace(client, wish);
    }
    changed_.notify_all();
}

void Bell::forget(const void* client) noexcept {
    const std::lock_guard lock(mutex_);
    wishes_.erase(client);
}

// Sleeps where nobody wishes anything of the camera; else until it publishes, but not for so long that an end is not noticed.
void Bell::watch(std::size_t camera) {
    constexpr std::chrono::milliseconds at_most{50};
    std::unique_lock lock(mutex_);
    while (!ended_) {
        const std::uint64_t newest = engine_.newest_frame(camera);
        bool waited_for = false;
        for (auto wish = wishes_.begin(); wish != wishes_.end();) {
            const bool of_camera = wish->second.camera == camera;
            if (of_camera && newest > wish->second.after) {
                answer(wish->second, newest);
                wish = wishes_.erase(wish);
            } else {
                waited_for = waited_for || of_camera;
                ++wish;
            }
        }
        if (!waited_for) {
            changed_.wait(lock);
            continue;
        }
        lock.unlock();
        static_cast<void>(engine_.wait_frame(camera, newest, Clock::now() + at_most));
        lock.lock();
    }
}

void Bell::answer(const Wish& wish, std::uint64_t newest) noexcept {
    if (!tell(wish.way, {newest, wish.number})) ::shutdown(wish.way.socket, SHUT_RDWR);
}

bool Bell::tell(Way way, const net::BellAnswer& answer) noexcept {
    if (way.page == nullptr)
        return net::send_packet(way.socket, net::PacketKind::bell, net::bell_answer(answer)) !=
               net::PacketOutcome::would_wait;
    way.page->ring(answer);
    return true;
}

}  // namespace chiral::local
