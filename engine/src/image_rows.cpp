// SPDX-License-Identifier: Apache-2.0
#include "image_rows.hpp"

#include <algorithm>
#include <cstring>

namespace chiral::detail {
namespace {

std::size_t width_of(const CameraConfig& camera) noexcept { return static_cast<std::size_t>(camera.width); }

std::size_t row_bytes(PixelFormat format, const CameraConfig& camera) noexcept {
    const std::size_t width = width_of(camera);
    switch (format) {
        case PixelFormat::declared: return width * static_cast<std::size_t>(camera.channels) * size_of(camera.image_dtype);
        case PixelFormat::bgr: return width * 3;
        case PixelFormat::bgra:
        case PixelFormat::rgba: return width * 4;
        case PixelFormat::yuyv: return width * 2;
    }
    return 0;
}

void bgr_row(const std::uint8_t* from, std::size_t width, std::uint8_t* to) noexcept {
    for (std::size_t i = 0; i < width; ++i) {
        to[3 * i] = from[3 * i + 2];
        to[3 * i + 1] = from[3 * i + 1];
        to[3 * i + 2] = from[3 * i];
    }
}

template <std::size_t red, std::size_t blue>
void four_byte_row(const std::uint8_t* from, std::size_t width, std::uint8_t* to) noexcept {
    for (std::size_t i = 0; i < width; ++i) {
        to[3 * i] = from[4 * i + red];
        to[3 * i + 1] = from[4 * i + 1];
        to[3 * i + 2] = from[4 * i + blue];
    }
}

std::uint8_t clamped(std::int32_t scaled) noexcept {
    return static_cast<std::uint8_t>(std::clamp((scaled + 128) >> 8, 0, 255));
}

// ITU-R BT.601 with 8 fractional bits: R = 1.164 (Y - 16) + 1.596 (V - 128), and so on; within 1 of exact arithmetic.
void yuyv_to_rgb_row(const std::uint8_t* from, std::size_t width, std::uint8_t* to) noexcept {
    for (std::size_t i = 0; i < width / 2; ++i) {
        const std::int32_t u = from[4 * i + 1] - 128;
        const std::int32_t v = from[4 * i + 3] - 128;
        const std::int32_t red = 409 * v, green = -100 * u - 208 * v, blue = 516 * u;
        const std::int32_t first = 298 * (from[4 * i] - 16), second = 298 * (from[4 * i + 2] - 16);
        to[6 * i] = clamped(first + red);
        to[6 * i + 1] = clamped(first + green);
        to[6 * i + 2] = clamped(first + blue);
        to[6 * i + 3] = clamped(second + red);
        to[6 * i + 4] = clamped(second + green);
        to[6 * i + 5] = clamped(second + blue);
    }
}

void yuyv_to_grey_row(const std::uint8_t* from, std::size_t width, std::uint8_t* to) noexcept {
    for (std::size_t i = 0; i < width; ++i) to[i] = clamped(298 * (from[2 * i] - 16));
}

}  // namespace

RowProblem problem_of(const ImageView& image, const CameraConfig& camera) noexcept {
    if (!image.data) return {"view has no data"};
    if (camera.encoding != FrameEncoding::raw) return {"is encoded, a view is of pixels"};
    if (image.format != PixelFormat::declared) {
        if (size_of(camera.image_dtype) != 1) return {"view is of 8-bit pixels, expected the camera's elements"};
        const bool grey = image.format == PixelFormat::yuyv && camera.channels == 1;
        if (camera.channels != 3 && !grey)
            return {"view becomes RGB, expected another number of channels", static_cast<std::size_t>(camera.channels)};
        if (image.format == PixelFormat::yuyv && camera.width % 2 != 0)
            return {"view is of pairs of pixels, expected an even width", width_of(camera)};
    }
    if (image.stride != 0 && image.stride < row_bytes(image.format, camera))
        return {"view has a stride that is shorter than its rows", image.stride};
    return {};
}

void convert_rows(const ImageView& image, const CameraConfig& camera, std::uint8_t* slot) noexcept {
    const std::size_t from_bytes = row_bytes(image.format, camera);
    const std::size_t to_bytes = row_bytes(PixelFormat::declared, camera);
    const std::size_t stride = image.stride != 0 ? image.stride : from_bytes;
    const std::size_t width = width_of(camera);
    for (std::size_t row = 0; row < static_cast<std::size_t>(camera.height); ++row) {
        const std::uint8_t* from = image.data + row * stride;
        std::uint8_t* to = slot + row * to_bytes;
        switch (image.format) {
            case PixelFormat::declared: std::memcpy(to, from, to_bytes); break;
            case PixelFormat::bgr: bgr_row(from, width, to); break;
            case PixelFormat::bgra: four_byte_row<2, 0>(from, width, to); break;
            case PixelFormat::rgba: four_byte_row<0, 2>(from, width, to); break;
            case PixelFormat::yuyv:
                if (camera.channels == 1) yuyv_to_grey_row(from, width, to);
                else yuyv_to_rgb_row(from, width, to);
                break;
        }
    }
}

}  // namespace chiral::detail
