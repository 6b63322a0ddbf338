// SPDX-License-Identifier: Apache-2.0
// What a wish makes of one camera's image and depth, and how the client gets plain arrays back.
//
// Thread rule: one thread at a time for each ImageEncoder and ImageDecoder, which keep their memory for the next picture.
#pragma once

#include "imaging/codecs.hpp"
#include "imaging/resample.hpp"

#include <vector>

namespace chiral::imaging {

/// A stream, and what the header says of it.
struct EncodedImage {
    std::vector<std::uint8_t> bytes;
    ImageSize size;
    ImageEncoding encoding{ImageEncoding::raw};
};
struct EncodedDepth {
    std::vector<std::uint8_t> bytes;
    ImageSize size;
    DepthEncoding encoding{DepthEncoding::raw};
};

/// Whether the camera's own bytes are what is wished for, so that there is nothing to do.
bool is_as_wished(const ImageFormat& camera, const CameraWish& wish) noexcept;
bool depth_is_as_wished(ImageSize camera, const CameraWish& wish) noexcept;

class ImageEncoder {
public:
    /// `camera` says what the pixels are, in RGB; wishes for none are not for here. Throws std::runtime_error if a library fails.
    void image(const std::uint8_t* pixels, const ImageFormat& camera, const CameraWish& wish, EncodedImage& out);
    void depth(const float* metres, ImageSize camera, const CameraWish& wish, EncodedDepth& out);

private:
    Resampler resampler_;
    Jpeg jpeg_;
    Zstd zstd_;
    std::vector<std::uint8_t> scaled_;
    std::vector<float> scaled_depth_;
    std::vector<std::uint16_t> millimetres_;
    std::vector<std::uint8_t> planes_;
};

class ImageDecoder {
public:
    /// `format` is what the header announced, its order the one in which the caller gets the channels. Raw bytes are not for
    /// here. Throws wire::DecodeError.
    void image(wire::Bytes stream, ImageEncoding encoding, const ImageFormat& format, std::uint8_t* pixels);
    void depth(wire::Bytes stream, DepthEncoding encoding, ImageSize size, float* metres);

private:
    Jpeg jpeg_;
    Zstd zstd_;
    std::vector<std::uint16_t> millimetres_;
    std::vector<std::uint8_t> planes_;
};

}  // namespace chiral::imaging
