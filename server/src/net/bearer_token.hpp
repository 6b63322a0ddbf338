// SPDX-License-Identifier: Apache-2.0
// What a bearer token may look like, at either end.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace chiral::net {

/// Visible ASCII characters, or none at all: a line break would smuggle header lines into a handshake.
inline bool is_bearer_token(std::string_view token) noexcept {
    return std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

/// Looks at every character whatever it finds, so that the time does not tell how much was right. `expected` is not empty.
inline bool equal_in_constant_time(std::string_view given, std::string_view expected) noexcept {
    unsigned difference = given.size() != expected.size();
    for (std::size_t i = 0; i < given.size(); ++i)
        difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(expected[i % expected.size()]);
    return difference == 0;
}

}  // namespace chiral::net
