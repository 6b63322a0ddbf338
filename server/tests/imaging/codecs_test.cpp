// SPDX-License-Identifier: Apache-2.0
// What is encoded comes back, and a stream that holds anything else than the picture that was announced is refused.
#include "imaging/codecs.hpp"

#include <gtest/gtest.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>

namespace chiral::imaging {
namespace {

using Stream = std::vector<std::uint8_t>;

// Smooth, as JPEG likes it, and different in each channel.
Stream picture(const ImageFormat& format) {
    Stream pixels(format.bytes());
    std::size_t i = 0;
    for (int y = 0; y < format.size.height; ++y)
        for (int x = 0; x < format.size.width; ++x)
            for (int c = 0; c < format.channels; ++c) pixels[i++] = static_cast<std::uint8_t>(60 + 40 * c + x + y / 2);
    return pixels;
}

template <class Decode>
void expect_refused(Decode decode, const std::string& because) {
    try {
        decode();
        ADD_FAILURE() << "was taken, expected: " << because;
    } catch (const wire::DecodeError& error) {
        EXPECT_NE(std::string(error.what()).find(because), std::string::npos) << error.what();
    }
}

constexpr ImageFormat rgb{{40, 64}, 3, ColourOrder::rgb};
constexpr ImageFormat bgr{{40, 64}, 3, ColourOrder::bgr};
constexpr ImageFormat grey{{40, 64}, 1, ColourOrder::rgb};

TEST(AJpeg, ComesBackAlmostTheSame) {
    Jpeg jpeg;
    for (const ImageFormat& format : {rgb, bgr, grey}) {
        const Stream pixels = picture(format);
        Stream stream, back(format.bytes());
        jpeg.encode(pixels.data(), format, 90, stream);
        EXPECT_LT(stream.size(), pixels.size() / 2);
        jpeg.decode(stream, format, back.data());
        for (std::size_t i = 0; i < back.size(); ++i) ASSERT_NEAR(back[i], pixels[i], 8) << i;
    }
}

TEST(AJpeg, IsInRgbWhateverTheOrderOfThePixels) {
    Jpeg jpeg;
    Stream red(rgb.bytes()), stream, back(rgb.bytes());
    for (std::size_t i = 2; i < red.size(); i += 3) red[i] = 255;  // the last of three is red: BGR
    jpeg.encode(red.data(), bgr, 95, stream);
    jpeg.decode(stream, rgb, back.data());
    EXPECT_GT(back[0], 240);
    EXPECT_LT(back[2], 16);
}

TEST(AJpeg, OfAnotherPictureIsRefused) {
    Jpeg jpeg;
    const Stream pixels = picture(rgb);
    Stream stream, back(1 << 20);
    jpeg.encode(pixels.data(), rgb, 90, stream);
    const auto decode = [&](const ImageFormat& format) { return [&, format] { jpeg.decode(stream, format, back.data()); }; };
    expect_refused(decode({{40, 63}, 3, ColourOrder::rgb}), "holds a picture of 40 x 64 pixels, expected 40 x 63");
    expect_refused(decode(grey), "other colours");
    Stream whole = stream;
    stream.resize(stream.size() / 2);
    expect_refused(decode(rgb), "JPEG: ");
    stream.clear();
    expect_refused(decode(rgb), "JPEG: ");
    stream = whole;  // and a good one is read behind bad ones
    EXPECT_NO_THROW(decode(rgb)());
}

TEST(APng, ComesBackTheSame) {
    for (const ImageFormat& format : {rgb, bgr, grey, ImageFormat{{7, 5}, 4, ColourOrder::rgb}}) {
        const Stream pixels = picture(format);
        Stream stream, back(format.bytes());
        encode_png(pixels.data(), format, stream);
        decode_png(stream, format, back.data());
        EXPECT_EQ(back, pixels);
    }
}

TEST(APng, OfSixteenBitsComesBackTheSame) {
    std::vector<std::uint16_t> values(40 * 64), back(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint16_t>(i * 257 + 3);
    Stream stream;
    encode_png(values.data(), {40, 64}, stream);
    decode_png(stream, ImageSize{40, 64}, back.data());
    EXPECT_EQ(back, values);
}

TEST(APng, OfAnotherPictureIsRefused) {
    const Stream pixels = picture(rgb);
    Stream stream, back(1 << 20);
    encode_png(pixels.data(), rgb, stream);
    const auto decode = [&](const ImageFormat& format) { return [&, format] { decode_png(stream, format, back.data()); }; };
    expect_refused(decode({{40, 63}, 3, ColourOrder::rgb}), "PNG: ");
    expect_refused(decode({{41, 65}, 3, ColourOrder::rgb}), "another size");
    expect_refused(decode(grey), "other colours");
    std::vector<std::uint16_t> depth(40 * 64);
    expect_refused([&] { decode_png(stream, ImageSize{40, 64}, depth.data()); }, "other colours");
    Stream longer = stream;
    longer.push_back(0);
    expect_refused([&] { decode_png(longer, rgb, back.data()); }, "behind the picture");
    for (std::size_t size = 0; size < stream.size(); size += 11)
        expect_refused([&] { decode_png(wire::Bytes(stream).first(size), rgb, back.data()); }, "PNG: ");
    stream[stream.size() / 2] ^= 0x40;
    expect_refused(decode(rgb), "PNG: ");
}

TEST(AZstdFrame, ComesBackTheSame) {
    Zstd zstd;
    const Stream pixels = picture(rgb);
    Stream stream, back(pixels.size());
    zstd.encode(pixels, stream);
    zstd.decode(stream, back.data(), back.size());
    EXPECT_EQ(back, pixels);
}

TEST(AZstdFrame, ThatHoldsMoreOrLessThanAnnouncedIsRefused) {
    Zstd zstd;
    const Stream pixels = picture(rgb);
    Stream stream, back(pixels.size() + 1);
    zstd.encode(pixels, stream);
    expect_refused([&] { zstd.decode(stream, back.data(), pixels.size() + 1); }, "holds 7680 bytes, expected 7681");
    expect_refused([&] { zstd.decode(stream, back.data(), pixels.size() - 1); }, "holds 7680 bytes, expected 7679");
    expect_refused([&] { zstd.decode(wire::Bytes(stream).first(20), back.data(), pixels.size()); }, "Zstandard: ");
    expect_refused([&] { zstd.decode({}, back.data(), pixels.size()); }, "Zstandard: ");
    expect_refused([&] { zstd.decode(pixels, back.data(), pixels.size()); }, "no frame");
    Stream twice = stream;  // two frames, of which the first holds what is expected
    twice.insert(twice.end(), stream.begin(), stream.end());
    expect_refused([&] { zstd.decode(twice, back.data(), pixels.size()); }, "Zstandard: ");
}

TEST(AZstdFrame, ThatDoesNotSayHowMuchItHoldsIsRefused) {
    const std::string text(1000, 'x');
    Stream stream(1 << 12);
    ZSTD_CStream* writer = ZSTD_createCStream();
    ZSTD_outBuffer out{stream.data(), stream.size(), 0};
    ZSTD_inBuffer in{text.data(), text.size(), 0};
    ZSTD_compressStream2(writer, &out, &in, ZSTD_e_flush);
    ZSTD_compressStream2(writer, &out, &in, ZSTD_e_end);
    ZSTD_freeCStream(writer);
    stream.resize(out.pos);
    Stream back(text.size());
    expect_refused([&] { Zstd().decode(stream, back.data(), back.size()); }, "does not say");
}

TEST(Millimetres, RoundToTheNearestAndMarkWhatWasNotMeasured) {
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinite = std::numeric_limits<float>::infinity();
    const std::vector<float> metres{0.f, -1.f, nan, infinite, -infinite, 0.0004f, 0.0006f, 1.2344f, 1.2346f, 65.535f, 70.f};
    const std::vector<std::uint16_t> expected{0, 0, 0, 0, 0, 0, 1, 1234, 1235, 65535, 65535};
    std::vector<std::uint16_t> millimetres(metres.size());
    to_millimetres(metres.data(), metres.size(), millimetres.data());
    EXPECT_EQ(millimetres, expected);
    float back = 0;
    to_metres(&millimetres[7], 1, &back);
    EXPECT_FLOAT_EQ(back, 1.234f);
}

// Of one float in so many of all there are. Half-way is half-way as far as a float can tell.
TEST(Millimetres, AreThoseOfEveryFloat) {
    std::vector<float> metres;
    for (std::uint64_t bits = 0; bits < std::uint64_t{1} << 32; bits += 65'521)
        metres.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    for (int half = 1; half < 200; half += 2) metres.push_back(static_cast<float>(half) / 2000.f);
    std::vector<std::uint16_t> millimetres(metres.size());
    to_millimetres(metres.data(), metres.size(), millimetres.data());
    for (std::size_t i = 0; i < metres.size(); ++i) {
        const double exact = std::isfinite(metres[i]) ? std::max(0.0, double{metres[i]} * 1000.0) : 0.0;
        ASSERT_NEAR(millimetres[i], std::min(exact, 65535.0), 0.5 + exact * std::numeric_limits<float>::epsilon())
            << metres[i];
    }
}

TEST(Planes, JoinToWhatWasSplit) {
    std::vector<float> metres(6 * 5);
    std::vector<std::uint16_t> values(metres.size());
    for (std::size_t i = 0; i < metres.size(); ++i) {
        metres[i] = static_cast<float>(i) * 0.37f - 3;
        values[i] = static_cast<std::uint16_t>(i * 40503);
    }
    Stream planes(metres.size() * 4);
    std::vector<float> metres_back(metres.size());
    split_planes(metres.data(), metres.size(), planes.data());
    join_planes(planes.data(), metres.size(), metres_back.data());
    EXPECT_EQ(metres_back, metres);
    std::vector<std::uint16_t> back(values.size());
    split_planes(values.data(), {6, 5}, planes.data());
    join_planes(planes.data(), {6, 5}, back.data());
    EXPECT_EQ(back, values);
}

}  // namespace
}  // namespace chiral::imaging
