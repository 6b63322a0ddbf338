// SPDX-License-Identifier: Apache-2.0
// Pictures and depth maps to bytes that are sent, and back.
//
// Decoders treat every byte as hostile. Whoever calls them knows from the message's header what picture has to come, and has
// checked its size: a stream that holds another one is a DecodeError before a pixel is decoded, memory is bounded by what the
// caller has made room for, and time by that and the length of the stream. A stream that ends early, or that a library only
// warns of, is a DecodeError as well: half a picture is no observation.
//
// Thread rule: one thread at a time for each Encoder and Decoder, which keep their memory for the next picture.
#pragma once

#include <chiral/want.hpp>
#include <chiral/wire.hpp>

#include <cstdint>
#include <memory>
#include <vector>

namespace chiral::imaging {

/// Eight-bit pixels without padding between rows.
struct ImageFormat {
    ImageSize size;
    int channels{3};
    ColourOrder order{ColourOrder::rgb};

    std::size_t pixels() const noexcept { return static_cast<std::size_t>(size.height) * size.width; }
    std::size_t bytes() const noexcept { return pixels() * channels; }
};

/// Whether the encoding can carry such pixels.
bool carries(ImageEncoding encoding, int channels) noexcept;

// ---- one format each; `out` is replaced by the stream, its memory used again ----

class Jpeg {
public:
    Jpeg();
    void encode(const std::uint8_t* pixels, const ImageFormat& format, int quality, std::vector<std::uint8_t>& out);
    void decode(wire::Bytes stream, const ImageFormat& format, std::uint8_t* pixels);

private:
    struct Destroy {
        void operator()(void* handle) const noexcept;
    };
    std::unique_ptr<void, Destroy> compressor_, decompressor_;
};

/// The channels are stored as RGB, whatever the order of the pixels is, so that the stream is a picture to every viewer.
void encode_png(const std::uint8_t* pixels, const ImageFormat& format, std::vector<std::uint8_t>& out);
void decode_png(wire::Bytes stream, const ImageFormat& format, std::uint8_t* pixels);
void encode_png(const std::uint16_t* values, ImageSize size, std::vector<std::uint8_t>& out);
void decode_png(wire::Bytes stream, ImageSize size, std::uint16_t* values);

class Zstd {
public:
    Zstd();
    void encode(wire::Bytes plain, std::vector<std::uint8_t>& out);
    /// The frame must announce exactly `size` bytes.
    void decode(wire::Bytes stream, std::uint8_t* plain, std::size_t size);

private:
    struct Free {
        void operator()(void* context) const noexcept;
        bool compresses{false};
    };
    std::unique_ptr<void, Free> compressor_, decompressor_;
};

// ---- depth ----

/// Metres to millimetres: to the nearest, at most 65535. What is not a number, not positive or infinite becomes 0: not measured.
void to_millimetres(const float* metres, std::size_t count, std::uint16_t* millimetres);
void to_metres(const std::uint16_t* millimetres, std::size_t count, float* metres);

/// What makes depth compress well: bytes of the same weight together, all lowest ones first; of 16-bit depth what is left of
/// the difference to the left neighbour, modulo 65536.
void split_planes(const float* values, std::size_t count, std::uint8_t* planes);
void join_planes(const std::uint8_t* planes, std::size_t count, float* values);
void split_planes(const std::uint16_t* values, ImageSize size, std::uint8_t* planes);
void join_planes(const std::uint8_t* planes, ImageSize size, std::uint16_t* values);

}  // namespace chiral::imaging
