// SPDX-License-Identifier: Apache-2.0
// What the wire format and CameraInfo call the two kinds of pixels of a camera, and how they look: the one table that
// encoder and decoder share.
#pragma once

#include <chiral/dtype.hpp>
#include <chiral/types.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace chiral::wire {

/// The numbers of dimensions that a shape may have.
class Ranks {
public:
    constexpr Ranks(std::initializer_list<unsigned> ranks) {
        for (const unsigned rank : ranks) bits_ |= 1u << rank;
    }
    constexpr bool has(std::size_t rank) const noexcept { return rank < 32 && (bits_ >> rank & 1u) != 0; }

private:
    std::uint32_t bits_{0};
};

struct PixelFormat {
    const char* what;
    const char* shape_key;
    const char* dtype_key;
    const char* offset_key;
    const char* size_key;
    Ranks ranks;             // of the shape; with no dimensions there are no bytes
    const char* dimensions;  // how the shape reads in an error message
    DType usual;             // where a caller of the encoder does not say
    ByteBuffer CameraInfo::*bytes;
    std::vector<int> CameraInfo::*shape;
    std::string CameraInfo::*dtype;
};

inline constexpr PixelFormat image_format{
    .what = "image",
    .shape_key = "image_shape",
    .dtype_key = "image_dtype",
    .offset_key = "image_offset",
    .size_key = "image_size",
    .ranks = {3, 2, 0},
    .dimensions = "[H, W, C], [H, W] or []",
    .usual = DType::uint8,
    .bytes = &CameraInfo::image,
    .shape = &CameraInfo::image_shape,
    .dtype = &CameraInfo::image_dtype,
};

inline constexpr PixelFormat depth_format{
    .what = "depth",
    .shape_key = "depth_shape",
    .dtype_key = "depth_dtype",
    .offset_key = "depth_offset",
    .size_key = "depth_size",
    .ranks = {2},
    .dimensions = "[H, W]",
    .usual = DType::float32,
    .bytes = &CameraInfo::depth_data,
    .shape = &CameraInfo::depth_shape,
    .dtype = &CameraInfo::depth_dtype,
};

/// The type of a camera's pixels in an observation that is to be sent; nothing for a name that is none.
inline std::optional<DType> dtype_of(const CameraInfo& camera, const PixelFormat& format) noexcept {
    const std::string& name = camera.*format.dtype;
    return name.empty() || name == to_string(format.usual) ? format.usual : parse_dtype(name);
}

/// For error messages: every type that may come.
inline std::string dtypes_text() {
    std::string text = "little-endian ";
    for (std::size_t i = 0; i < dtype_count; ++i)
        text += (i == 0 ? "" : i + 1 == dtype_count ? " or " : ", ") + std::string(to_string(static_cast<DType>(i)));
    return text;
}

/// "[480, 640, 3]"
inline std::string shape_text(const std::vector<int>& shape) {
    std::string text = "[";
    for (const int dimension : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(dimension);
    return text + ']';
}

/// The product, or the largest std::size_t where it does not fit.
inline std::size_t saturating_product(std::size_t a, std::size_t b) noexcept {
    constexpr std::size_t largest = std::numeric_limits<std::size_t>::max();
    return b != 0 && a > largest / b ? largest : a * b;
}

/// The payload of values as they are sent.
inline Bytes bytes_of(const std::vector<float>& data) noexcept {
    return {reinterpret_cast<const std::uint8_t*>(data.data()), data.size() * sizeof(float)};
}

}  // namespace chiral::wire
