// SPDX-License-Identifier: Apache-2.0
// Casts one ray per pixel. The floor is a closed form that the compiler turns into vector code, row by row; ball and boxes
// are then drawn over it where their bounding spheres can be. Rays are scaled so that their camera z is 1: the
// distance along a ray is the depth.
#include "synthetic_scene.hpp"

#include <Eigen/Geometry>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>

namespace chiral::tools {

namespace {

using Vec = Eigen::Vector3f;
using Colour = std::array<float, 3>;

constexpr double tau = 2.0 * std::numbers::pi;
constexpr float never_hit = std::numeric_limits<float>::infinity();

constexpr Colour haze = {206, 220, 232};
constexpr Colour zenith = {64, 122, 200};
constexpr Colour light_tile = {214, 208, 196};
constexpr Colour dark_tile = {86, 98, 112};
constexpr Colour ball_stripe = {222, 62, 48};
constexpr Colour ball_ground = {246, 240, 224};
constexpr float tile = 0.5f;        // metres
constexpr float far_floor = 20.0f;  // where the floor has faded into the haze, metres
const Vec to_light = Vec(0.35f, -0.45f, 0.82f).normalized();

std::uint8_t byte(float value) { return static_cast<std::uint8_t>(static_cast<int>(value)); }

// Columns [begin, end) and rows [top, bottom) of the picture.
struct Rectangle {
    int begin, end, top, bottom;
    bool has_row(int row) const { return row >= top && row < bottom && begin < end; }
};

}  // namespace

// What one picture needs to know, in single precision and relative to the camera.
struct SceneCamera::View {
    Vec origin;
    Vec corner, right, down;  // ray of pixel (u, v): corner + u * right + v * down
    Vec ball;                 // centre
    float ball_radius;
    Eigen::Matrix3f to_ball;
    Rectangle ball_bounds;
    struct LocalBox {
        Eigen::Matrix3f to_box;
        Vec origin, half;  // camera position and half edges in the frame of the box
        Colour colour;
        Rectangle bounds;
    };
    std::array<LocalBox, 3> boxes;

