// SPDX-License-Identifier: Apache-2.0
// How a server wakes a client that waits in a page that the two share, and nobody else: without a packet, and without another thread
// of the client in between. The page is the client's to write, so the server takes nothing from there.
//
// Words of their own, from a multiple of 8 in the page:
//
//     u32 the low half of the number of the wish that was answered last, 0: none; futex(2) waits here | u32 0 | u64 the newest image
//
// Thread rule: one thread at a time rings, one waits; any wakes.
#pragma once

#include "net/local_protocol.hpp"

#include <chiral/time.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace chiral::net {

class PageBell {
public:
    static constexpr std::size_t kBytes = 16;

    /// `place` stays mapped for as long as this is used.
    explicit PageBell(std::byte* place) noexcept : place_(place) {}

    /// The answer to a wish, and whoever waits for it wakes. One system call, which does not wait.
    void ring(const BellAnswer& answer) const noexcept;

    /// The answer to that wish, once it is there.
    std::optional<std::uint64_t> answer_to(std::uint64_t number) const noexcept;
    /// Until it is there, or somebody wakes, or for no reason; at most that long.
    void wait_for(std::uint64_t number, Duration at_most) const noexcept;
    void wake() const noexcept;

private:
    using Rung = std::atomic<std::uint32_t>;
    using Newest = std::atomic<std::uint64_t>;
    static_assert(sizeof(Rung) == 4 && sizeof(Newest) == 8 && Newest::is_always_lock_free);

    Rung& rung() const noexcept { return *reinterpret_cast<Rung*>(place_); }
    Newest& newest() const noexcept { return *reinterpret_cast<Newest*>(place_ + kBytes / 2); }

    std::byte* place_;
};

}  // namespace chiral::net
