// SPDX-License-Identifier: Apache-2.0
#include "imaging/geometry.hpp"

#include <algorithm>
#include <cmath>

namespace chiral::imaging {

namespace {

// Python's round(): to the nearest, halves to the even one. At least one pixel is left of a sliver.
int rounded(double pixels) { return std::max(1, static_cast<int>(std::nearbyint(pixels))); }

}  // namespace

bool Placement::identity(ImageSize camera) const noexcept {
    return size == camera && scaled == camera && source.height == camera.height && source.width == camera.width;
}

Placement place(ImageSize camera, ImageSize wanted, Fit fit) {
    if (wanted == ImageSize{}) wanted = camera;
    Placement placement{{0, 0, double(camera.height), double(camera.width)}, wanted, 0, 0, wanted};
    const double ratio = double(camera.width) / camera.height;
    const double wanted_ratio = double(wanted.width) / wanted.height;
    if (ratio == wanted_ratio || fit == Fit::stretch) return placement;
    if (fit == Fit::crop) {
        Box& box = placement.source;
        if (ratio > wanted_ratio) box.width = wanted_ratio * camera.height;
        else box.height = camera.width / wanted_ratio;
        box.left = (camera.width - box.width) / 2;
        box.top = (camera.height - box.height) / 2;
        return placement;
    }
    ImageSize& scaled = placement.scaled;
    if (ratio > wanted_ratio) scaled.height = rounded(double(camera.height) / camera.width * wanted.width);
    else scaled.width = rounded(ratio * wanted.height);
    placement.top = static_cast<int>(std::nearbyint((wanted.height - scaled.height) * 0.5));
    placement.left = static_cast<int>(std::nearbyint((wanted.width - scaled.width) * 0.5));
    return placement;
}

Eigen::Matrix3d placed_intrinsics(const Eigen::Matrix3d& K, const Placement& placement) {
    const double x = placement.scaled.width / placement.source.width;
    const double y = placement.scaled.height / placement.source.height;
    // u + 0.5 is the distance from the picture's edge, which is what scaling multiplies.
    Eigen::Matrix3d moved = Eigen::Matrix3d::Identity();
    moved(0, 0) = x;
    moved(1, 1) = y;
    moved(0, 2) = (0.5 - placement.source.left) * x + placement.left - 0.5;
    moved(1, 2) = (0.5 - placement.source.top) * y + placement.top - 0.5;
    return moved * K;
}

}  // namespace chiral::imaging
