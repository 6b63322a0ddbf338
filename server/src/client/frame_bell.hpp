// SPDX-License-Identifier: Apache-2.0
// Waits for what the server's bell says of a camera. Any thread; one wish at a time is under way.
#pragma once

#include "client/direct.hpp"
#include "client/shared_memory.hpp"
#include "net/local_protocol.hpp"

#include <chiral/time.hpp>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

namespace chiral::client {

class FrameBell {
public:
    /// `busy_poll`: see ClientOptions.
    explicit FrameBell(Duration busy_poll) noexcept : busy_poll_(busy_poll) {}

    /// See Transport::wait_frame(). `seat`: of a client that reads directly, which the server answers in its page; null: it sends a
    /// packet. Throws std::runtime_error for what the server must not have there.
    std::uint64_t wait(Lender& lender, DirectSeat* seat, const std::string& camera, std::uint64_t after, TimePoint deadline);
    /// The server says so, in a packet.
    void ring(const net::BellAnswer& answer);
    /// The connection is over: nobody waits any more.
    void end() noexcept;

private:
    std::optional<std::uint64_t> hear(TimePoint deadline);
    std::optional<std::uint64_t> hear_in(DirectSeat& seat, TimePoint deadline);
    std::optional<std::uint64_t> answer(const net::PageBell* page);
    bool wish(Lender& lender, const net::PageBell* page, const std::string& camera, std::uint64_t after, TimePoint deadline);
    bool over(TimePoint deadline);

    const Duration busy_poll_;
    struct Standing {
        std::string camera;
        std::uint64_t after{0};
    };
    std::mutex wishing_;                // held by who waits; guards what follows
    std::optional<Standing> standing_;  // what the server was asked last, unless its answer was taken
    std::mutex mutex_;                  // guards what follows
    std::condition_variable changed_;
    std::uint64_t wish_{0};  // number of the one that is under way, by who waits: answers to earlier ones may still come
    std::optional<std::uint64_t> said_;
    const net::PageBell* page_{nullptr};  // of the one that is under way
    bool ended_{false};
};

}  // namespace chiral::client
