// SPDX-License-Identifier: Apache-2.0
// What a client wants, as one writes it on a command line.
#pragma once

#include <chiral/want.hpp>

#include <string>

namespace chiral::tools {

/// "224x224,pad,jpeg:80,bgr,depth:millimetres,newer": in any order and all of them optional; the size is WIDTHxHEIGHT. Throws
/// std::invalid_argument that says what came and what was expected.
Want parse_want(const std::string& text);

}  // namespace chiral::tools
