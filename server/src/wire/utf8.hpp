// SPDX-License-Identifier: Apache-2.0
// MessagePack strings are UTF-8, and Python refuses a whole message in which one is not.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace chiral::wire {

/// Stands for what is not UTF-8.
inline constexpr std::string_view utf8_replacement = "\xef\xbf\xbd";

/// Length of the well-formed UTF-8 sequence at the beginning of `text`, which is not empty (table 3-7 of the Unicode standard);
/// 0 if there is none.
constexpr std::size_t utf8_length(std::string_view text) noexcept {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80) return 1;
    const std::size_t length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length == 0 || text.size() < length) return 0;
    const unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (byte(1) < low || byte(1) > high) return 0;
    for (std::size_t i = 2; i < length; ++i)
        if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
    return length;
}

constexpr bool is_utf8(std::string_view text) noexcept {
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

/// The text with a replacement for each byte that is not part of a well-formed sequence.
inline std::string repaired_utf8(std::string_view text) {
    std::string repaired;
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        repaired += length > 0 ? text.substr(0, length) : utf8_replacement;
        text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return repaired;
}

}  // namespace chiral::wire
