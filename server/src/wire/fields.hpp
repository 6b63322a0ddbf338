// SPDX-License-Identifier: Apache-2.0
// How decoders look fields up in a header and take pieces of the payload: checked, and refused in words.
#pragma once

#include "wire/pixels.hpp"
#include "wire/values.hpp"

#include <climits>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace chiral::wire {

// Where in a message a value belongs, for error messages; text is only built when there is one.
struct Where {
    std::string_view message;        // "obs_response"
    const char* source_kind{""};     // "camera"
    std::string_view source_name{};  // "wrist"
};

[[noreturn]] inline void fail(const Where& where, const std::string& problem) {
    std::string text(where.message);
    text += ": ";
    if (*where.source_kind != '\0') text += std::string(where.source_kind) + ' ' + quoted(where.source_name) + ": ";
    throw DecodeError(text + problem);
}

[[noreturn]] inline void fail(const Where& where, const char* key, const Value* value, const std::string& expected) {
    fail(where, std::string(key) + " is " + describe(value) + ", expected " + expected);
}

// An absent key and nil are the same: "not given".
inline const Value* given(const Value& map, const char* key) noexcept {
    const Value* value = map.find(key);
    return value != nullptr && !value->is_nil() ? value : nullptr;
}

inline const Value& require(const Where& where, const Value& map, const char* key, Value::Kind kind, const char* expected) {
    const Value* value = map.find(key);
    if (value == nullptr || value->kind != kind) fail(where, key, value, expected);
    return *value;
}

inline std::string_view require_text(const Where& where, const Value& map, const char* key) {
    return require(where, map, key, Value::Kind::text, "a string").text();
}

inline bool require_boolean(const Where& where, const Value& map, const char* key) {
    return require(where, map, key, Value::Kind::boolean, "true or false").boolean;
}

inline double to_number(const Where& where, const char* key, const Value* value) {
    const std::optional<double> number = value != nullptr ? value->number() : std::nullopt;
    if (!number) fail(where, key, value, "a number");
    return *number;
}

inline double require_number(const Where& where, const Value& map, const char* key) {
    return to_number(where, key, map.find(key));
}

inline double number_or_zero(const Where& where, const Value& map, const char* key) {
    const Value* value = given(map, key);
    return value != nullptr ? to_number(where, key, value) : 0.0;
}

inline std::uint64_t to_count(const Where& where, const char* key, const Value* value) {
    if (value == nullptr || value->kind != Value::Kind::unsigned_integer)
        fail(where, key, value, "an integer that is not negative");
    return value->unsigned_integer;
}

inline std::uint64_t require_count(const Where& where, const Value& map, const char* key) {
    return to_count(where, key, map.find(key));
}

inline std::uint64_t count_or_zero(const Where& where, const Value& map, const char* key) {
    const Value* value = given(map, key);
    return value != nullptr ? to_count(where, key, value) : 0;
}

inline void require_dtype(const Where& where, const Value& map, const char* key, std::string_view expected) {
    const Value* value = map.find(key);
    if (value == nullptr || !value->is_text() || value->text() != expected) fail(where, key, value, quoted(expected));
}

inline DType to_dtype(const Where& where, const Value& map, const char* key) {
    const Value* value = map.find(key);
    const std::optional<DType> type = value != nullptr && value->is_text() ? parse_dtype(value->text()) : std::nullopt;
    if (!type) fail(where, key, value, dtypes_text());
    return *type;
}

template <class Matrix>
void require_matrix(const Where& where, const Value& map, const char* key, Matrix& matrix) {
    constexpr auto columns = static_cast<std::uint32_t>(Matrix::ColsAtCompileTime);
    const Value* value = map.find(key);
    if (value == nullptr || !value->is_array() || value->size != matrix.size())
        fail(where, key, value, "an array of " + std::to_string(matrix.size()) + " numbers");
    std::uint32_t i = 0;  // sent row by row, Eigen stores by columns
    value->for_each_element([&](const Value& element) {
        matrix(i / columns, i % columns) = to_number(where, key, &element);
        ++i;
    });
}

