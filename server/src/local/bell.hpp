// SPDX-License-Identifier: Apache-2.0
// Tells local clients that a camera has something newer than they have seen: from threads that wait on the engine's own signals, so
// that no sensor thread does more for a client than wake one sleeper.
//
// A thread for each camera that somebody waits for, from the first time on. What it says is one packet, without waiting, or a word in a
// page that the client waits upon; a client whose socket has no room for the packet is deaf, and its connection is shut down.
#pragma once

#include "net/page_bell.hpp"

#include <chiral/engine.hpp>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace chiral::local {

class Bell {
public:
    explicit Bell(Engine& engine) : engine_(engine) {}
    ~Bell();
    Bell(const Bell&) = delete;

    // One thread:

    /// How a client is told: in its page, if it has one, else at its socket. Both stay until forget().
    struct Way {
        int socket{-1};
        const net::PageBell* page{nullptr};
    };
    /// Rings once when that camera has an image newer than `after`, which may be at once, and brings `number` back. One wish per
    /// client: a later one takes the place of the one before.
    void ring(const void* client, Way way, std::size_t camera, std::uint64_t after, std::uint64_t number);
    /// At once. False: it is deaf.
    static bool tell(Way way, const net::BellAnswer& answer) noexcept;
    /// Nothing is said to that client any more.
    void forget(const void* client) noexcept;

private:
    struct Wish {
        Way way;
        std::size_t camera{0};
        std::uint64_t after{0};
        std::uint64_t number{0};
    };

    void watch(std::size_t camera);
    static void answer(const Wish& wish, std::uint64_t newest) noexcept;

    Engine& engine_;
    std::mutex mutex_;  // for what follows; held for moments
    std::condition_variable changed_;
    std::map<const void*, Wish> wishes_;  // by client
    bool ended_{false};
    std::map<std::size_t, std::thread> threads_;  // by camera; of ring()
};

}  // namespace chiral::local
