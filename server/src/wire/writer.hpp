// SPDX-License-Identifier: Apache-2.0
// Writes MessagePack by hand, with numbers of fixed width where they are to be written over later.
#pragma once

#include <chiral/wire.hpp>
#include "wire/utf8.hpp"

#include <bit>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace chiral::wire {

// Writes MessagePack at a position of a buffer: over what is there, and on where it ends.
class Writer {
public:
    Writer(std::vector<std::uint8_t>& buffer, std::size_t position) : buffer_(buffer), position_(position) {}

    std::size_t position() const noexcept { return position_; }

    void raw(const void* bytes, std::size_t size) {
        if (buffer_.size() - position_ < size) buffer_.resize(position_ + size);
        if (size > 0) std::memcpy(buffer_.data() + position_, bytes, size);
        position_ += size;
    }
    void byte(unsigned value) {
        const auto narrow = static_cast<std::uint8_t>(value);
        raw(&narrow, 1);
    }
    /// A format byte and an integer of `width` bytes, most significant first.
    void tagged(unsigned format, std::uint64_t integer, unsigned width) {
        std::uint8_t bytes[9] = {static_cast<std::uint8_t>(format)};
        for (unsigned i = 0; i < width; ++i) bytes[1 + i] = static_cast<std::uint8_t>(integer >> 8 * (width - 1 - i));
        raw(bytes, 1 + width);
    }

    void boolean(bool value) { byte(value ? 0xc3 : 0xc2); }
    void float64(double value) { tagged(0xcb, std::bit_cast<std::uint64_t>(value), 8); }
    void uint64(std::uint64_t value) { tagged(0xcf, value, 8); }
    void integer(std::int64_t value) {
        if (value >= 0) {
            count(static_cast<std::uint64_t>(value));
        } else if (value >= -32) {
            byte(static_cast<unsigned>(value & 0xff));
        } else {
            tagged(0xd3, static_cast<std::uint64_t>(value), 8);
        }
    }
    /// An unsigned integer in as few bytes as it needs.
    void count(std::uint64_t value) {
        if (value < 0x80) {
            byte(static_cast<unsigned>(value));
        } else if (value <= 0xffff) {
            tagged(0xcd, value, 2);
        } else if (value <= 0xffffffff) {
            tagged(0xce, value, 4);
        } else {
            uint64(value);
        }
    }
    /// Repairs what is not UTF-8: text from drivers and files may be anything, and a reader would refuse the whole message.
    void text(std::string_view text) {
        if (!is_utf8(text)) return this->text(repaired_utf8(text));
        sized(0xa0, 32, 0xdb, text.size());
        raw(text.data(), text.size());
    }
    void binary(const void* bytes, std::size_t size) {
        tagged(0xc6, size, 4);
        raw(bytes, size);
    }
    void array(std::size_t size) { sized(0x90, 16, 0xdd, size); }
    void map(std::size_t size) { sized(0x80, 16, 0xdf, size); }

private:
    // A size inside the format byte if it is below `short_limit`, in 32 bits behind another format byte if not.
    void sized(unsigned short_format, std::size_t short_limit, unsigned format, std::size_t size) {
        if (size < short_limit) {
            byte(short_format | static_cast<unsigned>(size));
        } else {
            tagged(format, size, 4);
        }
    }

    std::vector<std::uint8_t>& buffer_;
    std::size_t position_;
};

// Begins a frame in an empty buffer; the length of the header is filled in by end_header.
inline Writer begin_frame(std::vector<std::uint8_t>& out) {
    out.clear();
    out.resize(4);
    return {out, 4};
}

/// What our own decoder would refuse of a header, as std::invalid_argument. `message` is the type, `largest` names what is to
/// blame where it is too long.
inline void end_header(std::vector<std::uint8_t>& out, std::size_t end, const char* message, const char* largest,
                       const Limits& limits) {
    const std::size_t length = end - 4;
    if (length > limits.max_header_bytes)
        throw std::invalid_argument(std::string(message) + ": header is " + std::to_string(length) +
                                    " bytes, most of them " + largest + ", expected at most " +
                                    std::to_string(limits.max_header_bytes));
    const auto narrow = static_cast<std::uint32_t>(length);
    out.resize(end);
    std::memcpy(out.data(), &narrow, sizeof narrow);
}

}  // namespace chiral::wire
