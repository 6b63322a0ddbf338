// SPDX-License-Identifier: Apache-2.0
// The pages in which clients on the same machine keep what they pin by themselves, at places where the engine's writers look: see
// chiral/core/guest_seats.hpp for what writers make of what lies there.
//
// A page is a file without a name, for one client and never for another: who still has it mapped cannot write into the next one's.
// The client needs a mapping that writes, and could with it take pages out of the file, so that sensor threads fault, or with its
// descriptor make the file shorter, so that they die. So its size is sealed from the beginning; the client maps it and says so; then
// it is sealed against all other writing, is emptied, which brings all its pages back, and only after that takes its place. There
// it stays until the next one does, because a writer that was stopped may still look.
//
// Behind what writers look at, a page has a part by which the server rings for its client (net/page_bell.hpp). That goes with the client.
#pragma once

#include "net/sockets.hpp"

#include <cstddef>
#include <memory>

namespace chiral::local {

class GuestPages {
public:
    /// EngineOptions::guest_memory: once. Throws std::system_error.
    std::shared_ptr<std::byte> map(std::size_t bytes);

    // After that, one thread:

    /// Of the part for the bell, which begins behind the `bytes` of hazards.
    static constexpr std::size_t kBellBytes = 4096;
    /// A page for a client to map. Throws std::system_error.
    static net::Descriptor make(std::size_t bytes);
    /// Puts a page that its client has mapped to its place, where nobody has a seat now, and returns where its bell is. Throws
    /// std::system_error, also if the client has done something to it; then there is what was there before, or a page of zeros.
    std::shared_ptr<std::byte> place(const net::Descriptor& page, int seat, std::size_t bytes) const;

private:
    std::byte* places_{nullptr};  // of the engine, which outlives whoever serves it
};

}  // namespace chiral::local
