// SPDX-License-Identifier: Apache-2.0
#include "image_rows.hpp"

#include <algorithm>
#include <cstring>

// Three bytes a pixel take shuffles, which plain x86-64 has not: these rows are compiled for AVX2, too, and the loader
// chooses. Not with sanitizers, which are not there yet when it does; 64-bit Arm has such shuffles in any case. libyuv is as
// fast for four bytes a pixel, twice as fast for BGR, four times for YUYV, and a library that the engine would need for that
// alone.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define CHIRAL_ROW __attribute__((target_clones("avx2", "default")))
#else
#define CHIRAL_ROW
#endif

namespace chiral::detail {
namespace {

using Bytes = const std::uint8_t* __restrict;
using Out = std::uint8_t* __restrict;

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

CHIRAL_ROW void bgr_row(Bytes from, std::size_t width, Out to) noexcept {
    for (std::size_t i = 0; i < width; ++i) {
        to[3 * i] = from[3 * i + 2];
        to[3 * i + 1] = from[3 * i + 1];
        to[3 * i + 2] = from[3 * i];
    }
}

CHIRAL_ROW void bgra_row(Bytes from, std::size_t width, Out to) noexcept {
    for (std::size_t i = 0; i < width; ++i) {
        to[3 * i] = from[4 * i + 2];
        to[3 * i + 1] = from[4 * i + 1];
        to[3 * i + 2] = from[4 * i];
    }
}

CHIRAL_ROW void rgba_row(Bytes from, std::size_t width, Out to) noexcept {
    for (std::size_t i = 0; i < width; ++i) {
        to[3 * i] = from[4 * i];
        to[3 * i + 1] = from[4 * i + 1];
        to[3 * i + 2] = from[4 * i + 2];
    }
}

std::uint8_t clamped(std::int32_t scaled) noexcept {
    return static_cast<std::uint8_t>(std::clamp((scaled + 128) >> 8, 0, 255));
}

// ITU-R BT.601 with 8 fractional bits: R = 1.164 (Y - 16) + 1.596 (V - 128), and so on; within 1 of exact arithmetic. A few
// pairs of pixels at a time, by planes: so the compiler has a vector for each step.
CHIRAL_ROW void yuyv_to_rgb_row(Bytes from, std::size_t width, Out to) noexcept {
    constexpr std::size_t kPairs = 32;
    for (std::size_t done = 0; done < width / 2; done += kPairs) {
        const std::size_t pairs = std::min(kPairs, width / 2 - done);
        std::uint8_t yuyv[4 * kPairs] = {};
        std::memcpy(yuyv, from + 4 * done, 4 * pairs);
        std::uint8_t red[2 * kPairs], green[2 * kPairs], blue[2 * kPairs];
        for (std::size_t i = 0; i < kPairs; ++i) {
            const std::int32_t u = yuyv[4 * i + 1] - 128;
            const std::int32_t v = yuyv[4 * i + 3] - 128;
            const std::int32_t first = 298 * (yuyv[4 * i] - 16), second = 298 * (yuyv[4 * i + 2] - 16);
            red[2 * i] = clamped(first + 409 * v);
            red[2 * i + 1] = clamped(second + 409 * v);
            green[2 * i] = clamped(first - 100 * u - 208 * v);
            green[2 * i + 1] = clamped(second - 100 * u - 208 * v);
            blue[2 * i] = clamped(first + 516 * u);
            blue[2 * i + 1] = clamped(second + 516 * u);
        }
        std::uint8_t rgb[6 * kPairs];
        for (std::size_t i = 0; i < 2 * kPairs; ++i) {
            rgb[3 * i] = red[i];
            rgb[3 * i + 1] = green[i];
            rgb[3 * i + 2] = blue[i];
        }
        std::memcpy(to + 6 * done, rgb, 6 * pairs);
    }
}

CHIRAL_ROW void yuyv_to_grey_row(Bytes from, std::size_t width, Out to) noexcept {
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
            case PixelFormat::bgra: bgra_row(from, width, to); break;
            case PixelFormat::rgba: rgba_row(from, width, to); break;
            case PixelFormat::yuyv:
                if (camera.channels == 1) yuyv_to_grey_row(from, width, to);
                else yuyv_to_rgb_row(from, width, to);
                break;
        }
    }
}

}  // namespace chiral::detail
