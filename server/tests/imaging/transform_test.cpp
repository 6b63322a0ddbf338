// SPDX-License-Identifier: Apache-2.0
// A wish from the robot's pixels to the policy's.
#include "imaging/transform.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace chiral::imaging {
namespace {

constexpr ImageFormat camera{{48, 64}, 3, ColourOrder::rgb};

std::vector<std::uint8_t> gradients() {
    std::vector<std::uint8_t> pixels(camera.bytes());
    for (std::size_t i = 0; i < pixels.size(); ++i)
        pixels[i] = static_cast<std::uint8_t>(i / 3 / 64 * 2 + (i / 3) % 64 + 30 * (i % 3));
    return pixels;
}

std::vector<float> slope() {
    std::vector<float> metres(camera.pixels());
    for (std::size_t i = 0; i < metres.size(); ++i) metres[i] = 0.5f + static_cast<float>(i % 64) * 0.0101f;
    return metres;
}

// What the client gets in the end.
std::vector<std::uint8_t> image(const CameraWish& wish, ImageEncoding expected) {
    EncodedImage encoded;
    ImageEncoder().image(gradients().data(), camera, wish, encoded);
    EXPECT_EQ(encoded.encoding, expected);
    EXPECT_EQ(encoded.size, wish.size == ImageSize{} ? camera.size : wish.size);
    if (expected == ImageEncoding::raw) return encoded.bytes;
    const ImageFormat format{encoded.size, 3, wish.order};
    std::vector<std::uint8_t> pixels(format.bytes());
    ImageDecoder().image(encoded.bytes, encoded.encoding, format, pixels.data());
    return pixels;
}

TEST(AWish, IsFulfilledAlikeInEveryLosslessEncoding) {
    for (const ColourOrder order : {ColourOrder::rgb, ColourOrder::bgr})
        for (const ImageSize size : {ImageSize{}, ImageSize{22, 22}}) {
            CameraWish wish{size, Fit::pad, ImageEncoding::raw, 85, order, DepthEncoding::none};
            const auto raw = image(wish, ImageEncoding::raw);
            wish.image = ImageEncoding::png;
            EXPECT_EQ(image(wish, ImageEncoding::png), raw);
            wish.image = ImageEncoding::zstd;
            EXPECT_EQ(image(wish, ImageEncoding::zstd), raw);
        }
}

TEST(AWish, ForBgrSwapsRedAndBlue) {
    CameraWish wish;
    wish.size = {10, 12};
    auto bgr = image(wish, ImageEncoding::raw);
    for (const ImageEncoding encoding : {ImageEncoding::raw, ImageEncoding::zstd, ImageEncoding::png}) {
        wish.image = encoding;
        wish.order = ColourOrder::bgr;
        auto swapped = image(wish, encoding);
        for (std::size_t i = 0; i < swapped.size(); i += 3) std::swap(swapped[i], swapped[i + 2]);
        EXPECT_EQ(swapped, bgr);
    }
    wish.image = ImageEncoding::jpeg;
    wish.quality = 95;
    const auto lossy = image(wish, ImageEncoding::jpeg);
    for (std::size_t i = 0; i < lossy.size(); i += 3) ASSERT_NEAR(lossy[i], bgr[i + 2], 12) << i;
}

TEST(AWish, ForJpegOfFourChannelsGetsZstd) {
    const ImageFormat four{{6, 7}, 4, ColourOrder::rgb};
    std::vector<std::uint8_t> pixels(four.bytes(), 9), back(four.bytes());
    CameraWish wish;
    wish.image = ImageEncoding::jpeg;
    EncodedImage encoded;
    ImageEncoder().image(pixels.data(), four, wish, encoded);
    EXPECT_EQ(encoded.encoding, ImageEncoding::zstd);
    ImageDecoder().image(encoded.bytes, encoded.encoding, four, back.data());
    EXPECT_EQ(back, pixels);
}

TEST(AWish, ForWhatTheCameraHasAsksForNoWork) {
    CameraWish wish;
    EXPECT_TRUE(is_as_wished(camera, wish) && depth_is_as_wished(camera.size, wish));
    wish.size = camera.size;
    EXPECT_TRUE(is_as_wished(camera, wish) && depth_is_as_wished(camera.size, wish));
    wish.order = ColourOrder::bgr;
    EXPECT_FALSE(is_as_wished(camera, wish));
    EXPECT_TRUE(is_as_wished({{48, 64}, 1, ColourOrder::rgb}, wish)) << "grey has no order";
    wish = {};
    wish.size = {48, 63};
    EXPECT_FALSE(is_as_wished(camera, wish) || depth_is_as_wished(camera.size, wish));
    wish = {};
    wish.image = ImageEncoding::png;
    wish.depth = DepthEncoding::lossless;
    EXPECT_FALSE(is_as_wished(camera, wish) || depth_is_as_wished(camera.size, wish));
}

std::vector<float> depth(const CameraWish& wish) {
    EncodedDepth encoded;
    const auto metres = slope();
    ImageEncoder().depth(metres.data(), camera.size, wish, encoded);
    EXPECT_EQ(encoded.encoding, wish.depth);
    std::vector<float> back(static_cast<std::size_t>(encoded.size.height) * encoded.size.width);
    if (wish.depth == DepthEncoding::raw) {
        EXPECT_EQ(encoded.bytes.size(), back.size() * sizeof(float));
        std::memcpy(back.data(), encoded.bytes.data(), encoded.bytes.size());
    } else {
        EXPECT_LT(encoded.bytes.size(), back.size() * sizeof(float));
        ImageDecoder().depth(encoded.bytes, encoded.encoding, encoded.size, back.data());
    }
    return back;
}

TEST(AWish, ForDepthKeepsMetresExactlyOrToTheMillimetre) {
    for (const ImageSize size : {ImageSize{}, ImageSize{20, 22}}) {
        CameraWish wish;
        wish.size = size;
        const auto raw = depth(wish);
        wish.depth = DepthEncoding::lossless;
        EXPECT_EQ(depth(wish), raw);
        wish.depth = DepthEncoding::millimetres;
        const auto millimetres = depth(wish);
        ASSERT_EQ(millimetres.size(), raw.size());
        for (std::size_t i = 0; i < raw.size(); ++i) ASSERT_NEAR(millimetres[i], raw[i], 0.00051f);
        wish.depth = DepthEncoding::millimetres_png;
        EXPECT_EQ(depth(wish), millimetres);
    }
}

}  // namespace
}  // namespace chiral::imaging
