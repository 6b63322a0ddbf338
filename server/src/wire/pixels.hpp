// SPDX-License-Identifier: Apache-2.0
// What the wire format and CameraInfo call the two kinds of pixels of a camera, and how they look: the one table that
// encoder and decoder share.
#pragma once

#include <chiral/types.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace chiral::wire {

struct PixelFormat {
    const char* what;
    const char* shape_key;
    const char* dtype_key;
    const char* offset_key;
    const char* size_key;
    std::uint32_t rank;      // dimensions of the shape
    std::uint32_t or_rank;   // the other number of dimensions that is accepted, with no bytes if it is 0
    const char* dimensions;  // how the shape reads in an error message
    const char* dtype_name;
    std::size_t element_size;
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
    .rank = 3,
    .or_rank = 0,
    .dimensions = "[H, W, C]",
    .dtype_name = "uint8",
    .element_size = 1,
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
    .rank = 2,
    .or_rank = 2,
    .dimensions = "[H, W]",
    .dtype_name = "float32",
    .element_size = sizeof(float),
    .bytes = &CameraInfo::depth_data,
    .shape = &CameraInfo::depth_shape,
    .dtype = &CameraInfo::depth_dtype,
};

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

}  // namespace chiral::wire
