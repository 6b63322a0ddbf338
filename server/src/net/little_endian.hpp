// SPDX-License-Identifier: Apache-2.0
// Numbers and bytes of what is said on one machine: little-endian, of stated width, whatever the machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace chiral::net {

template <class Number>
void append(std::vector<std::uint8_t>& out, Number number) {
    for (std::size_t i = 0; i < sizeof number; ++i) out.push_back(static_cast<std::uint8_t>(number >> 8 * i));
}

/// Takes numbers and bytes from the front of a message, each checked against what is left of it.
class Taker {
public:
    using Bytes = std::span<const std::uint8_t>;

    explicit Taker(Bytes bytes) noexcept : left_(bytes) {}

    /// Throws as take() does.
    template <class Number>
    Number number(const char* what = "its table") {
        Number value = 0;
        const Bytes bytes = take(sizeof value, what);
        for (std::size_t i = 0; i < sizeof value; ++i) value |= static_cast<Number>(Number{bytes[i]} << 8 * i);
        return value;
    }
    /// Throws std::runtime_error that says within what the message ends.
    Bytes take(std::uint64_t bytes, const char* what) {
        if (bytes > left_.size())
            throw std::runtime_error("a message ends within " + std::string(what) + ": " + std::to_string(left_.size()) +
                                     " bytes are left, expected " + std::to_string(bytes));
        const Bytes taken = left_.first(static_cast<std::size_t>(bytes));
        left_ = left_.subspan(taken.size());
        return taken;
    }
    std::size_t left() const noexcept { return left_.size(); }

private:
    Bytes left_;
};

}  // namespace chiral::net
