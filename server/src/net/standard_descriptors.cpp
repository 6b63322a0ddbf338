// SPDX-License-Identifier: Apache-2.0
#include "net/standard_descriptors.hpp"

#include <array>
#include <cerrno>
#include <cstddef>

#include <fcntl.h>

namespace chiral::net {
namespace {

const std::array<bool, 3> closed_at_the_beginning = [] {
    std::array<bool, 3> closed{};
    for (std::size_t number = 0; number < closed.size(); ++number)
        closed[number] = ::fcntl(static_cast<int>(number), F_GETFD) < 0 && errno == EBADF;
    return closed;
}();

}  // namespace

bool was_open(int descriptor) noexcept {
    const auto number = static_cast<std::size_t>(descriptor);
    return number >= closed_at_the_beginning.size() || !closed_at_the_beginning[number];
}

}  // namespace chiral::net
