// SPDX-License-Identifier: Apache-2.0
// Any bytes as a picture or depth map that was announced: refused with a text, or decoded to as many pixels as were announced
// and no more; whatever the decoder met before.
//
// The first three bytes are what a header would announce: height, width, and which of the target's variants.
#include "properties.hpp"

#include "imaging/transform.hpp"

#include <memory>

namespace chiral::fuzz {

namespace {

using imaging::ImageDecoder;
using imaging::ImageFormat;

// Calls decode(), which throws a DecodeError or not.
template <class Decode>
void decode_or_refuse(Decode decode) {
    try {
        decode();
    } catch (const wire::DecodeError& error) {
        require_presentable(error.what());
    }
}

struct Announced {
    ImageSize size;
    unsigned variant;
    Bytes stream;
};

bool announced(Bytes bytes, Announced& out) {
    if (bytes.size() < 3) return false;
    out = {{1 + bytes[0] % 64, 1 + bytes[1] % 64}, bytes[2], bytes.subspan(3)};
    return true;
}

// Memory of exactly the size of the pixels, so that AddressSanitizer sees one too many.
void decode_image(const Announced& announced, ImageEncoding encoding, int channels) {
    static ImageDecoder decoder;
    const ImageFormat format{announced.size, channels, announced.variant & 0x80 ? ColourOrder::bgr : ColourOrder::rgb};
    const std::unique_ptr<std::uint8_t[]> pixels(new std::uint8_t[format.bytes()]);
    decode_or_refuse([&] { decoder.image(announced.stream, encoding, format, pixels.get()); });
}

void decode_depth(const Announced& announced, DepthEncoding encoding) {
    static ImageDecoder decoder;
    const std::size_t pixels = static_cast<std::size_t>(announced.size.height) * announced.size.width;
    const std::unique_ptr<float[]> metres(new float[pixels]);
    decode_or_refuse([&] { decoder.depth(announced.stream, encoding, announced.size, metres.get()); });
}

}  // namespace

void jpeg(Bytes bytes) {
    Announced picture;
    if (announced(bytes, picture)) decode_image(picture, ImageEncoding::jpeg, picture.variant & 1 ? 1 : 3);
}

void png(Bytes bytes) {
    constexpr int channels[] = {1, 3, 4};
    Announced picture;
    if (!announced(bytes, picture)) return;
    const unsigned variant = picture.variant % 4;
    if (variant < 3) decode_image(picture, ImageEncoding::png, channels[variant]);
    else decode_depth(picture, DepthEncoding::millimetres_png);
}

void zstd(Bytes bytes) {
    Announced picture;
    if (!announced(bytes, picture)) return;
    switch (picture.variant % 3) {
        case 0: decode_image(picture, ImageEncoding::zstd, 3); break;
        case 1: decode_depth(picture, DepthEncoding::lossless); break;
        default: decode_depth(picture, DepthEncoding::millimetres);
    }
}

}  // namespace chiral::fuzz
