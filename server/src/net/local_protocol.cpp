// SPDX-License-Identifier: Apache-2.0
#include "net/local_protocol.hpp"

#include "net/little_endian.hpp"

#include <algorithm>
#include <charconv>

namespace chiral::net {
namespace {

// As many as an observation may have: an image and a depth of each camera, and the proprios.
constexpr std::uint32_t kMostPieces = 1024;

std::uint64_t require_number(std::string_view lines, std::string_view key) {
    const std::optional<std::uint64_t> number = number_field(lines, key);
    if (!number) throw std::runtime_error("the server's welcome has no number " + std::string(key));
    return *number;
}

}  // namespace

std::optional<std::string_view> text_field(std::string_view lines, std::string_view key) noexcept {
    while (!lines.empty()) {
        const std::string_view line = lines.substr(0, lines.find('\n'));
        if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == '=') return line.substr(key.size() + 1);
        lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    }
    return std::nullopt;
}

std::optional<std::uint64_t> number_field(std::string_view lines, std::string_view key) noexcept {
    const std::optional<std::string_view> text = text_field(lines, key);
    if (!text) return std::nullopt;
    std::uint64_t number = 0;
    const char* end = text->data() + text->size();
    const auto result = std::from_chars(text->data(), end, number);
    return result.ec == std::errc{} && result.ptr == end ? std::optional(number) : std::nullopt;
}

std::string Welcome::text() const {
    return "version=" + std::to_string(kLocalVersion) + "\ninstance=" + instance + "\nbytes=" + std::to_string(bytes) +
           "\nbytes_in_use=" + std::to_string(bytes_in_use) + "\nloans=" + std::to_string(kMostLoans) +
           (direct ? "\ndirect=1\n" : "\n");
}

Welcome Welcome::parse(std::string_view lines) {
    const std::uint64_t version = require_number(lines, "version");
    if (version != kLocalVersion)
        throw std::runtime_error("the server speaks version " + std::to_string(version) +
                                 " of the local transport, expected " + std::to_string(kLocalVersion));
    Welcome welcome;
    welcome.instance = text_field(lines, "instance").value_or("");
    welcome.bytes = require_number(lines, "bytes");
    welcome.bytes_in_use = require_number(lines, "bytes_in_use");
    welcome.direct = number_field(lines, "direct") == 1;
    const std::uint64_t loans = require_number(lines, "loans");
    constexpr std::uint64_t most = std::uint64_t{1} << 46;  // no address space has more to map
    if (welcome.bytes == 0 || welcome.bytes > most || welcome.bytes_in_use > welcome.bytes)
        throw std::runtime_error("the server's memory is " + std::to_string(welcome.bytes) + " bytes, of which " +
                                 std::to_string(welcome.bytes_in_use) + " are in use, expected 1 to " +
                                 std::to_string(most) + " and no more of them in use");
    if (loans != kMostLoans)
        throw std::runtime_error("the server lends " + std::to_string(loans) + " observations at once, expected " +
                                 std::to_string(kMostLoans));
    return welcome;
}

std::vector<std::uint8_t> bell_wish(const BellWish& wish) {
    std::vector<std::uint8_t> bytes;
    append(bytes, wish.after);
    append(bytes, wish.number);
    bytes.insert(bytes.end(), wish.camera.begin(), wish.camera.end());
    return bytes;
}

std::optional<BellWish> read_bell_wish(LocalBytes body) noexcept {
    if (body.size() < 16) return std::nullopt;
    Taker from(body);
    const auto after = from.number<std::uint64_t>(), number = from.number<std::uint64_t>();
    const LocalBytes name = from.take(from.left(), "the name");
    return BellWish{{reinterpret_cast<const char*>(name.data()), name.size()}, after, number};
}

std::array<std::uint8_t, 16> bell_answer(const BellAnswer& answer) noexcept {
    std::array<std::uint8_t, 16> bytes;
    for (std::size_t i = 0; i < 8; ++i) {
        bytes[i] = static_cast<std::uint8_t>(answer.newest >> 8 * i);
        bytes[8 + i] = static_cast<std::uint8_t>(answer.number >> 8 * i);
    }
    return bytes;
}

std::optional<BellAnswer> read_bell_answer(LocalBytes body) noexcept {
    if (body.size() != 16) return std::nullopt;
    Taker from(body);
    const auto newest = from.number<std::uint64_t>();
    return BellAnswer{newest, from.number<std::uint64_t>()};
}

void write_table(std::uint32_t loan, std::size_t head_bytes, std::span<const PiecePlace> pieces,
                 std::vector<std::uint8_t>& out) {
    out.clear();
    append(out, loan);
    append(out, static_cast<std::uint32_t>(head_bytes));
    append(out, static_cast<std::uint32_t>(pieces.size()));
    for (const PiecePlace& piece : pieces) {
        append(out, piece.size);
        append(out, piece.place);
    }
}

void read_lent_message(LocalBytes message, LocalBytes memory, LentMessage& out) {
    Taker from(message);
    out.loan = from.number<std::uint32_t>();
    if (out.loan > kMostLoans)
        throw std::runtime_error("a message is loan " + std::to_string(out.loan) + ", expected 0 to " +
                                 std::to_string(kMostLoans));
    const auto head = from.number<std::uint32_t>();
    const auto count = from.number<std::uint32_t>();
    if (count > kMostPieces)
        throw std::runtime_error("a message has " + std::to_string(count) + " pieces, expected at most " +
                                 std::to_string(kMostPieces));
    Taker table(from.take(std::uint64_t{count} * 16, "its table"));
    out.head = from.take(head, "its head");
    out.pieces.clear();
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto size = table.number<std::uint64_t>();
        const auto place = table.number<std::uint64_t>();
        if (place == kComesAlong) {
            out.pieces.push_back(from.take(size, "a piece"));
            continue;
        }
        if (out.loan == 0 || place > memory.size() || size > memory.size() - place)
            throw std::runtime_error("a piece of " + std::to_string(size) + " bytes at " + std::to_string(place) +
                                     (out.loan == 0 ? " is not lent" : " lies outside the server's memory of ") +
                                     (out.loan == 0 ? "" : std::to_string(memory.size()) + " bytes"));
        out.pieces.push_back(memory.subspan(static_cast<std::size_t>(place), static_cast<std::size_t>(size)));
    }
    if (from.left() > 0)
        throw std::runtime_error("a message has " + std::to_string(from.left()) + " bytes behind its last piece");
}

}  // namespace chiral::net
