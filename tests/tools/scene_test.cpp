// SPDX-License-Identifier: Apache-2.0
// The simulated pictures, depth maps and camera matrices describe one and the same world.
#include "synthetic_scene.hpp"

#include <gtest/gtest.h>

#include <Eigen/Geometry>

#include <algorithm>
#include <cmath>
#include <vector>

namespace chiral::tools {
namespace {

constexpr int width = 160, height = 120;

struct Shot {
    Eigen::Matrix3d K;
    Eigen::Matrix4d T;
    Scene scene;
    std::vector<std::uint8_t> image = std::vector<std::uint8_t>(width * height * 3);
    std::vector<float> depth = std::vector<float>(width * height);

    float metres(int u, int v) const { return depth[static_cast<std::size_t>(v * width + u)]; }
    const std::uint8_t* pixel(int u, int v) const { return &image[static_cast<std::size_t>(v * width + u) * 3]; }
    Eigen::Vector3d point(int u, int v) const {
        const Eigen::Vector3d ray = K.inverse() * Eigen::Vector3d(u, v, 1.0);
        const Eigen::Vector3d seen = ray * static_cast<double>(metres(u, v));
        return (T * seen.homogeneous()).head<3>();
    }
};

Shot take(int camera, double seconds, std::vector<double> joints = {0.3, 0.2, -0.4, 0.5}) {
    SceneCamera eye(width, height, camera);
    Shot shot;
    shot.K = eye.intrinsics();
    shot.T = eye.pose(seconds);
    shot.scene = scene_at(seconds, joints);
    eye.render(shot.scene, shot.T, 1, shot.image, shot.depth);
    return shot;
}

double distance_to_surface(const Box& box, const Eigen::Vector3d& point) {
    const Eigen::Vector3d local = Eigen::AngleAxisd(-box.yaw, Eigen::Vector3d::UnitZ()) * (point - box.centre);
    const Eigen::Vector3d beyond = local.cwiseAbs() - box.half;
    return std::abs(beyond.cwiseMax(0.0).norm() + std::min(beyond.maxCoeff(), 0.0));
}

double distance_to_ball(const Ball& ball, const Eigen::Vector3d& point) {
    return std::abs((point - ball.centre).norm() - ball.radius);
}

TEST(Scene, every_depth_value_leads_to_the_floor_the_ball_or_the_arm) {
    for (int camera = 0; camera < 6; ++camera) {
        for (const double seconds : {0.0, 1.7, 4.1, 8.8}) {
            const Shot shot = take(camera, seconds);
            int floor = 0, ball = 0, arm = 0;
            for (int v = 0; v < height; ++v) {
                for (int u = 0; u < width; ++u) {
                    if (shot.metres(u, v) == 0.0f) continue;
                    const Eigen::Vector3d point = shot.point(u, v);
                    double to_arm = 1.0;
                    for (const Box& box : shot.scene.arm) to_arm = std::min(to_arm, distance_to_surface(box, point));
                    constexpr double tolerance = 0.001;
                    const bool on_floor = std::abs(point.z()) < tolerance;
                    const bool on_ball = distance_to_ball(shot.scene.ball, point) < tolerance;
                    const bool on_arm = to_arm < tolerance;
                    ASSERT_TRUE(on_floor || on_ball || on_arm) << "camera " << camera << " at " << seconds << " s, pixel "
                                                               << u << ',' << v << ": " << point.transpose();
                    floor += on_floor;
                    ball += on_ball;
                    arm += on_arm;
                }
            }
            EXPECT_GT(floor, width * height / 4) << "camera " << camera << " at " << seconds << " s";
            EXPECT_GT(arm, 50) << "camera " << camera << " at " << seconds << " s";
            EXPECT_GT(ball, 10) << "camera " << camera << " at " << seconds << " s";
        }
    }
}

TEST(Scene, what_is_in_front_hides_what_is_behind) {
    const Shot shot = take(0, 2.0);
    const Eigen::Vector3d eye = shot.T.block<3, 1>(0, 3);
    for (int v = 0; v < height; ++v) {
        for (int u = 0; u < width; ++u) {
            if (shot.metres(u, v) == 0.0f) continue;
            const Eigen::Vector3d point = shot.point(u, v);
            for (const double part : {0.2, 0.5, 0.8, 0.95}) {
                const Eigen::Vector3d between = eye + part * (point - eye);
                EXPECT_GT((between - shot.scene.ball.centre).norm(), shot.scene.ball.radius - 0.001);
                EXPECT_GT(between.z(), 0.0);
            }
        }
    }
}

TEST(Scene, the_picture_shows_the_ball_where_the_matrices_say_it_is) {
    // From camera 1 at that time nothing is in front of the ball.
    const Shot shot = take(1, 3.0);
    const Eigen::Vector4d seen = shot.T.inverse() * shot.scene.ball.centre.homogeneous();
    const Eigen::Vector3d projected = shot.K * seen.head<3>() / seen.z();
    const int u = static_cast<int>(std::lround(projected.x())), v = static_cast<int>(std::lround(projected.y()));
    ASSERT_TRUE(u >= 0 && u < width && v >= 0 && v < height) << u << ',' << v;
    EXPECT_LT(distance_to_ball(shot.scene.ball, shot.point(u, v)), 0.001);
    // The ball is red and cream; floor and sky are not warm like that.
    EXPECT_GT(shot.pixel(u, v)[0], shot.pixel(u, v)[2] + 8);
}

TEST(Scene, tiles_of_the_floor_are_where_the_depth_says) {
    // Well inside a tile and near the camera, a floor pixel has the brightness of its tile.
    const Shot shot = take(2, 0.5);
    int checked = 0;
    for (int v = 0; v < height - 20; ++v) {  // the frame number is below
        for (int u = 0; u < width; ++u) {
            if (shot.metres(u, v) == 0.0f || shot.metres(u, v) > 4.0f) continue;
            const Eigen::Vector3d point = shot.point(u, v);
            if (std::abs(point.z()) > 0.001 || (point - shot.scene.ball.centre).head<2>().norm() < 0.5) continue;
            const double x = point.x() / 0.5, y = point.y() / 0.5;
            if (std::abs(x - std::round(x)) < 0.02 || std::abs(y - std::round(y)) < 0.02) continue;
            const bool dark = (static_cast<int>(std::floor(x)) + static_cast<int>(std::floor(y))) % 2 != 0;
            EXPECT_EQ(shot.pixel(u, v)[0] < 165, dark) << u << ',' << v << ": " << point.transpose();
            ++checked;
        }
    }
    EXPECT_GT(checked, 1000);
}

double difference(const Shot& a, const Shot& b) {
    std::size_t differing = 0;
    for (std::size_t i = 0; i < a.image.size(); ++i) differing += std::abs(a.image[i] - b.image[i]) > 4;
    return static_cast<double>(differing) / static_cast<double>(a.image.size());
}

TEST(Scene, pictures_change_from_frame_to_frame) {
    const Shot now = take(0, 5.0), next = take(0, 5.0 + 1.0 / 30.0), later = take(0, 6.0);
    EXPECT_NE(now.image, next.image);
    EXPECT_NE(now.depth, next.depth);
    EXPECT_GT(difference(now, later), 0.02);
    EXPECT_NE(now.T, next.T);
}

TEST(Scene, two_cameras_see_different_pictures_of_the_same_world) {
    const Shot one = take(0, 5.0), other = take(1, 5.0);
    EXPECT_GT(difference(one, other), 0.2);
    EXPECT_EQ(one.scene.ball.centre, other.scene.ball.centre);
}

TEST(Scene, joints_move_the_arm_in_the_picture) {
    const Shot rest = take(0, 5.0, {0, 0, 0, 0}), turned = take(0, 5.0, {1.0, 0, 0, 0});
    EXPECT_GT(difference(rest, turned), 0.005);
}

TEST(Scene, extrinsics_are_rigid_and_look_at_the_scene) {
    for (int camera = 0; camera < 8; ++camera) {
        const SceneCamera eye(width, height, camera);
        for (double seconds = 0.0; seconds < 20.0; seconds += 1.3) {
            const Eigen::Matrix4d T = eye.pose(seconds);
            const Eigen::Matrix3d R = T.block<3, 3>(0, 0);
            EXPECT_TRUE((R.transpose() * R).isIdentity(1e-12));
            EXPECT_NEAR(R.determinant(), 1.0, 1e-12);
            EXPECT_GT((T.inverse() * Eigen::Vector4d(0, 0, 0.45, 1)).z(), 1.0);
        }
    }
}

TEST(Scene, odd_sizes_and_no_depth_are_drawn_within_their_memory) {
    for (const auto& [w, h] : std::vector<std::pair<int, int>>{{1, 1}, {3, 2}, {17, 5}, {33, 200}, {641, 3}}) {
        SceneCamera eye(w, h, 3);
        std::vector<std::uint8_t> image(static_cast<std::size_t>(w * h * 3));
        eye.render(scene_at(1.0, {}), eye.pose(1.0), 123456789, image, {});
    }
}

}  // namespace
}  // namespace chiral::tools
