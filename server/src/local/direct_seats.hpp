// SPDX-License-Identifier: Apache-2.0
// Which clients read by themselves, each in a page of its own: see net/direct_protocol.hpp.
//
// Thread rule: thread of the service.
#pragma once

#include "local/guest_pages.hpp"
#include "net/page_bell.hpp"
#include "net/sockets.hpp"

#include <chiral/engine.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace chiral::local {

class DirectSeats {
public:
    DirectSeats(Engine& engine, const GuestPages& pages) : engine_(engine), pages_(pages) {}

    /// A client's: from the page that it is handed to its end, however that comes.
    class Seat {
    public:
        explicit Seat(DirectSeats& seats) noexcept : seats_(seats) {}
        ~Seat();
        Seat(const Seat&) = delete;

        /// A page for the client, with what it is to be told; -1 and nothing if all seats are taken. Throws std::system_error.
        int take(std::vector<std::uint8_t>& layout);
        /// The client has mapped its page: its number, 0 if the page could not be put into its place. Once after take().
        std::uint64_t admit() noexcept;
        /// Of a client that has been admitted, else null: as long as this.
        const net::PageBell* bell() const noexcept { return ring_ ? &*ring_ : nullptr; }
        bool offered() const noexcept { return seat_ >= 0 && !admitted_; }

    private:
        DirectSeats& seats_;
        int seat_{-1};
        bool admitted_{false};
        net::Descriptor page_;
        std::shared_ptr<std::byte> bell_;  // mapped
        std::optional<net::PageBell> ring_;
    };

private:
    Engine& engine_;
    const GuestPages& pages_;
    std::array<bool, kMostGuests> taken_{};
};

}  // namespace chiral::local
