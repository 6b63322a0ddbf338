// SPDX-License-Identifier: Apache-2.0
// Zstandard by libzstd, and what is done to depth before it.
#include "imaging/codecs.hpp"

#include <zstd.h>

#include <bit>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

// Compiled for AVX2, too, and the loader chooses; of functions that nobody else sees, for it has names for its choices. Not with sanitizers, which are not there yet when it does.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define CHIRAL_DEPTH_ROW __attribute__((target_clones("avx2", "default")))
#else
#define CHIRAL_DEPTH_ROW
#endif

namespace chiral::imaging {

static_assert(std::endian::native == std::endian::little, "depths are little-endian and sent as they are");

bool carries(ImageEncoding encoding, int channels) noexcept {
    if (encoding == ImageEncoding::jpeg) return channels == 1 || channels == 3;
    if (encoding == ImageEncoding::png) return channels == 1 || channels == 3 || channels == 4;
    return true;
}

void Zstd::Free::operator()(void* context) const noexcept {
    if (compresses) ZSTD_freeCCtx(static_cast<ZSTD_CCtx*>(context));
    else ZSTD_freeDCtx(static_cast<ZSTD_DCtx*>(context));
}

Zstd::Zstd() : compressor_(ZSTD_createCCtx(), Free{true}), decompressor_(ZSTD_createDCtx(), Free{false}) {
    if (!compressor_ || !decompressor_) throw std::bad_alloc();
}

void Zstd::encode(wire::Bytes plain, std::vector<std::uint8_t>& out) {
    out.resize(ZSTD_compressBound(plain.size()));
    const std::size_t size =
        ZSTD_compressCCtx(static_cast<ZSTD_CCtx*>(compressor_.get()), out.data(), out.size(), plain.data(), plain.size(), 1);
    if (ZSTD_isError(size)) throw std::runtime_error(std::string("Zstandard: ") + ZSTD_getErrorName(size));
    out.resize(size);
}

void Zstd::decode(wire::Bytes stream, std::uint8_t* plain, std::size_t size) {
    const auto announced = ZSTD_getFrameContentSize(stream.data(), stream.size());
    if (announced == ZSTD_CONTENTSIZE_ERROR) throw wire::DecodeError("Zstandard: this is no frame of it");
    if (announced == ZSTD_CONTENTSIZE_UNKNOWN)
        throw wire::DecodeError("Zstandard: the frame does not say how much it holds, expected " + std::to_string(size) +
                                " bytes");
    if (announced != size)
        throw wire::DecodeError("Zstandard: the frame holds " + std::to_string(announced) + " bytes, expected " +
                                std::to_string(size));
    const std::size_t decoded =
        ZSTD_decompressDCtx(static_cast<ZSTD_DCtx*>(decompressor_.get()), plain, size, stream.data(), stream.size());
    if (ZSTD_isError(decoded)) throw wire::DecodeError(std::string("Zstandard: ") + ZSTD_getErrorName(decoded));
    if (decoded != size)
        throw wire::DecodeError("Zstandard: " + std::to_string(decoded) + " bytes came, expected " + std::to_string(size));
}

// ---- depth ----

namespace {

// In integers where there would be branches, which are not vectorised. In floats, whose product with 1000 is rounded: what lies half-way
// between two millimetres but for that is taken for the larger one.
CHIRAL_DEPTH_ROW void round_row(const float* metres, std::size_t count, std::uint16_t* millimetres) noexcept {
    constexpr std::int32_t infinity = 0x7f80'0000, far = 0x4284'0000;  // as floats are stored; far: 66 m
    for (std::size_t i = 0; i < count; ++i) {
        const auto bits = std::bit_cast<std::int32_t>(metres[i]);
        const std::int32_t positive = bits & ~(bits >> 31);                    // or 0
        const std::int32_t measured = positive & (positive - infinity) >> 31;  // or 0
        const std::int32_t beyond = measured - far;
        const float bounded = std::bit_cast<float>(far + (beyond & beyond >> 31));
        const std::int32_t more = static_cast<std::int32_t>(bounded * 1000.f + 0.5f) - 65535;
        millimetres[i] = static_cast<std::uint16_t>(65535 + (more & more >> 31));
    }
}

CHIRAL_DEPTH_ROW void split_row(const std::uint16_t* values, std::size_t width, std::uint8_t* low,
                                std::uint8_t* high) noexcept {
    low[0] = static_cast<std::uint8_t>(values[0]);
    high[0] = static_cast<std::uint8_t>(values[0] >> 8);
    for (std::size_t x = 1; x < width; ++x) {
        const auto difference = static_cast<std::uint16_t>(values[x] - values[x - 1]);
        low[x] = static_cast<std::uint8_t>(difference);
        high[x] = static_cast<std::uint8_t>(difference >> 8);
    }
}

}  // namespace

void to_millimetres(const float* metres, std::size_t count, std::uint16_t* millimetres) {
    round_row(metres, count, millimetres);
}

void to_metres(const std::uint16_t* millimetres, std::size_t count, float* metres) {
    for (std::size_t i = 0; i < count; ++i) metres[i] = static_cast<float>(millimetres[i]) / 1000.f;
}

void split_planes(const float* values, std::size_t count, std::uint8_t* planes) {
    for (std::size_t i = 0; i < count; ++i) {
        const auto bits = std::bit_cast<std::uint32_t>(values[i]);
        for (std::size_t plane = 0; plane < 4; ++plane)
            planes[plane * count + i] = static_cast<std::uint8_t>(bits >> 8 * plane);
    }
}

void join_planes(const std::uint8_t* planes, std::size_t count, float* values) {
    for (std::size_t i = 0; i < count; ++i) {
        std::uint32_t bits = 0;
        for (std::size_t plane = 0; plane < 4; ++plane) bits |= std::uint32_t{planes[plane * count + i]} << 8 * plane;
        values[i] = std::bit_cast<float>(bits);
    }
}

void split_planes(const std::uint16_t* values, ImageSize size, std::uint8_t* planes) {
    const std::size_t width = static_cast<std::size_t>(size.width), count = width * static_cast<std::size_t>(size.height);
    for (std::size_t i = 0; i < count; i += width) split_row(values + i, width, planes + i, planes + count + i);
}

void join_planes(const std::uint8_t* planes, ImageSize size, std::uint16_t* values) {
    const std::size_t count = static_cast<std::size_t>(size.height) * size.width;
    std::size_t i = 0;
    for (int y = 0; y < size.height; ++y) {
        unsigned left = 0;
        for (int x = 0; x < size.width; ++x, ++i) {
            left += planes[i] | static_cast<unsigned>(planes[count + i]) << 8;
            values[i] = static_cast<std::uint16_t>(left);
        }
    }
}

}  // namespace chiral::imaging
