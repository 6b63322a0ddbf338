// SPDX-License-Identifier: Apache-2.0
// Text from outside made fit for logs and close frames.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace chiral::net {

/// At most `longest` bytes of UTF-8, cut between characters. What is not UTF-8 becomes '?', and so do control characters (C0,
/// C1) and those that change the order in which text is shown. Default: what the reason of a WebSocket close frame may hold
/// (RFC 6455, 5.5).
std::string printable(std::string_view text, std::size_t longest = 123);

}  // namespace chiral::net
