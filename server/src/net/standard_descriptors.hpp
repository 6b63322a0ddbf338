// SPDX-License-Identifier: Apache-2.0
// Standard input, output and error may have been closed when a program began: what it opens first has their numbers then, a serial port
// perhaps, and is not to be written to.
#pragma once

namespace chiral::net {

/// False of one of the three that was closed when this library was loaded.
bool was_open(int descriptor) noexcept;

}  // namespace chiral::net
