// SPDX-License-Identifier: Apache-2.0
#include "imaging/transform.hpp"

#include <cstring>
#include <utility>

namespace chiral::imaging {

namespace {

std::size_t pixels_of(ImageSize size) noexcept { return static_cast<std::size_t>(size.height) * size.width; }

void swap_red_and_blue(const std::uint8_t* from, std::size_t pixels, std::uint8_t* to) {
    for (const std::uint8_t* const end = from + 3 * pixels; from != end; from += 3, to += 3) {
        const std::uint8_t red = from[0];
        to[1] = from[1];
        to[0] = from[2];
        to[2] = red;
    }
}

// The bytes of a raw or Zstandard image stand in the order that was wished for; the other streams have one of their own.
bool must_swap(ImageEncoding encoding, ColourOrder order, int channels) noexcept {
    return order == ColourOrder::bgr && channels == 3 && (encoding == ImageEncoding::raw || encoding == ImageEncoding::zstd);
}

}  // namespace

bool is_as_wished(const ImageFormat& camera, const CameraWish& wish) noexcept {
    return wish.image == ImageEncoding::raw && !must_swap(wish.image, wish.order, camera.channels) &&
           place(camera.size, wish.size, wish.fit).identity(camera.size);
}

bool depth_is_as_wished(ImageSize camera, const CameraWish& wish) noexcept {
    return wish.depth == DepthEncoding::raw && place(camera, wish.size, wish.fit).identity(camera);
}

void ImageEncoder::image(const std::uint8_t* pixels, const ImageFormat& camera, const CameraWish& wish, EncodedImage& out) {
    const Placement placement = place(camera.size, wish.size, wish.fit);
    const ImageFormat format{placement.size, camera.channels, ColourOrder::rgb};
    out.size = format.size;
    out.encoding = carries(wish.image, camera.channels) ? wish.image : ImageEncoding::zstd;
    const bool raw = out.encoding == ImageEncoding::raw;
    if (raw || !placement.identity(camera.size)) {
        std::vector<std::uint8_t>& scaled = raw ? out.bytes : scaled_;
        scaled.resize(format.bytes());
        resampler_.image(pixels, camera.size, camera.channels, placement, scaled.data());
        pixels = scaled.data();
    }
    if (must_swap(out.encoding, wish.order, camera.channels)) {
        std::vector<std::uint8_t>& swapped = raw ? out.bytes : scaled_;
        swapped.resize(format.bytes());
        swap_red_and_blue(pixels, format.pixels(), swapped.data());
        pixels = swapped.data();
    }
    switch (out.encoding) {
        case ImageEncoding::jpeg: jpeg_.encode(pixels, format, wish.quality, out.bytes); break;
        case ImageEncoding::png: encode_png(pixels, format, out.bytes); break;
        case ImageEncoding::zstd: zstd_.encode({pixels, format.bytes()}, out.bytes); break;
        case ImageEncoding::raw:
        case ImageEncoding::none: break;
    }
}

void ImageEncoder::depth(const float* metres, ImageSize camera, const CameraWish& wish, EncodedDepth& out) {
    const Placement placement = place(camera, wish.size, wish.fit);
    const std::size_t count = pixels_of(placement.size);
    out.size = placement.size;
    out.encoding = wish.depth;
    if (!placement.identity(camera) || wish.depth == DepthEncoding::raw) {
        scaled_depth_.resize(count);
        resampler_.depth(metres, camera, placement, scaled_depth_.data());
        metres = scaled_depth_.data();
    }
    if (wish.depth == DepthEncoding::millimetres || wish.depth == DepthEncoding::millimetres_png) {
        millimetres_.resize(count);
        to_millimetres(metres, count, millimetres_.data());
    }
    switch (wish.depth) {
        case DepthEncoding::raw:
            out.bytes.resize(count * sizeof(float));
            std::memcpy(out.bytes.data(), metres, out.bytes.size());
            break;
        case DepthEncoding::lossless:
            planes_.resize(count * sizeof(float));
            split_planes(metres, count, planes_.data());
            zstd_.encode(planes_, out.bytes);
            break;
        case DepthEncoding::millimetres:
            planes_.resize(count * sizeof(std::uint16_t));
            split_planes(millimetres_.data(), out.size, planes_.data());
            zstd_.encode(planes_, out.bytes);
            break;
        case DepthEncoding::millimetres_png: encode_png(millimetres_.data(), out.size, out.bytes); break;
        case DepthEncoding::none: break;
    }
}

void ImageDecoder::image(wire::Bytes stream, ImageEncoding encoding, const ImageFormat& format, std::uint8_t* pixels) {
    switch (encoding) {
        case ImageEncoding::jpeg: jpeg_.decode(stream, format, pixels); break;
        case ImageEncoding::png: decode_png(stream, format, pixels); break;
        case ImageEncoding::zstd: zstd_.decode(stream, pixels, format.bytes()); break;
        case ImageEncoding::raw:
        case ImageEncoding::none: break;
    }
}

void ImageDecoder::depth(wire::Bytes stream, DepthEncoding encoding, ImageSize size, float* metres) {
    const std::size_t count = pixels_of(size);
    switch (encoding) {
        case DepthEncoding::lossless:
            planes_.resize(count * sizeof(float));
            zstd_.decode(stream, planes_.data(), planes_.size());
            join_planes(planes_.data(), count, metres);
            return;
        case DepthEncoding::millimetres:
            planes_.resize(count * sizeof(std::uint16_t));
            millimetres_.resize(count);
            zstd_.decode(stream, planes_.data(), planes_.size());
            join_planes(planes_.data(), size, millimetres_.data());
            break;
        case DepthEncoding::millimetres_png:
            millimetres_.resize(count);
            decode_png(stream, size, millimetres_.data());
            break;
        case DepthEncoding::raw:
        case DepthEncoding::none: return;
    }
    to_metres(millimetres_.data(), count, metres);
}

}  // namespace chiral::imaging
