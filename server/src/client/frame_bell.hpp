// SPDX-License-Identifier: Apache-2.0
// Waits for what the server's bell says of a camera. Any thread; one wish at a time is under way.
#pragma once

#include "client/shared_memory.hpp"
#include "net/local_protocol.hpp"
#include "net/page_bell.hpp"

#include <chiral/time.hpp>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

namespace chiral::client {

class FrameBell {
public:
    /// See Transport::wait_frame(). `page`: where the server answers a client that it has given one, and stays mapped; null: it sends
    /// a packet.
    std::uint64_t wait(Lender& lender, const net::PageBell* page, const std::string& camera, std::uint64_t after,
                       TimePoint deadline);
    /// The server says so, in a packet.
    void ring(const net::BellAnswer& answer);
    /// The connection is over: nobody waits any more.
    void end() noexcept;

private:
    std::optional<std::uint64_t> hear(TimePoint deadline);
    std::optional<std::uint64_t> hear_in(const net::PageBell& page, std::uint64_t wish, TimePoint deadline);

    std::mutex wishing_;  // held by who waits
    std::mutex mutex_;    // guards what follows
    std::condition_variable changed_;
    std::uint64_t wish_{0};  // number of the one that is under way: answers to earlier ones may still come
    std::optional<std::uint64_t> said_;
    const net::PageBell* page_{nullptr};  // of the one that is under way
    bool ended_{false};
};

}  // namespace chiral::client