    Vec row_start(int row) const { return corner + static_cast<float>(row) * down; }
};

Scene scene_at(double seconds, std::span<const double> joints) {
    const auto joint = [&](std::size_t i) { return i < joints.size() ? joints[i] : 0.0; };
    Scene scene{};

    const double turn = tau * seconds / 9.0;
    const double hop = 0.35 * std::abs(std::sin(tau * seconds / 3.0));
    const double orbit = 1.2;
    Ball& ball = scene.ball;
    ball.radius = 0.28;
    ball.centre = {orbit * std::cos(turn), orbit * std::sin(turn), ball.radius + hop};
    // It rolls forwards without slipping: around the axis that points from the middle of its circle outwards.
    const Eigen::Vector3d outwards(std::cos(turn), std::sin(turn), 0.0);
    ball.orientation = (Eigen::AngleAxisd(-turn * orbit / ball.radius, outwards) *
                        Eigen::AngleAxisd(turn, Eigen::Vector3d::UnitZ()) * Eigen::AngleAxisd(0.6, Eigen::Vector3d::UnitX()))
                           .toRotationMatrix();

    const double yaw = joint(0);
    const double lift = 0.62 + 0.25 * std::sin(joint(1));
    const double reach = 0.50 + 0.12 * std::sin(joint(2));
    const Eigen::Vector3d along(std::cos(yaw), std::sin(yaw), 0.0);
    scene.arm[0] = {{0.0, 0.0, 0.5}, {0.08, 0.08, 0.5}, yaw, {96, 104, 120}};
    scene.arm[1] = {along * (reach / 2) + Eigen::Vector3d(0, 0, lift), {reach / 2, 0.05, 0.05}, yaw, {236, 168, 48}};
    scene.arm[2] = {along * reach + Eigen::Vector3d(0, 0, lift - 0.15), {0.11, 0.11, 0.10}, yaw + joint(3), {40, 150, 120}};
    return scene;
}

SceneCamera::SceneCamera(int width, int height, int index)
    : width_(width), height_(height), index_(index), distance_(static_cast<std::size_t>(width)) {
    const double focal = 0.9 * width;
    intrinsics_ << focal, 0.0, (width - 1) / 2.0, 0.0, focal, (height - 1) / 2.0, 0.0, 0.0, 1.0;
    for (auto& plane : colour_) plane.resize(static_cast<std::size_t>(width));
}

Eigen::Matrix4d SceneCamera::pose(double seconds) const {
    // The golden angle keeps any number of cameras apart.
    const double azimuth = -0.9 + 2.399963 * index_ + 0.25 * std::sin(tau * seconds / 17.0 + index_);
    const double height = 1.35 + 0.15 * std::sin(tau * seconds / 11.0 + 2.0 * index_);
    const double radius = 2.9 + 0.25 * (index_ % 3);
    const Eigen::Vector3d position(radius * std::cos(azimuth), radius * std::sin(azimuth), height);
    const Eigen::Vector3d forward = (Eigen::Vector3d(0.0, 0.0, 0.45) - position).normalized();
    const Eigen::Vector3d right = forward.cross(Eigen::Vector3d::UnitZ()).normalized();
    Eigen::Matrix4d pose = Eigen::Matrix4d::Identity();
    pose.block<3, 1>(0, 0) = right;
    pose.block<3, 1>(0, 1) = forward.cross(right);
    pose.block<3, 1>(0, 2) = forward;
    pose.block<3, 1>(0, 3) = position;
    return pose;
}

namespace {

// The pixels that a sphere can cover: its bounding cube in the camera frame, projected.
Rectangle bounds_of(const Eigen::Vector3d& centre, double radius, const Eigen::Matrix4d& pose, const Eigen::Matrix3d& K,
                    int width, int height) {
    const Eigen::Vector3d seen = pose.block<3, 3>(0, 0).transpose() * (centre - Eigen::Vector3d(pose.block<3, 1>(0, 3)));
    const double nearest = seen.z() - radius, farthest = seen.z() + radius;
    if (farthest <= 0.0) return {0, 0, 0, 0};
    if (nearest <= 1e-3) return {0, width, 0, height};
    const auto span = [&](double middle, double focal, double offset, int limit, int& begin, int& end) {
        const double low = middle - radius, high = middle + radius;
        const double first = offset + focal * low / (low < 0.0 ? nearest : farthest);
        const double last = offset + focal * high / (high > 0.0 ? nearest : farthest);
        begin = static_cast<int>(std::clamp(std::floor(first), 0.0, static_cast<double>(limit)));
        end = static_cast<int>(std::clamp(std::floor(last) + 1.0, 0.0, static_cast<double>(limit)));
    };
    Rectangle bounds{};
    span(seen.x(), K(0, 0), K(0, 2), width, bounds.begin, bounds.end);
    span(seen.y(), K(1, 1), K(1, 2), height, bounds.top, bounds.bottom);
    return bounds;
}

float lit(const Vec& normal) { return 0.55f + 0.45f * std::max(0.0f, normal.dot(to_light)); }

}  // namespace

void SceneCamera::render(const Scene& scene, const Eigen::Matrix4d& pose, std::uint64_t number,
                         std::span<std::uint8_t> image, std::span<float> depth) {
    const Eigen::Matrix3d rotation = pose.block<3, 3>(0, 0);
    const Eigen::Vector3d position = pose.block<3, 1>(0, 3);
    const Eigen::Matrix3d ray_of_pixel = rotation * intrinsics_.inverse();

    View view{};
    view.origin = position.cast<float>();
    view.right = ray_of_pixel.col(0).cast<float>();
    view.down = ray_of_pixel.col(1).cast<float>();
    view.corner = ray_of_pixel.col(2).cast<float>();
    view.ball = scene.ball.centre.cast<float>();
    view.ball_radius = static_cast<float>(scene.ball.radius);
    view.to_ball = scene.ball.orientation.transpose().cast<float>();
    view.ball_bounds = bounds_of(scene.ball.centre, scene.ball.radius, pose, intrinsics_, width_, height_);
    for (std::size_t i = 0; i < view.boxes.size(); ++i) {
        const Box& box = scene.arm[i];
        const Eigen::Matrix3d to_box = Eigen::AngleAxisd(-box.yaw, Eigen::Vector3d::UnitZ()).toRotationMatrix();
        view.boxes[i] = {to_box.cast<float>(), (to_box * (position - box.centre)).cast<float>(), box.half.cast<float>(),
                         box.colour, bounds_of(box.centre, box.half.norm(), pose, intrinsics_, width_, height_)};
    }

    const auto width = static_cast<std::size_t>(width_);
    for (int row = 0; row < height_; ++row) {
        floor_row(view, row);
        if (view.ball_bounds.has_row(row)) ball_row(view, row);
        for (std::size_t i = 0; i < view.boxes.size(); ++i)
            if (view.boxes[i].bounds.has_row(row)) box_row(view, i, row);

        std::uint8_t* pixel = image.data() + static_cast<std::size_t>(row) * width * 3;
        const std::uint8_t *red = colour_[0].data(), *green = colour_[1].data(), *blue = colour_[2].data();
        for (std::size_t u = 0; u < width; ++u) {
            pixel[3 * u] = red[u];
            pixel[3 * u + 1] = green[u];
            pixel[3 * u + 2] = blue[u];
        }
        if (!depth.empty()) {
            float* metres = depth.data() + static_cast<std::size_t>(row) * width;
            const float* distance = distance_.data();
            for (std::size_t u = 0; u < width; ++u) metres[u] = distance[u] <= depth_range ? distance[u] : 0.0f;
        }
    }
    write_number(number, image);
}

void SceneCamera::floor_row(const View& view, int row) {
    const Vec start = view.row_start(row);
    const float x0 = start.x(), y0 = start.y(), z0 = start.z();
    const float dx = view.right.x(), dy = view.right.y(), dz = view.right.z();
    const float ox = view.origin.x(), oy = view.origin.y(), oz = view.origin.z();
    const float shadow_x = view.ball.x(), shadow_y = view.ball.y();
    const float shadow_edge = 1.0f / (view.ball_radius * view.ball_radius);
    float* __restrict distance = distance_.data();
    std::uint8_t* __restrict red = colour_[0].data();
    std::uint8_t* __restrict green = colour_[1].data();
    std::uint8_t* __restrict blue = colour_[2].data();

    const int width = width_;
    for (int u = 0; u < width; ++u) {
        const auto column = static_cast<float>(u);
        const float rise = z0 + column * dz;
        const float t = oz / (-rise > 1e-3f ? -rise : 1e-3f);
        const float reached = t < far_floor ? t : far_floor;
        const float x = ox + reached * (x0 + column * dx), y = oy + reached * (y0 + column * dy);
        // The offset keeps the numbers positive, where cutting off the fraction rounds down.
        const int parity = static_cast<int>(x * (1 / tile) + 4096.0f) + static_cast<int>(y * (1 / tile) + 4096.0f);
        const auto odd = static_cast<float>(parity & 1);
        const float near = 1.0f - reached * (1 / far_floor);
        const float visible = near * near;  // none of the floor is where the sky begins
        const float from_ball = ((x - shadow_x) * (x - shadow_x) + (y - shadow_y) * (y - shadow_y)) * shadow_edge;
        const float shade = 0.55f + 0.45f * (from_ball < 1.0f ? from_ball : 1.0f);
        const float above = rise > 0.0f ? rise : 0.0f;
        const float up = above < 0.6f ? above * (1 / 0.6f) : 1.0f;  // none of the zenith is where the floor is

        const auto channel = [&](std::size_t c) {
            const float ground = (light_tile[c] + odd * (dark_tile[c] - light_tile[c])) * shade;
            return byte(haze[c] + visible * (ground - haze[c]) + up * (zenith[c] - haze[c]));
        };
        distance[u] = t < far_floor ? t : never_hit;
        red[u] = channel(0);
        green[u] = channel(1);
        blue[u] = channel(2);
    }
}

void SceneCamera::ball_row(const View& view, int row) {
    const Vec start = view.row_start(row);
    const Vec from_centre = view.origin - view.ball;
    const float c = from_centre.squaredNorm() - view.ball_radius * view.ball_radius;
    for (int u = view.ball_bounds.begin; u < view.ball_bounds.end; ++u) {
        const auto i = static_cast<std::size_t>(u);
        const Vec ray = start + static_cast<float>(u) * view.right;
        const float a = ray.squaredNorm(), b = ray.dot(from_centre);
        const float discriminant = b * b - a * c;
        if (discriminant <= 0.0f) continue;
        const float t = (-b - std::sqrt(discriminant)) / a;
        if (t <= 0.0f || t >= distance_[i]) continue;
        const Vec normal = (from_centre + t * ray) / view.ball_radius;
        const Vec on_ball = view.to_ball * normal;
        // Eight sectors around the ball's axis, alternating, without an arc tangent.
        const bool stripe = (on_ball.x() > 0) ^ (on_ball.y() > 0) ^ (std::abs(on_ball.x()) > std::abs(on_ball.y()));
        const float light = lit(normal);
        distance_[i] = t;
        for (std::size_t k = 0; k < 3; ++k) colour_[k][i] = byte((stripe ? ball_stripe : ball_ground)[k] * light);
    }
}

void SceneCamera::box_row(const View& view, std::size_t box_index, int row) {
    const View::LocalBox& box = view.boxes[box_index];
    const Vec start = box.to_box * view.row_start(row), right = box.to_box * view.right;
    for (int u = box.bounds.begin; u < box.bounds.end; ++u) {
        const auto i = static_cast<std::size_t>(u);
        const Vec ray = start + static_cast<float>(u) * right;
        float enter = 0.0f, leave = distance_[i];
        int face = -1;
        for (int axis = 0; axis < 3; ++axis) {
            const float inverse = 1.0f / ray[axis];  // infinite for a parallel ray, which then never or always is inside
            const float first = (-box.half[axis] - box.origin[axis]) * inverse;
            const float second = (box.half[axis] - box.origin[axis]) * inverse;
            const float in = std::min(first, second);
            if (in > enter) {
                enter = in;
                face = axis;
            }
            leave = std::min(leave, std::max(first, second));
        }
        if (face < 0 || enter >= leave) continue;
        Vec normal = Vec::Zero();
        normal[face] = ray[face] > 0.0f ? -1.0f : 1.0f;
        // Edges are drawn dark: there the hit is close to the rim of its face in another axis.
        const Vec hit = box.origin + enter * ray;
        bool edge = false;
        for (int axis = 0; axis < 3; ++axis) edge = edge || (axis != face && box.half[axis] - std::abs(hit[axis]) < 0.008f);
        const float light = lit(box.to_box.transpose() * normal) * (edge ? 0.55f : 1.0f);
        distance_[i] = enter;
        for (std::size_t k = 0; k < 3; ++k) colour_[k][i] = byte(box.colour[k] * light);
    }
}

void SceneCamera::write_number(std::uint64_t number, std::span<std::uint8_t> image) const {
    // Digits of 3 x 5 dots, one octal figure per line, and a colon.
    constexpr std::array<unsigned, 11> glyphs = {075557, 026227, 071747, 071717, 055711, 074717,
                                                 074757, 071111, 075757, 075717, 002020};
    const std::string text = std::to_string(index_) + ":" + std::to_string(number);
    const int dot = std::max(1, height_ / 160), margin = 2 * dot;
    const int width = dot * (4 * static_cast<int>(text.size()) + 1), height = 7 * dot;
    const int left = margin, top = height_ - margin - height;
    if (top < 0 || left + width > width_) return;
    for (int y = 0; y < height; ++y) {
        std::uint8_t* pixel =
            image.data() +
            (static_cast<std::size_t>(top + y) * static_cast<std::size_t>(width_) + static_cast<std::size_t>(left)) * 3;
        const int line = y / dot - 1;
        for (int x = 0; x < width; ++x, pixel += 3) {
            const int column = x / dot - 1;
            bool on = false;
            if (line >= 0 && line < 5 && column >= 0 && column % 4 < 3) {
                const char letter = text[static_cast<std::size_t>(column / 4)];
                const unsigned glyph = glyphs[letter == ':' ? 10 : static_cast<std::size_t>(letter - '0')];
                on = (glyph >> (3 * (4 - line)) & 7U) >> (2 - column % 4) & 1U;
            }
            for (int k = 0; k < 3; ++k) pixel[k] = static_cast<std::uint8_t>(on ? 255 : pixel[k] / 3);
        }
    }
}

}  // namespace chiral::tools
