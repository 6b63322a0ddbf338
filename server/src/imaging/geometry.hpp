// SPDX-License-Identifier: Apache-2.0
// Where the pixels of a camera go when its picture is asked for in another size, and what that does to its camera matrix.
#pragma once

#include <chiral/want.hpp>

#include <Eigen/Core>

namespace chiral::imaging {

/// Part of a picture in pixels, with fractions: pixel i covers [i, i + 1).
struct Box {
    double top{0}, left{0}, height{0}, width{0};
};

/// A box of the camera's picture that is scaled to a rectangle of the wanted one. What lies outside the rectangle is padding.
struct Placement {
    Box source;
    ImageSize size;       ///< of the wanted picture
    int top{0}, left{0};  ///< the rectangle in it
    ImageSize scaled;     ///< of the rectangle

    bool identity(ImageSize camera) const noexcept;
};

/// Sizes are positive; `wanted` {0, 0} is the camera's own. Pad places as Pillow's ImageOps.pad() does, crop as its
/// ImageOps.fit().
Placement place(ImageSize camera, ImageSize wanted, Fit fit);

/// The camera matrix of the placed picture. The centre of pixel (0, 0) is at (0, 0) in K, as OpenCV calibrates it.
Eigen::Matrix3d placed_intrinsics(const Eigen::Matrix3d& K, const Placement& placement);

}  // namespace chiral::imaging
