// SPDX-License-Identifier: Apache-2.0
// The world that the simulated cameras look at, and how they see it.
//
// A chequered floor, a striped ball that rolls and hops around the middle, and an arm that the joints move, under a
// sky. All cameras look at the same world from different places, so their pictures agree with each other, and every
// depth value is where the picture says: T * (K^-1 * (u, v, 1) * depth) lies on the floor, the ball or the arm.
//
// World frame: metres, z up, the floor is z = 0. Camera frame: x right, y down, z forward; depth is z. Pixel centres
// have integer coordinates.
#pragma once

#include <Eigen/Core>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace chiral::tools {

/// A ball with stripes that turn with it.
struct Ball {
    Eigen::Vector3d centre;
    double radius;
    Eigen::Matrix3d orientation;  ///< ball to world
};

/// A box that stands upright, turned by `yaw` around the vertical.
struct Box {
    Eigen::Vector3d centre;
    Eigen::Vector3d half;  ///< half the edge lengths
    double yaw;            ///< rad
    std::array<float, 3> colour;
};

/// Everything that moves, at one instant.
struct Scene {
    Ball ball;
    std::array<Box, 3> arm;  ///< column, beam, gripper
};

/// The world `seconds` after its start. Joint 0 turns the arm, joint 1 lifts it, joint 2 stretches it, joint 3 turns
/// the gripper; missing joints count as 0, further ones are not seen.
Scene scene_at(double seconds, std::span<const double> joints);

/// A camera that sways slowly on its place around the scene. Thread rule: one thread at a time renders.
class SceneCamera {
public:
    /// Depth beyond this is not measured.
    static constexpr float depth_range = 10.0f;

    /// `index` chooses the place; the first six are apart from each other.
    SceneCamera(int width, int height, int index);

    const Eigen::Matrix3d& intrinsics() const noexcept { return intrinsics_; }
    /// Camera-to-world at `seconds`.
    Eigen::Matrix4d pose(double seconds) const;

    /// Fills H*W*3 bytes of RGB and, unless `depth` is empty, H*W metres; 0 where there is none: sky and far floor.
    /// `number` is written into the lower left corner of the picture, behind the camera's index.
    void render(const Scene& scene, const Eigen::Matrix4d& pose, std::uint64_t number, std::span<std::uint8_t> image,
                std::span<float> depth);

private:
    struct View;
    void floor_row(const View& view, int row);
    void ball_row(const View& view, int row);
    void box_row(const View& view, std::size_t box, int row);
    void write_number(std::uint64_t number, std::span<std::uint8_t> image) const;

    int width_, height_, index_;
    Eigen::Matrix3d intrinsics_;
    // One row of the picture while it is being made: distance along the ray, and colour.
    std::vector<float> distance_;
    std::array<std::vector<std::uint8_t>, 3> colour_;
};

}  // namespace chiral::tools
