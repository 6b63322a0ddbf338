// SPDX-License-Identifier: Apache-2.0
// What a bearer token may look like, at either end.
#pragma once

#include <algorithm>
#include <string_view>

namespace chiral::net {

/// Visible ASCII characters, or none at all: a line break would smuggle header lines into a handshake.
inline bool is_bearer_token(std::string_view token) noexcept {
    return std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace chiral::net
