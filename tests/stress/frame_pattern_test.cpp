// SPDX-License-Identifier: Apache-2.0
#include "frame_pattern.hpp"

#include <gtest/gtest.h>

#include <array>
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

TEST(FramePattern, EverySingleWrongDepthIsFound) {
    std::vector<float> depth(2500);
    fill_depth(depth, 41);
    EXPECT_EQ(depth[1234], 41.f);
    EXPECT_FALSE(check_depth(depth, 41));
    EXPECT_EQ(depth_number(depth, 40), 41u);
    for (std::size_t i = 0; i < depth.size(); ++i) {
        depth[i] = 42.f;
        const auto difference = check_depth(depth, 41);
        ASSERT_TRUE(difference) << "value " << i;
        EXPECT_EQ(difference->element, i);
        EXPECT_EQ(difference->frame, 42u);
        depth[i] = 41.f;
    }
}

TEST(FramePattern, DepthNumbersWrapWhereFloatsStopCounting) {
    constexpr std::uint64_t number = (std::uint64_t{1} << 24) + 5;
    std::vector<float> depth(10);
    fill_depth(depth, number);
    EXPECT_EQ(depth[0], 5.f);
    EXPECT_EQ(depth_number(depth, number - 3), number);
    EXPECT_EQ(depth_number(depth, number + 3), number);
    depth[0] = 5.5f;
    EXPECT_EQ(depth_number(depth, number), std::nullopt);
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
