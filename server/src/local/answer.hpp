// SPDX-License-Identifier: Apache-2.0
// An answer on its way to a local client: encoded as for a network, but without the pixels that lie in the arena, which are lent.
//
// Thread rule: one thread.
#pragma once

#include "net/local_protocol.hpp"
#include "net/packets.hpp"
#include "robot/answer_encoder.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace chiral::local {

class Answer {
public:
    explicit Answer(std::span<const std::byte> arena) : arena_(arena) {}

    /// The reply stays until it is written. `loan`: under which it may be lent; nothing if there is none left. Throws
    /// std::invalid_argument for what cannot be encoded, std::logic_error for what would be lent and must not.
    void begin(robot::Reply& reply, std::optional<std::uint32_t> loan);
    net::PacketOutcome write(int socket) noexcept { return writer_.write(socket); }

    /// Under which it is lent, if it is.
    std::optional<std::uint32_t> loan() const noexcept { return loan_; }
    /// What is lent then.
    Observation& observation() const noexcept { return *observation_; }
    /// That went through the socket.
    std::size_t bytes() const noexcept { return writer_.bytes(); }

private:
    bool place_pieces();

    const std::span<const std::byte> arena_;
    robot::AnswerEncoder encoder_;
    std::vector<std::uint8_t> table_;
    std::vector<net::PiecePlace> places_;
    std::vector<net::PacketBytes> gather_;  // table, head, and the pieces that come along
    net::PacketWriter writer_;
    std::optional<std::uint32_t> loan_;
    Observation* observation_{nullptr};
};

}  // namespace chiral::local
