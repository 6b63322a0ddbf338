// SPDX-License-Identifier: Apache-2.0
// JPEG by libjpeg-turbo.
#include "imaging/codecs.hpp"

#include <turbojpeg.h>

#include <new>
#include <stdexcept>
#include <string>

namespace chiral::imaging {

namespace {

int pixel_format(const ImageFormat& format) noexcept {
    if (format.channels == 1) return TJPF_GRAY;
    return format.order == ColourOrder::bgr ? TJPF_BGR : TJPF_RGB;
}

std::string text(ImageSize size) { return std::to_string(size.height) + " x " + std::to_string(size.width); }

}  // namespace

void Jpeg::Destroy::operator()(void* handle) const noexcept { tjDestroy(handle); }

Jpeg::Jpeg() : compressor_(tjInitCompress()), decompressor_(tjInitDecompress()) {
    if (!compressor_ || !decompressor_) throw std::bad_alloc();
}

void Jpeg::encode(const std::uint8_t* pixels, const ImageFormat& format, int quality, std::vector<std::uint8_t>& out) {
    const int subsampling = format.channels == 1 ? TJSAMP_GRAY : TJSAMP_420;
    const auto& [height, width] = format.size;
    out.resize(tjBufSize(width, height, subsampling));
    unsigned char* stream = out.data();
    unsigned long size = out.size();
    if (tjCompress2(compressor_.get(), pixels, width, 0, height, pixel_format(format), &stream, &size, subsampling, quality,
                    TJFLAG_NOREALLOC) != 0)
        throw std::runtime_error(std::string("JPEG: ") + tjGetErrorStr2(compressor_.get()));
    out.resize(size);
}

void Jpeg::decode(wire::Bytes stream, const ImageFormat& format, std::uint8_t* pixels) {
    // A handle that has met a broken stream may take the next one for another picture: it is not used again.
    const auto refuse = [&](const std::string& what) {
        decompressor_.reset(tjInitDecompress());
        throw wire::DecodeError("JPEG: " + what);
    };
    if (!decompressor_) throw std::bad_alloc();
    ImageSize size;
    int subsampling = 0, colours = 0;
    if (tjDecompressHeader3(decompressor_.get(), stream.data(), stream.size(), &size.width, &size.height, &subsampling,
                            &colours) != 0)
        refuse(tjGetErrorStr2(decompressor_.get()));
    if (size != format.size) refuse("holds a picture of " + text(size) + " pixels, expected " + text(format.size));
    if ((colours == TJCS_GRAY) != (format.channels == 1) || colours == TJCS_CMYK || colours == TJCS_YCCK)
        refuse("holds other colours than expected for " + std::to_string(format.channels) + " channels");
    // A progressive stream may repeat its scans without end, in a few bytes each.
    if (tjDecompress2(decompressor_.get(), stream.data(), stream.size(), pixels, size.width, 0, size.height,
                      pixel_format(format), TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS) != 0)
        refuse(tjGetErrorStr2(decompressor_.get()));
}

}  // namespace chiral::imaging
