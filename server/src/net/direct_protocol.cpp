// SPDX-License-Identifier: Apache-2.0
#include "net/direct_protocol.hpp"

#include "net/little_endian.hpp"
#include "net/page_bell.hpp"

#include <chiral/core/hazard.hpp>

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>
#include <string_view>

namespace chiral::net {
namespace {

constexpr const char* kLayout = "the layout for direct reading";

template <class Number>
Number number(Taker& from) {
    return from.number<Number>(kLayout);
}

std::string text(Taker& from) {
    const LocalBytes bytes = from.take(number<std::uint16_t>(from), kLayout);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void append_text(std::vector<std::uint8_t>& out, std::string_view text) {
    append(out, static_cast<std::uint16_t>(text.size()));
    out.insert(out.end(), text.begin(), text.end());
}

[[noreturn]] void refuse(const std::string& camera, const std::string& what) {
    throw std::runtime_error("the layout of camera '" + camera + "' for direct reading has " + what);
}

// So many bytes at an offset, each multiple of `alignment`, none of them beyond the end.
bool lies_in(std::uint64_t offset, std::uint64_t bytes, std::uint64_t end, std::uint64_t alignment) noexcept {
    return offset % alignment == 0 && offset <= end && bytes <= end - offset;
}

DType dtype_of(const std::string& camera, const std::string& name) {
    const std::optional<DType> type = parse_dtype(name);
    if (!type) refuse(camera, "elements of an unknown type");
    return *type;
}

int side(Taker& from, const std::string& camera) {
    const auto side = number<std::uint32_t>(from);
    constexpr std::uint32_t most = 1 << 16;
    if (side < 1 || side > most)
        refuse(camera, "a side of " + std::to_string(side) + ", expected 1 to " + std::to_string(most));
    return static_cast<int>(side);
}

GuestCamera::Buffer buffer(Taker& from, const std::string& camera, std::uint64_t memory) {
    GuestCamera::Buffer b;
    for (std::uint64_t* field : {&b.slots, &b.stride, &b.count, &b.spare, &b.bytes, &b.stamps})
        *field = number<std::uint64_t>(from);
    constexpr std::uint64_t most_slots = core::kMaxSlots - core::kSpareSlots;
    if (b.count < 1 || b.count > most_slots) refuse(camera, std::to_string(b.count) + " slots");
    if (!lies_in(b.stamps, kStampStride * (b.count + 1), memory, kStampStride)) refuse(camera, "stamps outside the memory");
    if (b.bytes == 0) return b;
    constexpr std::uint64_t alignment = alignof(double);
    if (b.bytes > b.stride || b.stride % alignment != 0 || b.stride > memory / b.count ||
        !lies_in(b.slots, b.stride * b.count, memory, alignment) || !lies_in(b.spare, b.stride, memory, alignment))
        refuse(camera, "slots outside the memory of " + std::to_string(memory) + " bytes");
    return b;
}

DirectCamera camera(Taker& from, std::uint64_t memory, std::uint64_t page) {
    DirectCamera c;
    c.name = text(from);
    for (int* length : {&c.height, &c.width, &c.channels}) *length = side(from, c.name);
    c.two_dimensional = number<std::uint8_t>(from) != 0;
    c.image_dtype = dtype_of(c.name, text(from));
    c.depth_dtype = dtype_of(c.name, text(from));
    c.depth_unit = std::bit_cast<double>(number<std::uint64_t>(from));
    for (std::int64_t* limit : {&c.stale_after, &c.ahead_tolerance})
        *limit = static_cast<std::int64_t>(number<std::uint64_t>(from));
    c.place.view = number<std::uint64_t>(from);
    c.place.hazards = number<std::uint64_t>(from);
    constexpr std::uint64_t word = sizeof(std::uint64_t);
    if (!lies_in(c.place.view, word, memory, word) || !lies_in(c.place.hazards, kGuestPins * word, page, word))
        refuse(c.name, "words outside the memory");
    for (GuestCamera::Buffer& b : c.place.buffers) b = buffer(from, c.name, memory);
    const auto pixels = static_cast<std::uint64_t>(c.height) * static_cast<std::uint64_t>(c.width);
    const auto& [image, depth, intrinsics, extrinsics] = c.place.buffers;
    if (image.bytes != pixels * static_cast<std::uint64_t>(c.channels) * size_of(c.image_dtype) ||
        (depth.bytes != 0 && depth.bytes != pixels * size_of(c.depth_dtype)) || intrinsics.bytes != 9 * sizeof(double) ||
        extrinsics.bytes != 16 * sizeof(double))
        refuse(c.name, "buffers of other sizes than its shape");
    return c;
}

}  // namespace

std::vector<std::uint8_t> direct_layout(const DirectLayout& layout) {
    std::vector<std::uint8_t> out;
    append(out, layout.page_bytes);
    append(out, layout.bell);
    append(out, static_cast<std::uint32_t>(layout.cameras.size()));
    for (const DirectCamera& c : layout.cameras) {
        append_text(out, c.name);
        for (const int length : {c.height, c.width, c.channels}) append(out, static_cast<std::uint32_t>(length));
        append(out, static_cast<std::uint8_t>(c.two_dimensional ? 1 : 0));
        append_text(out, to_string(c.image_dtype));
        append_text(out, to_string(c.depth_dtype));
        append(out, std::bit_cast<std::uint64_t>(c.depth_unit));
        for (const std::int64_t limit : {c.stale_after, c.ahead_tolerance}) append(out, static_cast<std::uint64_t>(limit));
        append(out, c.place.view);
        append(out, c.place.hazards);
        for (const GuestCamera::Buffer& b : c.place.buffers)
            for (const std::uint64_t field : {b.slots, b.stride, b.count, b.spare, b.bytes, b.stamps}) append(out, field);
    }
    return out;
}

std::vector<std::uint8_t> occupant(std::uint64_t number) {
    std::vector<std::uint8_t> out;
    append(out, number);
    return out;
}

std::optional<std::uint64_t> read_occupant(LocalBytes body) noexcept {
    if (body.size() != sizeof(std::uint64_t)) return std::nullopt;
    return Taker(body).number<std::uint64_t>();
}

DirectLayout read_direct_layout(LocalBytes body, std::uint64_t memory_bytes) {
    Taker from(body);
    DirectLayout layout;
    layout.page_bytes = number<std::uint64_t>(from);
    constexpr std::uint64_t most = 1 << 20;
    if (layout.page_bytes < 1 || layout.page_bytes > most)
        throw std::runtime_error("a page for direct reading has " + std::to_string(layout.page_bytes) +
                                 " bytes, expected 1 to " + std::to_string(most));
    layout.bell = number<std::uint64_t>(from);
    if (!lies_in(layout.bell, PageBell::kBytes, layout.page_bytes, sizeof(std::uint64_t)))
        throw std::runtime_error("the bell for direct reading lies at " + std::to_string(layout.bell) + " of a page of " +
                                 std::to_string(layout.page_bytes) + " bytes");
    for (auto left = number<std::uint32_t>(from); left > 0; --left)
        layout.cameras.push_back(camera(from, memory_bytes, layout.page_bytes));
    if (from.left() > 0) throw std::runtime_error("the layout for direct reading goes on behind its last camera");
    return layout;
}

}  // namespace chiral::net
