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

// What a terminal obeys, or what shows text in another order than it is in: of a well-formed character.
bool is_control(std::string_view character) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(character[i]); };
    if (character.size() == 1) return byte(0) < 0x20 || byte(0) == 0x7F;
    if (character.size() == 2)
        return (byte(0) == 0xC2 && byte(1) < 0xA0) ||  // U+0080 to U+009F, C1
               (byte(0) == 0xD8 && byte(1) == 0x9C);   // U+061C, Arabic letter mark
    if (character.size() != 3) return false;
    const unsigned code = (byte(0) & 0x0Fu) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu);
    return (code >= 0x200E && code <= 0x200F) ||  // left-to-right and right-to-left marks
           (code >= 0x2028 && code <= 0x202E) ||  // line and paragraph separators, embeddings and overrides
           (code >= 0x2066 && code <= 0x2069);    // isolates
}

}  // namespace

std::string printable(std::string_view text, std::size_t longest) {
    std::string fitted;
    while (!text.empty()) {
        const std::size_t size = character_at_head(text);
        const bool control = size > 0 && is_control(text.substr(0, size));
        const std::string_view next = size > 0 && !control ? text.substr(0, size) : "?";
        if (fitted.size() + next.size() > longest) break;
        fitted += next;
        text.remove_prefix(size > 0 ? size : 1);
    }
    return fitted;
}

}  // namespace chiral::net