// Reads a shape of so many dimensions, all positive. Returns the number of elements, which is the
// largest std::size_t where it does not fit; none for shape [].
inline std::size_t require_shape(const Where& where, const Value& map, const char* key, const Ranks& ranks,
                                 const char* dimensions, std::vector<int>& shape) {
    const Value& value = require(where, map, key, Value::Kind::array, dimensions);
    if (!ranks.has(value.size)) fail(where, key, &value, dimensions);
    shape.resize(value.size);
    std::size_t elements = shape.empty() ? 0 : 1;
    std::size_t i = 0;
    value.for_each_element([&](const Value& dimension) {
        if (dimension.kind != Value::Kind::unsigned_integer || dimension.unsigned_integer == 0 ||
            dimension.unsigned_integer > INT_MAX)
            fail(where, std::string(key) + " has " + describe(&dimension) + " at index " + std::to_string(i) +
                            ", expected integers from 1 to " + std::to_string(INT_MAX));
        shape[i++] = static_cast<int>(dimension.unsigned_integer);
        elements = saturating_product(elements, static_cast<std::size_t>(dimension.unsigned_integer));
    });
    return elements;
}

// The payload of a message, handed out buffer by buffer. Buffers that overlap would let a short message claim any amount
// of memory, so together they must not be larger than the payload.
class Payload {
public:
    /// What follows the header in its own memory, and the pieces after that.
    Payload(Bytes first, std::span<const Bytes> others, std::size_t decoded)
        : first_(first), others_(others), size_(first.size()), undecoded_(decoded) {
        for (const Bytes& piece : others) size_ += piece.size();
        unclaimed_ = size_;
    }

    /// Pixels that will take `size` bytes when they are decoded.
    void announce(const Where& where, const char* what, std::size_t size) {
        if (size > undecoded_)
            fail(where, std::string(what) + " of " + std::to_string(size) + " bytes when decoded is more than the " +
                            std::to_string(undecoded_) + " bytes that are left to this message");
        undecoded_ -= size;
    }

    Bytes claim(const Where& where, const char* what, std::uint64_t offset, std::uint64_t size) {
        if (offset > size_ || size > size_ - offset)
            fail(where, std::string(what) + " of " + std::to_string(size) + " bytes at offset " + std::to_string(offset) +
                            " lies outside the payload of " + std::to_string(size_) + " bytes");
        if (size > unclaimed_)
            fail(where, std::string(what) + " of " + std::to_string(size) + " bytes overlaps another piece, only " +
                            std::to_string(unclaimed_) + " bytes of the payload are left");
        unclaimed_ -= static_cast<std::size_t>(size);
        if (size == 0) return {};
        find(static_cast<std::size_t>(offset));
        const std::size_t in_piece = static_cast<std::size_t>(offset) - begin_;
        if (size > piece().size() - in_piece)
            fail(where, std::string(what) + " of " + std::to_string(size) + " bytes at offset " + std::to_string(offset) +
                            " is cut in two by the end of a piece of the message");
        return piece().subspan(in_piece, static_cast<std::size_t>(size));
    }

private:
    Bytes piece() const noexcept { return index_ == 0 ? first_ : others_[index_ - 1]; }

    // The piece that has the byte at `offset`, of which there is one. Buffers come in order, as a rule, and so do pieces.
    void find(std::size_t offset) noexcept {
        if (offset < begin_) index_ = begin_ = 0;
        while (offset - begin_ >= piece().size()) {
            begin_ += piece().size();
            ++index_;
        }
    }

    Bytes first_;
    std::span<const Bytes> others_;
    std::size_t size_;
    std::size_t unclaimed_{0};
    std::size_t undecoded_;
    std::size_t index_{0};  // of the piece that was found last: 0 is first_
    std::size_t begin_{0};  // and where it begins
};

}  // namespace chiral::wire
