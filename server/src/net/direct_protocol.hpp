// SPDX-License-Identifier: Apache-2.0
// How a client on the same machine gets a page in which it pins by itself (chiral/guests.hpp), so that it need not ask for what is
// newest. Who asks for none, or gets none, goes on as without.
//
//     hello     "direct=1" among its lines
//     welcome   "direct=1": a page follows
//     server    direct: the layout below, and the descriptor of the page, which is all zero
//     client    direct: it has mapped the page, for writing. Before that, no message
//     server    direct: u64 number of the occupant, after it has sealed the page; 0: it has none after all
//
// The layout, numbers as in local_protocol.hpp:
//
//     u64 bytes of the page, place of its bell (page_bell.hpp) | u32 cameras | per camera:
//     u16 length of its name, the name | u32 height, width, channels | u8 two-dimensional | the names of the types of image and
//     depth, as its own | f64 metres of a unit of depth | i64 nanoseconds after which it is stale, by which a capture
//     may come after it was published
//     u64 view, hazards | per buffer (image, depth, intrinsics, extrinsics): u64 slots, stride, count, spare, bytes, stamps
//
// Cameras with encoded images are not among them. Offsets as in GuestCamera.
#pragma once

#include "net/local_protocol.hpp"

#include <chiral/dtype.hpp>
#include <chiral/guests.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace chiral::net {

struct DirectCamera {
    std::string name;
    int height{0}, width{0}, channels{0};
    bool two_dimensional{false};
    DType image_dtype{DType::uint8}, depth_dtype{DType::float32};
    double depth_unit{0.0};
    std::int64_t stale_after{0}, ahead_tolerance{0};  ///< nanoseconds
    GuestCamera place;
};

struct DirectLayout {
    std::uint64_t page_bytes{0};
    std::uint64_t bell{0};  ///< by which the server answers wishes for newer images, from the beginning of the page
    std::vector<DirectCamera> cameras;
};

std::vector<std::uint8_t> direct_layout(const DirectLayout& layout);
/// Every number is checked: what it says lies within `memory_bytes` and the page, where words may lie. Throws std::runtime_error.
DirectLayout read_direct_layout(LocalBytes body, std::uint64_t memory_bytes);

/// What the server says after that: the number of the occupant, or 0.
std::vector<std::uint8_t> occupant(std::uint64_t number);
std::optional<std::uint64_t> read_occupant(LocalBytes body) noexcept;

}  // namespace chiral::net
