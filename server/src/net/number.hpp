// SPDX-License-Identifier: Apache-2.0
// Numbers as text, whatever the locale: printf() writes "1,5" in a program that has set a German one.
#pragma once

#include <charconv>
#include <string>

namespace chiral::net {

/// As printf("%.*g") in the C locale.
inline std::string number_text(double value, int digits) {
    char text[64];
    const auto [end, error] = std::to_chars(text, text + sizeof text, value, std::chars_format::general, digits);
    return error == std::errc() ? std::string(text, end) : std::string("?");  // at most 24 characters for 15 digits
}

}  // namespace chiral::net
