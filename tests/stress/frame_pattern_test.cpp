// SPDX-License-Identifier: Apache-2.0
#include "frame_pattern.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace chiral::stress {
namespace {

// 3 bytes a pixel, so that sizes are met which are no multiple of a unit or of a block.
std::vector<std::uint8_t> image_of(std::uint64_t number, std::size_t camera, std::size_t pixels = 1501) {
    std::vector<std::uint8_t> image(pixels * 3);
    fill_image(image, number, camera);
    return image;
}

TEST(FramePattern, AnImageIsWhatItsFrameWroteAndNamesIt) {
    for (const std::size_t pixels : {3u, 4u, 5u, 6u, 1501u, 4096u}) {
        const auto image = image_of(7, 2, pixels);
        EXPECT_FALSE(check_image(image, 7, 2)) << pixels << " pixels";
        EXPECT_EQ(image_number(image, 2), 7u) << pixels << " pixels";
    }
}

TEST(FramePattern, EverySingleWrongByteOfAnImageIsFound) {
    auto image = image_of(7, 2);
    for (std::size_t i = 0; i < image.size(); ++i) {
        image[i] ^= 1;
        const auto difference = check_image(image, 7, 2);
        ASSERT_TRUE(difference) << "byte " << i;
        EXPECT_EQ(difference->element, i);
        image[i] ^= 1;
    }
}

TEST(FramePattern, AnImageOfTwoFramesIsFoundAndTheOtherFrameIsNamed) {
    auto image = image_of(7, 2);
    const auto next = image_of(8, 2);
    const std::size_t tear = 2048;
    std::copy(next.begin() + tear, next.end(), image.begin() + tear);
    const auto difference = check_image(image, 7, 2);
    ASSERT_TRUE(difference);
    EXPECT_GE(difference->element, tear);
    EXPECT_LT(difference->element, tear + 8);
    EXPECT_EQ(difference->frame, 8u);
}

TEST(FramePattern, AnImageOfAnotherCameraHasNoNumber) {
    EXPECT_EQ(image_number(image_of(7, 2), 3), std::nullopt);
    EXPECT_EQ(image_number(std::vector<std::uint8_t>(64), 3), std::nullopt);
}

TEST(FramePattern, AllBytesOfNeighbouringFramesDifferSomewhereInEachUnit) {
    const auto a = image_of(1000, 0);
    for (const std::uint64_t other : {999u, 1001u, 1256u, 1000u + 65536u}) {
        const auto b = image_of(other, 0);
        for (std::size_t unit = 0; unit + 1 < image_units(a.size()); ++unit)
            ASSERT_TRUE(check_image(b, 1000, 0, {unit, 0})) << "unit " << unit << " of frame " << other;
    }
}

TEST(FramePattern, CoverageLimitsWhatIsLookedAt) {
    auto image = image_of(7, 0);
    image[80] ^= 1;  // unit 10
    EXPECT_TRUE(check_image(image, 7, 0, {10, 0}));
    EXPECT_FALSE(check_image(image, 7, 0, {9, 0}));
    EXPECT_TRUE(check_image(image, 7, 0, {2, 8}));
    EXPECT_FALSE(check_image(image, 7, 0, {3, 8}));
}

constexpr DType kDepthTypes[] = {DType::uint8,  DType::int8,  DType::uint16,  DType::int16,   DType::uint32, DType::int32,
                                 DType::uint64, DType::int64, DType::float16, DType::float32, DType::float64};

std::span<std::uint8_t> element_of(std::vector<std::uint8_t>& depth, DType type, std::size_t i) {
    return std::span(depth).subspan(i * size_of(type), size_of(type));
}

TEST(FramePattern, EverySingleWrongDepthIsFoundInEveryType) {
    for (const DType type : kDepthTypes) {
        SCOPED_TRACE(to_string(type));
        constexpr std::size_t count = 5003;  // one block of the largest type and more, of the smallest as well
        std::vector<std::uint8_t> depth(count * size_of(type));
        fill_depth(depth, type, 41);
        EXPECT_FALSE(check_depth(depth, type, 41));
        EXPECT_EQ(depth_number(depth, type, 40), 41u);
        for (std::size_t i = 0; i < count; i += i < 4100 ? 37 : 1) {
            fill_depth(element_of(depth, type, i), type, 42);
            const auto difference = check_depth(depth, type, 41);
            ASSERT_TRUE(difference) << "value " << i;
            EXPECT_EQ(difference->element, i);
            EXPECT_EQ(difference->frame, 42u);
            fill_depth(element_of(depth, type, i), type, 41);
        }
    }
}

TEST(FramePattern, DepthIsTheNumberAsItsTypeHasIt) {
    std::vector<std::uint8_t> depth(20);
    fill_depth(depth, DType::float32, 41);
    float single = 0;
    std::memcpy(&single, depth.data() + 16, sizeof single);
    EXPECT_EQ(single, 41.f);
    fill_depth(depth, DType::uint16, 41 + 3 * 65536);
    EXPECT_EQ(depth[18] + 256 * depth[19], 41);
    for (const auto& [number, bits] : {std::pair(1u, 0x3c00), {2u, 0x4000}, {3u, 0x4200}, {2047u, 0x67ff}, {2048u, 0}}) {
        fill_depth(depth, DType::float16, number);
        EXPECT_EQ(depth[2] + 256 * depth[3], bits) << "binary16 of " << number;
    }
}

TEST(FramePattern, DepthNumbersWrapWhereTheirTypeStopsCounting) {
    for (const DType type : kDepthTypes) {
        SCOPED_TRACE(to_string(type));
        for (const std::uint64_t number : {(std::uint64_t{1} << 24) + 5, std::uint64_t{70000}, std::uint64_t{2047}}) {
            std::vector<std::uint8_t> depth(10 * size_of(type));
            fill_depth(depth, type, number);
            EXPECT_EQ(depth_number(depth, type, number - 3), number);
            EXPECT_EQ(depth_number(depth, type, number + 3), number);
        }
    }
    std::vector<std::uint8_t> depth(sizeof(float));
    const float between = 5.5f;
    std::memcpy(depth.data(), &between, sizeof between);
    EXPECT_EQ(depth_number(depth, DType::float32, 5), std::nullopt);
}

TEST(FramePattern, EverySingleWrongMatrixElementIsFound) {
    std::array<double, 16> matrix{};
    fill_matrix(matrix, 123456789, 31);
    EXPECT_EQ(matrix_number(matrix, 31), 123456789u);
    EXPECT_EQ(matrix_number(matrix, 30), std::nullopt);
    EXPECT_FALSE(check_matrix(matrix, 123456789, 31));
    for (std::size_t i = 0; i < matrix.size(); ++i) {
        matrix[i] += 1.0;
        const auto difference = check_matrix(matrix, 123456789, 31);
        ASSERT_TRUE(difference) << "element " << i;
        EXPECT_EQ(difference->element, i);
        EXPECT_EQ(difference->frame, 123456790u);
        matrix[i] -= 1.0;
    }
    std::swap(matrix[1], matrix[4]);
    EXPECT_TRUE(check_matrix(matrix, 123456789, 31)) << "a transposed matrix must be found";
}

TEST(FramePattern, EverySingleWrongProprioValueIsFound) {
    std::array<float, 7> values{};
    fill_proprio(values, 500, 2);
    EXPECT_EQ(proprio_number(values, 490, 2), 500u);
    EXPECT_FALSE(check_proprio(values, 500, 2));
    for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] += 1.f;
        const auto difference = check_proprio(values, 500, 2);
        ASSERT_TRUE(difference) << "value " << i;
        EXPECT_EQ(difference->element, i);
        EXPECT_EQ(difference->frame, 501u);
        values[i] -= 1.f;
    }
}

TEST(FramePattern, CaptureTimesCarryTheNumberAndOnlyGrow) {
    std::chrono::nanoseconds last{0};
    std::chrono::nanoseconds now{987654321098765};
    for (std::uint64_t number = 990; number < 2010; ++number) {
        const auto time = tag_time(now, number, last);
        EXPECT_GT(time, last);
        EXPECT_LT(time, now + std::chrono::microseconds(200)) << "frame " << number;
        EXPECT_TRUE(time_carries(time, number));
        EXPECT_FALSE(time_carries(time, number + 1));
        last = time;
        now += std::chrono::microseconds(200);
    }
    EXPECT_FALSE(time_carries(last + std::chrono::nanoseconds(50), 2009)) << "half way to the next number";
}

}  // namespace
}  // namespace chiral::stress
