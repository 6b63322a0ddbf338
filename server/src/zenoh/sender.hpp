// SPDX-License-Identifier: Apache-2.0
// Sends to one client, on a thread of its own: Zenoh blocks while a link is congested, and nobody else is to wait for that.
//
// Thread rule: that of the network, but for the thread itself.
#pragma once

#include "net/zenoh.hpp"
#include "net/zenoh_keys.hpp"

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace chiral::zenoh {

class Sender {
public:
    struct Message {
        std::vector<chiral_zenoh_bytes> pieces;
        std::array<std::uint8_t, net::ZenohNote::kSize> note{};
        /// Keeps the pieces readable. Released when Zenoh has let go of them and `failed` says what came of it.
        std::shared_ptr<void> keeps;
        std::string* failed{nullptr};  ///< where to say why it was not sent; lives as long as `keeps`
    };

    /// `ended` is the last that its thread calls, and must not throw. Throws std::system_error if there is no thread.
    Sender(net::ZenohPublisher publisher, std::function<void()> ended);
    /// Waits for what is being sent.
    ~Sender();

    void send(Message message);
    /// Something waits behind what is being sent.
    bool is_behind() const {
        const std::lock_guard lock(mutex_);
        return !waiting_.empty();
    }
    /// Ends when what waits has been sent.
    void end();
    const net::ZenohPublisher& publisher() const noexcept { return publisher_; }

private:
    void work();

    net::ZenohPublisher publisher_;
    std::function<void()> ended_;
    mutable std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::deque<Message> waiting_;
    bool ending_{false};
    std::thread thread_;  // last: it uses the rest
};

/// Ends it however its scope is left: its thread would wait for ever.
struct EndSender {
    void operator()(Sender* sender) const { sender->end(); }
};
using EndingSender = std::unique_ptr<Sender, EndSender>;

}  // namespace chiral::zenoh
