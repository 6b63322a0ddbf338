// SPDX-License-Identifier: Apache-2.0
// Parses headers with msgpack-cxx and prints values as JSON.
#include "wire/values.hpp"

#include "wire/utf8.hpp"

#include <msgpack.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

namespace chiral::wire {

namespace {

// Receives the values of a header in order and appends them to the list. Refuses a container by the count it
// announces, before any of its elements is read.
class ListBuilder : public msgpack::null_visitor {
public:
    void begin(const Limits& limits) {
        limits_ = limits;
        values_.clear();
        open_.clear();
        keys_ = 0;
    }
    const std::vector<Value>& values() const noexcept { return values_; }

    void init() {}
    bool visit_nil() {
        append(Value::Kind::nil);
        return true;
    }
    bool visit_boolean(bool boolean) {
        append(Value::Kind::boolean).boolean = boolean;
        return true;
    }
    bool visit_positive_integer(std::uint64_t integer) {
        append(Value::Kind::unsigned_integer).unsigned_integer = integer;
        return true;
    }
    bool visit_negative_integer(std::int64_t integer) {  // called for any integer sent in a signed format
        if (integer >= 0) return visit_positive_integer(static_cast<std::uint64_t>(integer));
        append(Value::Kind::negative_integer).negative_integer = integer;
        return true;
    }
    bool visit_float32(float real) { return visit_float64(static_cast<double>(real)); }
    bool visit_float64(double real) {
        append(Value::Kind::real).real = real;
        return true;
    }
    bool visit_str(const char* bytes, std::uint32_t size) { return append_bytes(Value::Kind::text, bytes, size); }
    bool visit_bin(const char* bytes, std::uint32_t size) { return append_bytes(Value::Kind::binary, bytes, size); }
    bool visit_ext(const char* bytes, std::uint32_t size) { return append_bytes(Value::Kind::extension, bytes, size); }
    bool start_array(std::uint32_t size) { return open(Value::Kind::array, size, "an array of "); }
    bool start_map(std::uint32_t size) {
        // As JSON, each key in a key doubles the escapes of what is inside: 120 bytes would become gigabytes.
        if (keys_ > 1) throw DecodeError("header: a map inside a key of a map that is a key itself, expected text");
        return open(Value::Kind::map, size, "a map of ");
    }
    bool start_map_key() {
        ++keys_;
        return true;
    }
    bool end_map_key() {
        --keys_;
        return true;
    }
    bool end_array() { return close(); }
    bool end_map() { return close(); }
    void parse_error(std::size_t, std::size_t) { throw DecodeError("header: not MessagePack: byte 0xc1 begins no value"); }

private:
    Value& append(Value::Kind kind) {
        if (values_.size() >= limits_.max_values)
            throw DecodeError("header: more than the " + std::to_string(limits_.max_values) + " values accepted");
        values_.emplace_back().kind = kind;
        return values_.back();
    }
    bool append_bytes(Value::Kind kind, const char* bytes, std::uint32_t size) {
        Value& value = append(kind);
        value.size = size;
        value.bytes = size > 0 ? bytes : "";  // the parser leaves the pointer of empty text undefined
        return true;
    }
    bool open(Value::Kind kind, std::uint32_t size, const char* what) {
        if (size > limits_.max_map_entries)
            throw DecodeError("header: " + std::string(what) + std::to_string(size) + ", at most " +
                              std::to_string(limits_.max_map_entries) + " accepted");
        if (open_.size() >= limits_.max_depth)
            throw DecodeError("header: nested deeper than the " + std::to_string(limits_.max_depth) + " levels accepted");
        append(kind).size = size;
        open_.push_back(values_.size() - 1);
        return true;
    }
    bool close() {
        values_[open_.back()].span = static_cast<std::uint32_t>(values_.size() - open_.back());
        open_.pop_back();
        return true;
    }

