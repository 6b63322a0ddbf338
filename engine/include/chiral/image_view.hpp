// SPDX-License-Identifier: Apache-2.0
// Pixels as a driver has them: rows with a stride, channels in another order, or two pixels in four bytes.
#pragma once

#include <chiral/api.hpp>

#include <cstddef>
#include <cstdint>

namespace chiral {

/// How the bytes of a row are to be understood. All but `declared` are for cameras of 8-bit elements.
enum class PixelFormat : std::uint8_t {
    declared,  ///< the elements of the camera, as they are declared
    bgr,       ///< for 3 channels: blue first, as OpenCV has it
    bgra,      ///< for 3 channels: the fourth byte is left out
    rgba,      ///< for 3 channels: the fourth byte is left out
    /// For 3 channels, which become RGB, or 1, the luma: YUY2, two pixels in Y0 U Y1 V. An even width. ITU-R BT.601, 16 to 235.
    yuyv,
};

struct ImageView {
    const std::uint8_t* data{nullptr};  ///< height rows, the first one first
    std::size_t stride{0};              ///< bytes from row to row; 0: no padding
    PixelFormat format{PixelFormat::declared};
};

}  // namespace chiral
