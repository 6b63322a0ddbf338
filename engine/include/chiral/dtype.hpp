// SPDX-License-Identifier: Apache-2.0
// Element types of images, depth maps and streams, by the names that numpy gives them: what stands on the wire.
//
// Payloads are little-endian. float16 is IEEE 754 binary16, for which C++20 has no type: its elements are read as uint16.
#pragma once

#include <chiral/api.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

namespace chiral {

enum class DType : std::uint8_t {
    boolean,  ///< one byte, 0 or 1
    uint8,
    int8,
    uint16,
    int16,
    uint32,
    int32,
    uint64,
    int64,
    float16,
    float32,
    float64,
};

namespace detail {
struct DTypeRow {
    const char* name;             // numpy's
    std::string_view short_name;  // numpy's array protocol, without the byte order
    std::size_t size;
};
inline constexpr std::array<DTypeRow, 12> dtype_rows{{
    {"bool", "b1", 1},
    {"uint8", "u1", 1},
    {"int8", "i1", 1},
    {"uint16", "u2", 2},
    {"int16", "i2", 2},
    {"uint32", "u4", 4},
    {"int32", "i4", 4},
    {"uint64", "u8", 8},
    {"int64", "i8", 8},
    {"float16", "f2", 2},
    {"float32", "f4", 4},
    {"float64", "f8", 8},
}};
}  // namespace detail

inline constexpr std::size_t dtype_count = detail::dtype_rows.size();

/// "uint16"
constexpr const char* to_string(DType type) noexcept { return detail::dtype_rows[static_cast<std::size_t>(type)].name; }

/// Bytes of one element.
constexpr std::size_t size_of(DType type) noexcept { return detail::dtype_rows[static_cast<std::size_t>(type)].size; }

/// Understands numpy's name ("uint16") and its array protocol's where the bytes are little-endian or there is but one: "<u2",
/// "|u1", "u2". Nothing for big-endian (">u2"), objects, strings, records, complex numbers and what is no type.
constexpr std::optional<DType> parse_dtype(std::string_view name) noexcept {
    for (std::size_t i = 0; i < dtype_count; ++i)
        if (name == detail::dtype_rows[i].name) return static_cast<DType>(i);
    const char order = name.empty() ? '\0' : name.front();
    if (order == '<' || order == '|') name.remove_prefix(1);
    for (std::size_t i = 0; i < dtype_count; ++i)
        if (name == detail::dtype_rows[i].short_name && (order != '|' || detail::dtype_rows[i].size == 1))
            return static_cast<DType>(i);
    return std::nullopt;
}

/// Whether T is what one reads elements of this type as.
template <class T>
constexpr bool is_element_of(DType type) noexcept {
    switch (type) {
        case DType::boolean: return std::is_same_v<T, bool> || std::is_same_v<T, std::uint8_t>;
        case DType::uint8: return std::is_same_v<T, std::uint8_t>;
        case DType::int8: return std::is_same_v<T, std::int8_t>;
        case DType::uint16: return std::is_same_v<T, std::uint16_t>;
        case DType::int16: return std::is_same_v<T, std::int16_t>;
        case DType::uint32: return std::is_same_v<T, std::uint32_t>;
        case DType::int32: return std::is_same_v<T, std::int32_t>;
        case DType::uint64: return std::is_same_v<T, std::uint64_t>;
        case DType::int64: return std::is_same_v<T, std::int64_t>;
        case DType::float16: return std::is_same_v<T, std::uint16_t>;
        case DType::float32: return std::is_same_v<T, float>;
        case DType::float64: return std::is_same_v<T, double>;
    }
    return false;
}

/// All types whose elements one reads as T, a bit each.
template <class T>
constexpr unsigned types_read_as() noexcept {
    unsigned types = 0;
    for (std::size_t i = 0; i < dtype_count; ++i) types |= is_element_of<T>(static_cast<DType>(i)) ? 1u << i : 0;
    return types;
}
constexpr bool has_type(unsigned types, DType type) noexcept { return (types >> static_cast<unsigned>(type) & 1) != 0; }

/// The first type of which T is what one reads its elements as, for messages; "" if it is none.
template <class T>
constexpr const char* element_name() noexcept {
    for (std::size_t i = 0; i < dtype_count; ++i)
        if (is_element_of<T>(static_cast<DType>(i)) && (!std::is_same_v<T, std::uint8_t> || i > 0))
            return to_string(static_cast<DType>(i));
    return "";
}

}  // namespace chiral