    Limits limits_;
    std::vector<Value> values_;
    std::vector<std::size_t> open_;  // the containers around the next value
    std::size_t keys_{0};            // the keys around the next value
};

struct BufferHook {
    void operator()(char*) const noexcept {}
};

// msgpack::parse() allocates a stack for every call; the streaming parser keeps its stack and its buffer.
class HeaderParser : public msgpack::parser<HeaderParser, BufferHook> {
public:
    HeaderParser() : msgpack::parser<HeaderParser, BufferHook>(hook_, 8 << 10) {}
    ListBuilder& visitor() noexcept { return builder_; }
    bool referenced() const noexcept { return false; }
    void set_referenced(bool) noexcept {}

    const Value& parse(Bytes header, const Limits& limits) {
        reset();
        skip_nonparsed_buffer(nonparsed_size());  // what a refused header left behind
        builder_.begin(limits);
        reserve_buffer(header.size());
        if (!header.empty()) std::memcpy(buffer(), header.data(), header.size());
        buffer_consumed(header.size());
        if (!next())
            throw DecodeError("header: ends after " + std::to_string(header.size()) + " bytes, inside a MessagePack value");
        if (nonparsed_size() > 0)
            throw DecodeError("header: " + std::to_string(nonparsed_size()) + " bytes of its " +
                              std::to_string(header.size()) + " lie after the end of its map");
        const Value& root = builder_.values().front();
        if (!root.is_map()) throw DecodeError("header: is " + describe(&root) + ", expected a map");
        return root;
    }

private:
    BufferHook hook_;
    ListBuilder builder_;
};

template <class Number>
void append_number(Number number, std::string& out) {
    std::array<char, 32> digits;
    const auto result = std::to_chars(digits.data(), digits.data() + digits.size(), number);
    out.append(digits.data(), result.ptr);
}

void append_real(double real, std::string& out) {
    if (!std::isfinite(real)) {
        out += "null";
        return;
    }
    const std::size_t begin = out.size();
    append_number(real, out);
    if (out.find_first_of(".e", begin) == std::string::npos) out += ".0";  // still a float to whoever reads it
}

void append_json_text(std::string_view text, std::string& out) {
    constexpr char hex[] = "0123456789abcdef";
    out += '"';
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        const char c = text.front();
        if (length == 0) {
            out += utf8_replacement;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out += "\\u00";
            out += hex[c >> 4];
            out += hex[c & 15];
        } else {
            if (c == '"' || c == '\\') out += '\\';
            out += text.substr(0, length);
        }
        text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    out += '"';
}

void append_base64(std::string_view bytes, std::string& out) {
    constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (; !bytes.empty(); bytes.remove_prefix(std::min<std::size_t>(bytes.size(), 3))) {
        std::uint32_t group = 0;
        for (std::size_t i = 0; i < 3; ++i)
            group = group << 8 | (i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0u);
        for (std::size_t i = 0; i < 4; ++i) out += i <= bytes.size() ? digits[group >> (18 - 6 * i) & 63] : '=';
    }
}

}  // namespace

const Value& parse_header(Bytes header, const Limits& limits) {
    thread_local HeaderParser parser;
    return parser.parse(header, limits);
}

std::optional<double> Value::number() const noexcept {
    switch (kind) {
        case Kind::unsigned_integer: return static_cast<double>(unsigned_integer);
        case Kind::negative_integer: return static_cast<double>(negative_integer);
        case Kind::real: return real;
        default: return std::nullopt;
    }
}

const Value* Value::find(std::string_view wanted) const noexcept {
    const Value* key = first();
    for (std::uint32_t i = 0; i < size; ++i) {
        if (key->is_text() && key->text() == wanted) return key->next();
        key = key->next()->next();
    }
    return nullptr;
}

void append_json(const Value& value, std::string& out) {
    bool begun = false;
    const auto comma = [&] {
        if (begun) out += ',';
        begun = true;
    };
    switch (value.kind) {
        case Value::Kind::nil: out += "null"; break;
        case Value::Kind::boolean: out += value.boolean ? "true" : "false"; break;
        case Value::Kind::unsigned_integer: append_number(value.unsigned_integer, out); break;
        case Value::Kind::negative_integer: append_number(value.negative_integer, out); break;
        case Value::Kind::real: append_real(value.real, out); break;
        case Value::Kind::text: append_json_text(value.text(), out); break;
        case Value::Kind::binary:
        case Value::Kind::extension:
            out += '"';
            append_base64(value.text(), out);
            out += '"';
            break;
        case Value::Kind::array:
            out += '[';
            value.for_each_element([&](const Value& element) {
                comma();
                append_json(element, out);
            });
            out += ']';
            break;
        case Value::Kind::map:
            out += '{';
            value.for_each_pair([&](const Value& key, const Value& element) {
                comma();
                if (key.is_text()) {
                    append_json_text(key.text(), out);
                } else {  // MessagePack allows any value as key, JSON only text
                    std::string text;
                    append_json(key, text);
                    append_json_text(text, out);
                }
                out += ':';
                append_json(element, out);
            });
            out += '}';
            break;
    }
}

void append_msgpack(const Value& value, std::vector<std::uint8_t>& out) {
    struct Appending {
        std::vector<std::uint8_t>& out;
        void write(const char* bytes, std::size_t size) { out.insert(out.end(), bytes, bytes + size); }
    } appending{out};
    msgpack::packer<Appending> packer(appending);
    switch (value.kind) {
        case Value::Kind::nil: packer.pack_nil(); break;
        case Value::Kind::boolean: value.boolean ? packer.pack_true() : packer.pack_false(); break;
        case Value::Kind::unsigned_integer: packer.pack_uint64(value.unsigned_integer); break;
        case Value::Kind::negative_integer: packer.pack_int64(value.negative_integer); break;
        case Value::Kind::real:  // not pack_double(), which makes integers of whole numbers
            packer.pack_fix_uint64(std::bit_cast<std::uint64_t>(value.real));
            out[out.size() - 9] = 0xcb;
            break;
        case Value::Kind::text:
            packer.pack_str(value.size);
            packer.pack_str_body(value.bytes, value.size);
            break;
        case Value::Kind::binary:
            packer.pack_bin(value.size);
            packer.pack_bin_body(value.bytes, value.size);
            break;
        case Value::Kind::extension:
            packer.pack_ext(value.size - 1, static_cast<std::int8_t>(value.bytes[0]));
            packer.pack_ext_body(value.bytes + 1, value.size - 1);
            break;
        case Value::Kind::array:
            packer.pack_array(value.size);
            value.for_each_element([&](const Value& element) { append_msgpack(element, out); });
            break;
        case Value::Kind::map:
            packer.pack_map(value.size);
            value.for_each_pair([&](const Value& key, const Value& element) {
                append_msgpack(key, out);
                append_msgpack(element, out);
            });
            break;
    }
}

std::string describe(const Value* value) {
    if (value == nullptr) return "missing";
    std::string number;
    switch (value->kind) {
        case Value::Kind::nil: return "nil";
        case Value::Kind::boolean: return value->boolean ? "true" : "false";
        case Value::Kind::unsigned_integer: return "the integer " + std::to_string(value->unsigned_integer);
        case Value::Kind::negative_integer: return "the integer " + std::to_string(value->negative_integer);
        case Value::Kind::real: append_number(value->real, number); return "the float " + number;
        case Value::Kind::text: return "the string " + quoted(value->text());
        case Value::Kind::binary: return "binary data of " + std::to_string(value->size) + " bytes";
        case Value::Kind::extension: return "an extension type";
        case Value::Kind::array: return "an array of " + std::to_string(value->size);
        case Value::Kind::map: return "a map of " + std::to_string(value->size);
    }
    return "unknown";
}

std::string quoted(std::string_view text) {
    constexpr std::size_t longest = 64;
    std::string out = "'";
    for (const char c : text.substr(0, longest)) out += c >= 0x20 && c < 0x7f ? c : '?';
    return out + (text.size() > longest ? "...'" : "'");
}

}  // namespace chiral::wire
