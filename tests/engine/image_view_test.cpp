// SPDX-License-Identifier: Apache-2.0
// Images as drivers have them: rows with a stride, other orders of channels, YUYV, and compressed frames.
#include "support.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace chiral::test {
namespace {

std::vector<std::uint8_t> published(Engine& engine) {
    Reader reader = engine.make_reader();
    const Snapshot snapshot = reader.snapshot();
    return {snapshot.camera(0).image().begin(), snapshot.camera(0).image().end()};
}

/// Rows of `row` bytes that are counted, and `padding` bytes of 255 behind each.
std::vector<std::uint8_t> padded(std::size_t rows, std::size_t row, std::size_t padding) {
    std::vector<std::uint8_t> bytes(rows * (row + padding), 255);
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t i = 0; i < row; ++i)
            bytes[r * (row + padding) + i] = static_cast<std::uint8_t>((r * row + i) % 251);
    return bytes;
}

TEST(RowsWithAStride, LoseTheirPadding) {
    for (const DType type : {DType::uint8, DType::uint16, DType::float64}) {
        CameraConfig config = camera("wrist", 4, 5, 3, false);
        config.image_dtype = type;
        Engine engine({config}, {}, with_readers(1));
        const std::size_t row = 15 * size_of(type);
        for (const std::size_t padding : {std::size_t{0}, std::size_t{1}, std::size_t{17}}) {
            const auto from = padded(4, row, padding);
            ASSERT_TRUE(engine.update_image(0, ImageView{from.data(), padding == 0 ? 0 : row + padding}, at_ns(9)).ok());
            EXPECT_EQ(published(engine), padded(4, row, 0));
        }
    }
}

TEST(BlueFirst, BecomesRedFirst) {
    Engine engine({camera("wrist", 2, 3, 3, false)}, {}, with_readers(1));
    std::vector<std::uint8_t> bgr, bgra, rgba, rgb;
    for (int pixel = 0; pixel < 6; ++pixel) {
        const auto r = static_cast<std::uint8_t>(pixel), g = static_cast<std::uint8_t>(100 + pixel),
                   b = static_cast<std::uint8_t>(200 + pixel);
        rgb.insert(rgb.end(), {r, g, b});
        bgr.insert(bgr.end(), {b, g, r});
        bgra.insert(bgra.end(), {b, g, r, 77});
        rgba.insert(rgba.end(), {r, g, b, 77});
    }
    for (const auto& [bytes, format] : {std::pair(bgr, PixelFormat::bgr), std::pair(bgra, PixelFormat::bgra),
                                        std::pair(rgba, PixelFormat::rgba), std::pair(rgb, PixelFormat::declared)}) {
        ASSERT_TRUE(engine.update_image(0, ImageView{bytes.data(), 0, format}).ok());
        EXPECT_EQ(published(engine), rgb);
    }
}

// ITU-R BT.601-7, 2.5.3 and 2.5.4: the inverse of the matrix, exactly.
std::array<double, 3> exact_rgb(int y, int u, int v) {
    const double luma = 255.0 / 219.0 * (y - 16);
    const double blue = 255.0 / 224.0 * (u - 128), red = 255.0 / 224.0 * (v - 128);
    const std::array<double, 3> rgb{luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue};
    return {std::clamp(rgb[0], 0., 255.), std::clamp(rgb[1], 0., 255.), std::clamp(rgb[2], 0., 255.)};
}

