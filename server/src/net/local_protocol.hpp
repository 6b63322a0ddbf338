// SPDX-License-Identifier: Apache-2.0
// What is said over the packets of the same-host transport: the handshake, and messages whose pixels stay where they are.
//
// Hello and welcome are lines "key=value". A message to a client is a table, then the message without the pieces that are
// lent. Numbers are little-endian and of stated width:
//
//     u32 loan, 0: nothing is lent | u32 bytes of the head | u32 pieces | per piece: u64 size, u64 place
//     head | the pieces that come along, in order
//
// A place is an offset into the server's memory, or kComesAlong. Head and pieces are those of a gather write over a
// network: today's header, with today's offsets into its payload. Never a pointer, never a struct.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace chiral::net {

inline constexpr unsigned kLocalVersion = 3;
/// Observations that a client may hold at once.
inline constexpr unsigned kMostLoans = 2;
inline constexpr std::uint64_t kComesAlong = ~std::uint64_t{0};

/// The value of the first line that begins with "KEY="; nothing if there is none.
std::optional<std::string_view> text_field(std::string_view lines, std::string_view key) noexcept;
/// The same as a decimal number; nothing also if it is none.
std::optional<std::uint64_t> number_field(std::string_view lines, std::string_view key) noexcept;

/// The server's memory, as a client is told of it.
struct Welcome {
    std::string instance;           ///< of this server and no other
    std::uint64_t bytes{0};         ///< of its memory, all of which may be mapped
    std::uint64_t bytes_in_use{0};  ///< worth populating: the rest may stay empty for ever
    bool direct{false};             ///< a page for direct reading follows

    std::string text() const;
    /// Throws std::runtime_error that says what came and what was expected.
    static Welcome parse(std::string_view lines);
};

using LocalBytes = std::span<const std::uint8_t>;

/// A client's wish to be told of a newer image: u64 of the image that it knows, u64 that the answer brings back, then the name of
/// the camera. An answer to an earlier wish may come after a later one was sent.
struct BellWish {
    std::string_view camera;
    std::uint64_t after{0};
    std::uint64_t number{0};
};
std::vector<std::uint8_t> bell_wish(const BellWish& wish);
std::optional<BellWish> read_bell_wish(LocalBytes body) noexcept;
/// The answer: u64 of the newest image, or kNoSuchCamera, and u64, the wish's number.
struct BellAnswer {
    std::uint64_t newest{0};
    std::uint64_t number{0};
};
std::array<std::uint8_t, 16> bell_answer(const BellAnswer& answer) noexcept;
std::optional<BellAnswer> read_bell_answer(LocalBytes body) noexcept;
inline constexpr std::uint64_t kNoSuchCamera = ~std::uint64_t{0};

struct PiecePlace {
    std::uint64_t size{0};
    std::uint64_t place{kComesAlong};
};

/// Leaves the table of a message in `out`, reusing its memory.
void write_table(std::uint32_t loan, std::size_t head_bytes, std::span<const PiecePlace> pieces,
                 std::vector<std::uint8_t>& out);

/// A message as it was received: what is not lent lies in its own bytes.
struct LentMessage {
    std::uint32_t loan{0};
    LocalBytes head;
    std::vector<LocalBytes> pieces;
};

/// Every number is checked against `message` and `memory` before it is used. Throws std::runtime_error. Reuses `out`.
void read_lent_message(LocalBytes message, LocalBytes memory, LentMessage& out);

}  // namespace chiral::net
