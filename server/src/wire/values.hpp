// SPDX-License-Identifier: Apache-2.0
// The MessagePack header of a frame as values that are read in place.
//
// A header is parsed as a whole before anything in it is used, into one flat list: a container is followed by its
// elements, a map by key, value, key, value. Each value knows how many list entries it spans, so that a reader steps
// over what it does not know. The list and its text live in memory that each thread keeps and reuses.
#pragma once

#include <chiral/wire.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace chiral::wire {

struct Value {
    enum class Kind : std::uint8_t {
        nil,
        boolean,
        unsigned_integer,
        negative_integer,
        real,
        text,
        binary,
        extension,  // its bytes begin with the type
        array,
        map,
    };

    Kind kind{Kind::nil};
    std::uint32_t size{0};  // bytes of text, binary, extension; elements of an array; pairs of a map
    std::uint32_t span{1};  // list entries from this one to the next value on the same level
    union {
        std::uint64_t unsigned_integer{0};
        std::int64_t negative_integer;
        double real;
        bool boolean;
        const char* bytes;
    };

    bool is_map() const noexcept { return kind == Kind::map; }
    bool is_array() const noexcept { return kind == Kind::array; }
    bool is_text() const noexcept { return kind == Kind::text; }
    bool is_nil() const noexcept { return kind == Kind::nil; }
    std::string_view text() const noexcept { return {bytes, size}; }
    /// The number as a float, whichever way it was sent; nothing if this is not a number.
    std::optional<double> number() const noexcept;

    /// The first element of an array or the first key of a map; there is one only if size > 0.
    const Value* first() const noexcept { return this + 1; }
    /// The value after this one on the same level.
    const Value* next() const noexcept { return this + span; }
    /// The value of the first pair with this text as key, or null.
    const Value* find(std::string_view key) const noexcept;

    /// Calls f(key, value) for each pair of a map.
    template <class F>
    void for_each_pair(F f) const {
        const Value* key = first();
        for (std::uint32_t i = 0; i < size; ++i) {
            const Value* value = key->next();
            f(*key, *value);
            key = value->next();
        }
    }

    /// Calls f(element) for each element of an array.
    template <class F>
    void for_each_element(F f) const {
        const Value* element = first();
        for (std::uint32_t i = 0; i < size; ++i, element = element->next()) f(*element);
    }
};

/// Parses a header, which must be exactly one MessagePack map. The result, and the text it points to, stays valid until
/// this thread parses the next header. Throws DecodeError.
const Value& parse_header(Bytes header, const Limits& limits);

/// Appends the value as compact JSON. Text that is not UTF-8 has its bad bytes replaced by U+FFFD.
void append_json(const Value& value, std::string& out);

/// Appends the value as MessagePack, floats as float64.
void append_msgpack(const Value& value, std::vector<std::uint8_t>& out);

/// What came, for an error message: "a string", "an array of 3", "the integer -4"; "missing" for null.
std::string describe(const Value* value);

/// Text from a peer, quoted for an error message: shortened, control and non-ASCII bytes as '?'.
std::string quoted(std::string_view text);

}  // namespace chiral::wire