TEST(Yuyv, BecomesTheRgbOfItuBt601) {
    constexpr int kWidth = 70;  // not as many pairs as are converted at a time
    Engine colour({camera("uvc", 64, kWidth, 3, false)}, {}, with_readers(1));
    Engine grey({camera("uvc", 64, kWidth, 1, false)}, {}, with_readers(1));
    // Every fourth value of u and v, and luma all along.
    std::vector<std::uint8_t> bytes;
    for (int row = 0; row < 64; ++row)
        for (int pair = 0; pair < kWidth / 2; ++pair)
            for (const int value : {(pair * 37 + row * 5) % 256, pair * 8, (255 - pair * 7) % 256, row * 4})
                bytes.push_back(static_cast<std::uint8_t>(value));
    ASSERT_TRUE(colour.update_image(0, ImageView{bytes.data(), 0, PixelFormat::yuyv}).ok());
    ASSERT_TRUE(grey.update_image(0, ImageView{bytes.data(), 0, PixelFormat::yuyv}).ok());
    const auto rgb = published(colour), luma = published(grey);
    double furthest = 0;
    for (std::size_t pixel = 0; pixel < luma.size(); ++pixel) {
        const std::uint8_t* pair = bytes.data() + pixel / 2 * 4;
        const auto exact = exact_rgb(pair[2 * (pixel % 2)], pair[1], pair[3]);
        for (std::size_t c = 0; c < 3; ++c) furthest = std::max(furthest, std::abs(exact[c] - rgb[3 * pixel + c]));
        furthest = std::max(furthest, std::abs(exact_rgb(pair[2 * (pixel % 2)], 128, 128)[0] - luma[pixel]));
    }
    EXPECT_LE(furthest, 1.5);
}

TEST(AViewThatDoesNotGoWithTheCamera, IsRefusedAndNothingIsPublished) {
    CameraConfig wide = camera("wide", 2, 3, 3, false);
    CameraConfig deep = camera("deep", 2, 4, 3, false);
    deep.image_dtype = DType::uint16;
    CameraConfig stereo = camera("stereo", 2, 4, 2, false);
    Engine engine({wide, deep, stereo}, {}, with_readers(1));
    const std::vector<std::uint8_t> bytes(4096);
    const auto message = [&](std::size_t index, ImageView view) {
        const Status status = engine.update_image(index, view);
        EXPECT_EQ(status.code(), Errc::wrong_format);
        return status.message();
    };
    EXPECT_EQ(message(0, {}), "camera 'wide': image view has no data");
    EXPECT_EQ(message(0, {bytes.data(), 8}), "camera 'wide': image view has a stride that is shorter than its rows, got 8");
    EXPECT_EQ(message(0, {bytes.data(), 0, PixelFormat::yuyv}),
              "camera 'wide': image view is of pairs of pixels, expected an even width, got 3");
    EXPECT_EQ(message(1, {bytes.data(), 0, PixelFormat::bgr}),
              "camera 'deep': image view is of 8-bit pixels, expected the camera's elements");
    EXPECT_EQ(message(2, {bytes.data(), 0, PixelFormat::yuyv}),
              "camera 'stereo': image view becomes RGB, expected another number of channels, got 2");
    EXPECT_EQ(engine.update_image(3, ImageView{bytes.data()}).code(), Errc::unknown_camera);
    EXPECT_EQ(engine.newest_frame(0) + engine.newest_frame(1) + engine.newest_frame(2), 0u);
}

// ---- frames of any length ----

CameraConfig encoded(std::size_t most) {
    CameraConfig config = camera("uvc", 8, 8, 3, true);
    config.encoding = FrameEncoding::jpeg;
    config.max_encoded_bytes = most;
    return config;
}

TEST(EncodedImages, AreAsLongAsTheyCame) {
    Engine engine({encoded(100)}, {}, with_readers(1));
    Reader reader = engine.make_reader();
    { EXPECT_TRUE(reader.snapshot().camera(0).sequence() == 0); }
    std::vector<std::uint8_t> stream(100);
    for (std::size_t i = 0; i < 100; ++i) stream[i] = static_cast<std::uint8_t>(i);
    for (const std::size_t size : {std::size_t{1}, std::size_t{100}, std::size_t{8}, std::size_t{63}}) {
        ASSERT_TRUE(engine.update_image(0, stream.data(), size).ok());
        const Snapshot snapshot = reader.snapshot();
        ASSERT_EQ(snapshot.camera(0).image().size(), size);
        EXPECT_TRUE(std::equal(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(size),
                               snapshot.camera(0).image().begin()));
    }
    for (const std::size_t size : {std::size_t{0}, std::size_t{101}}) {
        const Status status = engine.update_image(0, stream.data(), size);
        EXPECT_EQ(status.code(), Errc::wrong_size);
        EXPECT_EQ(status.message(), "camera 'uvc': image has " + std::to_string(size) + " bytes, expected 1 to 100");
    }
    EXPECT_EQ(engine.update_image(0, ImageView{stream.data()}).message(),
              "camera 'uvc': image is encoded, a view is of pixels");
}

