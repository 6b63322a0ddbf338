// SPDX-License-Identifier: Apache-2.0
// What a policy sees is what Pillow would have shown it: results against vectors that tests/vectors/imaging/make_vectors.py made.
#include "imaging/resample.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

namespace chiral::imaging {
namespace {

using Json = nlohmann::json;
using Levels = std::vector<std::uint8_t>;

const std::string folder = std::string(CHIRAL_VECTORS) + "/imaging/";

Levels file(const std::string& name) {
    std::ifstream in(folder + name, std::ios::binary);
    EXPECT_TRUE(in) << folder + name;
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

const Json& manifest() {
    static const Json json = [] {
        std::ifstream in(folder + "manifest.json");
        return Json::parse(in);
    }();
    return json;
}

ImageSize size_of(const Json& height_width) { return {height_width.at(0), height_width.at(1)}; }
std::size_t pixels_of(ImageSize size) { return static_cast<std::size_t>(size.height) * size.width; }

int largest_difference(const Levels& a, const std::uint8_t* b) {
    int largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
    return largest;
}

// Each picture of the vectors, made larger or smaller in the given way, and the levels that Pillow has for it.
template <class Check>
void for_each_picture(Fit fit, Check check) {
    Resampler resampler;
    ASSERT_EQ(manifest().at("images").size(), 10u);
    for (const Json& entry : manifest().at("images")) {
        const Levels bytes = file(entry.at("file"));
        const ImageSize from = size_of(entry.at("from")), to = size_of(entry.at("to"));
        const int channels = entry.at("channels");
        const std::size_t result = pixels_of(to) * channels;
        ASSERT_EQ(bytes.size(), pixels_of(from) * channels + 3 * result);
        Levels out(result, 77);
        resampler.image(bytes.data(), from, channels, place(from, to, fit), out.data());
        SCOPED_TRACE(entry.dump());
        check(out, bytes.data() + pixels_of(from) * channels + static_cast<std::size_t>(fit) * result);
    }
}

TEST(AScaledImage, IsWithinOneLevelOfPillowsWhenStretched) {
    for_each_picture(Fit::stretch, [](const Levels& ours, const std::uint8_t* pillows) {
        EXPECT_LE(largest_difference(ours, pillows), 1);
    });
}

TEST(AScaledImage, IsWithinOneLevelOfPillowsWhenPadded) {
    for_each_picture(
        Fit::pad, [](const Levels& ours, const std::uint8_t* pillows) { EXPECT_LE(largest_difference(ours, pillows), 1); });
}

TEST(AScaledImage, IsWithinOneLevelOfPillowsWhenCropped) {
    for_each_picture(
        Fit::crop, [](const Levels& ours, const std::uint8_t* pillows) { EXPECT_LE(largest_difference(ours, pillows), 1); });
}

TEST(AScaledImage, OfItsOwnSizeIsTheSame) {
    Levels picture(5 * 7 * 3);
    for (std::size_t i = 0; i < picture.size(); ++i) picture[i] = static_cast<std::uint8_t>(i * 37);
    Levels out(picture.size());
    Resampler().image(picture.data(), {5, 7}, 3, place({5, 7}, {}, Fit::stretch), out.data());
    EXPECT_EQ(out, picture);
}

TEST(AScaledImage, OfChannelsThatNoLibraryKnowsIsScaledAlike) {
    // The same picture in each of the channels.
    const Levels grey = file("image_2.bin");
    const ImageSize from{48, 64}, to{17, 41};
    Levels five(pixels_of(from) * 5), out(pixels_of(to) * 5), expected(pixels_of(to));
    for (std::size_t i = 0; i < five.size(); ++i) five[i] = grey[i / 5];
    Resampler resampler;
    resampler.image(five.data(), from, 5, place(from, to, Fit::stretch), out.data());
    resampler.image(grey.data(), from, 1, place(from, to, Fit::stretch), expected.data());
    for (std::size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], expected[i / 5]) << i;
}

TEST(ADepthMap, TakesThePixelsThatPillowTakesAsNearest) {
    ASSERT_EQ(manifest().at("depths").size(), 2u);
    ASSERT_EQ(manifest().at("depths").size(), 2u);
    for (const Json& entry : manifest().at("depths")) {
        const Levels bytes = file(entry.at("file"));
        const ImageSize from = size_of(entry.at("from")), to = size_of(entry.at("to"));
        std::vector<float> metres(pixels_of(from)), expected(pixels_of(to)), out(pixels_of(to));
        std::memcpy(metres.data(), bytes.data(), metres.size() * sizeof(float));
        std::memcpy(expected.data(), bytes.data() + metres.size() * sizeof(float), expected.size() * sizeof(float));
        Resampler().depth(metres.data(), from, place(from, to, Fit::stretch), out.data());
        EXPECT_EQ(out, expected) << entry;
    }
}

TEST(ADepthMap, IsNeverMixedAndPaddedWithNothingMeasured) {
    std::vector<float> metres(48 * 64);
    for (std::size_t i = 0; i < metres.size(); ++i) metres[i] = (i / 3) % 2 != 0 ? 1.f : 4.f;
    for (const Fit fit : {Fit::stretch, Fit::crop, Fit::pad}) {
        std::vector<float> out(22 * 22, -1.f);
        Resampler().depth(metres.data(), {48, 64}, place({48, 64}, {22, 22}, fit), out.data());
        std::set<float> values(out.begin(), out.end());
        EXPECT_EQ(values, fit == Fit::pad ? (std::set<float>{0.f, 1.f, 4.f}) : (std::set<float>{1.f, 4.f}));
    }
}

}  // namespace
}  // namespace chiral::imaging
