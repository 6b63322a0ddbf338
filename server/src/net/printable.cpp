// SPDX-License-Identifier: Apache-2.0
#include "net/printable.hpp"

namespace chiral::net {
namespace {

// Bytes of the well-formed UTF-8 character (Unicode 15, table 3-7) at the head of `text`, 0 if there is none.
std::size_t character_at_head(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    if (first < 0x80) return 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    const std::size_t size = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (text.size() < size) return 0;
    for (std::size_t i = 1; i < size; ++i)
        if ((byte(i) & 0xC0) != 0x80) return 0;
    const bool overlong = (first == 0xE0 && byte(1) < 0xA0) || (first == 0xF0 && byte(1) < 0x90);
    const bool surrogate = first == 0xED && byte(1) > 0x9F;
    const bool too_large = first == 0xF4 && byte(1) > 0x8F;
    return overlong || surrogate || too_large ? 0 : size;
}

}  // namespace

std::string printable(std::string_view text, std::size_t longest) {
    std::string fitted;
    while (!text.empty()) {
        const std::size_t size = character_at_head(text);
        const bool control = size == 1 && (static_cast<unsigned char>(text[0]) < 0x20 || text[0] == 0x7F);
        const std::string_view next = size > 0 && !control ? text.substr(0, size) : "?";
        if (fitted.size() + next.size() > longest) break;
        fitted += next;
        text.remove_prefix(size > 0 ? size : 1);
    }
    return fitted;
}

}  // namespace chiral::net