TEST(AnEncodedImage, StaysAsLongAsItIsPinned) {
    Engine engine({encoded(100)}, {}, with_readers(1));
    Reader reader = engine.make_reader();
    std::vector<std::uint8_t> stream(100, 1);
    ASSERT_TRUE(engine.update_image(0, stream.data(), 40).ok());
    const Snapshot held = reader.snapshot();
    for (std::size_t size = 1; size <= 100; ++size) {
        std::ranges::fill(stream, static_cast<std::uint8_t>(size));
        ASSERT_TRUE(engine.update_image(0, stream.data(), size).ok());
    }
    ASSERT_EQ(held.camera(0).image().size(), 40u);
    EXPECT_TRUE(std::ranges::all_of(held.camera(0).image(), [](std::uint8_t byte) { return byte == 1; }));
}

TEST(AFrameOfAnEncodedCamera, MustSayHowLongItsImageIs) {
    Engine engine({encoded(0)}, {}, with_readers(1));
    Reader reader = engine.make_reader();
    {
        Frame frame = engine.begin_frame(0);
        EXPECT_EQ(frame.image().size(), 8u * 8 * 3) << "as many as its pixels, if nothing else is said";
        EXPECT_EQ(frame.commit().code(), Errc::wrong_size);
    }
    {
        Frame frame = engine.begin_frame(0);
        frame.image()[0] = 9;
        EXPECT_TRUE(frame.set_encoded_size(3).ok());
        fill(frame.depth(), 2.f);
        EXPECT_TRUE(frame.commit().ok());
    }
    {
        Frame frame = engine.begin_frame(0);
        EXPECT_EQ(frame.set_encoded_size(8 * 8 * 3 + 1).code(), Errc::wrong_size);
    }
    {
        Frame frame = engine.begin_frame(0);
        EXPECT_TRUE(frame.image_as<std::uint8_t>().empty()) << "it has no elements";
        EXPECT_EQ(frame.status().code(), Errc::wrong_format);
    }
    const Snapshot snapshot = reader.snapshot();
    ASSERT_EQ(snapshot.camera(0).image().size(), 3u);
    EXPECT_EQ(snapshot.camera(0).image()[0], 9);
    EXPECT_EQ(snapshot.camera(0).sequence(), 1u);
}

TEST(AFrameOfAnEncodedCamera, HasNoLengthFromWhatLayInItsSlotBefore) {
    Engine engine({encoded(100)}, {}, with_readers(1));
    const std::vector<std::uint8_t> stream(40);
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(engine.update_image(0, stream.data(), stream.size()).ok());  // in every slot
    Frame frame = engine.begin_frame(0);
    ASSERT_FALSE(frame.image().empty());
    EXPECT_EQ(frame.commit().code(), Errc::wrong_size);
}

TEST(AFrameOfACameraOfPixels, HasNoLengthToBeSet) {
    Engine engine({camera("plain", 8, 8, 3, false)}, {}, with_readers(1));
    Frame frame = engine.begin_frame(0);
    const Status status = frame.set_encoded_size(3);
    EXPECT_EQ(status.code(), Errc::wrong_size);
    EXPECT_EQ(status.message(), "camera 'plain': image has 3 bytes, expected 192");
}

}  // namespace
}  // namespace chiral::test
