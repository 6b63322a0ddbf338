// SPDX-License-Identifier: Apache-2.0
// The promises that several targets check.
#pragma once

#include "counted_allocations.hpp"
#include "targets.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

namespace chiral::fuzz {

/// A promise that the code under test did not keep; what() says which.
struct PropertyViolated : std::logic_error {
    using std::logic_error::logic_error;
};

inline void require(bool kept, const char* promise, std::string_view detail = {}) {
    if (kept) return;
    throw PropertyViolated(std::string("violated: ") + promise + (detail.empty() ? "" : ": ") + std::string(detail));
}

/// What a peer sent may stand in an error text, in a log and on a terminal: the text is short and plain ASCII.
inline void require_presentable(std::string_view text, std::size_t longest = 512) {
    require(!text.empty() && text.size() <= longest, "an error text is bounded", text);
    require(std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; }),
            "an error text is printable", text);
}

/// A message makes a decoder allocate in proportion to its own length, whatever sizes it announces. The constant part are
/// the cameras, proprios and buffers that a few bytes may ask for within wire::Limits; a byte of a header becomes at most
/// one value, or a few characters of JSON, in memory that doubles as it grows.
inline void require_bounded(const test::Counted& counted, std::size_t header_bytes, std::size_t payload_bytes) {
    const std::size_t bound = (384u << 10) + 128 * header_bytes + 2 * payload_bytes;
    require(counted.bytes <= bound, "a message allocates in proportion to its length",
            std::to_string(counted.bytes) + " bytes for a header of " + std::to_string(header_bytes) + " and a payload of " +
                std::to_string(payload_bytes));
}

/// The header of a message that a decoder has taken.
inline Bytes header_of(Bytes message) {
    std::uint32_t length = 0;
    std::memcpy(&length, message.data(), sizeof length);
    return message.subspan(4, length);
}

/// Equal to the last bit: a NaN is the same as itself, and -0 is not 0.
inline bool same(double a, double b) { return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b); }
inline bool same(float a, float b) { return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b); }

template <class Sequence>
bool same_elements(const Sequence& a, const Sequence& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) { return same(x, y); });
}

}  // namespace chiral::fuzz
