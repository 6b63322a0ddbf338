// SPDX-License-Identifier: Apache-2.0
// A point of the world is in the scaled picture where the scaled camera matrix says.
#include "imaging/geometry.hpp"

#include <gtest/gtest.h>
#include <Eigen/LU>

namespace chiral::imaging {
namespace {

Eigen::Matrix3d camera_matrix() {
    Eigen::Matrix3d K;
    K << 600, 0.5, 319.5, 0, 610, 239.5, 0, 0, 1;
    return K;
}

TEST(TheCameraMatrix, FollowsASizeOnEachAxis) {
    const Eigen::Matrix3d K = placed_intrinsics(camera_matrix(), place({480, 640}, {224, 224}, Fit::stretch));
    EXPECT_DOUBLE_EQ(K(0, 0), 600 * 0.35);
    EXPECT_DOUBLE_EQ(K(0, 1), 0.5 * 0.35);
    EXPECT_DOUBLE_EQ(K(1, 1), 610 * 224.0 / 480);
    EXPECT_DOUBLE_EQ(K(0, 2), 111.5);  // the middle stays the middle
    EXPECT_DOUBLE_EQ(K(1, 2), 111.5);
    EXPECT_EQ(K(2, 2), 1);
}

TEST(TheCameraMatrix, KeepsSquarePixelsSquareWhenCroppedOrPadded) {
    Eigen::Matrix3d square = camera_matrix();
    square(1, 1) = 600;
    for (const Fit fit : {Fit::crop, Fit::pad}) {
        const Eigen::Matrix3d K = placed_intrinsics(square, place({480, 640}, {224, 224}, fit));
        EXPECT_NEAR(K(0, 0), K(1, 1), 1e-9);
        EXPECT_NEAR(K(0, 0), fit == Fit::crop ? 600 * 224.0 / 480 : 600 * 224.0 / 640, 1e-9);
        EXPECT_NEAR(K(0, 2), 111.5, 1e-9);
        EXPECT_NEAR(K(1, 2), 111.5, 1e-9);
    }
}

TEST(TheCameraMatrix, PutsACornerWhereTheCornerWent) {
    // The outer corner of pixel (0, 0) is at (-0.5, -0.5): padded, it is at the corner of the rectangle.
    const Placement padded = place({480, 640}, {224, 224}, Fit::pad);
    const Eigen::Vector3d corner(-0.5, -0.5, 1);
    const Eigen::Vector3d ray = camera_matrix().inverse() * corner;
    const Eigen::Vector3d at = placed_intrinsics(camera_matrix(), padded) * ray;
    EXPECT_NEAR(at.x(), padded.left - 0.5, 1e-9);
    EXPECT_NEAR(at.y(), padded.top - 0.5, 1e-9);
    EXPECT_EQ(padded.top, 28);
    EXPECT_EQ(padded.scaled, (ImageSize{168, 224}));
}

TEST(TheCameraMatrix, IsItsOwnForThePictureAsItIs) {
    const Placement same = place({480, 640}, {}, Fit::pad);
    EXPECT_TRUE(same.identity({480, 640}));
    EXPECT_EQ(placed_intrinsics(camera_matrix(), same), camera_matrix());
}

TEST(ASliver, KeepsAtLeastOnePixel) {
    EXPECT_EQ(place({1, 4000}, {8, 8}, Fit::pad).scaled, (ImageSize{1, 8}));
    EXPECT_EQ(place({4000, 1}, {8, 8}, Fit::pad).scaled, (ImageSize{8, 1}));
}

}  // namespace
}  // namespace chiral::imaging
