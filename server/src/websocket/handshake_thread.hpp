// SPDX-License-Identifier: Apache-2.0
// The thread on which the cryptography of TLS handshakes is done.
//
// Anybody who reaches the port can ask for a signature by the server's key, before any token: several milliseconds of a core
// for each RSA key of 4096 bits. On the network thread a few dozen of them a second would delay every action. Here they share
// one thread of low priority that rests as long as it works, so that it takes half a core at the most; addresses take turns,
// so that nobody who asks often keeps others waiting; and few of one address wait at a time.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace chiral::websocket {

class HandshakeThread {
public:
    static constexpr std::size_t kMostOfOneAddress = 8;
    using Step = std::function<void()>;

    HandshakeThread();
    /// Drops what waits.
    ~HandshakeThread();

    enum class Priority {
        newcomer,  ///< refused while too many of its address wait
        begun,     ///< never refused: it has had its signature
    };
    /// False: refused. Any thread. `step` must not throw. Throws std::bad_alloc, and has then taken nothing.
    bool push(const std::string& address, Priority priority, Step step);

private:
    void work();
    std::optional<Step> next();

    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::map<std::string, std::deque<Step>> waiting_;  // by address; none is empty
    std::list<std::string> turns_;                     // each address that waits, once
    bool over_{false};

    std::thread thread_;
};

}  // namespace chiral::websocket
