// SPDX-License-Identifier: Apache-2.0
// The simulated sensors feed an engine as real drivers do: whole frames, at their rates, until they are stopped.
#include "simulated_robot.hpp"
#include "synthetic_scene.hpp"

#include <gtest/gtest.h>

#include <Eigen/Geometry>

#include <cmath>

namespace chiral::tools {
namespace {

using namespace std::chrono_literals;

RobotOptions small() {
    RobotOptions options;
    options.width = 64;
    options.height = 48;
    options.depth = true;
    options.camera_hz = 50.0;
    options.proprio_hz = 200.0;
    options.proprios = 5;
    return options;
}

TEST(SimulatedSensors, image_depth_and_pose_of_a_snapshot_belong_to_one_frame) {
    const RobotOptions options = small();
    Engine engine(camera_configs(options), proprio_configs(options));
    SimulatedSensors sensors(engine, options);
    Reader reader = engine.make_reader();
    std::uint64_t seen = 0;
    for (int i = 0; i < 10; ++i) {
        ASSERT_TRUE(engine.wait_frame(0, seen, Clock::now() + 20s));
        const Snapshot snapshot = reader.snapshot();
        const CameraView camera = snapshot.camera(0);
        seen = camera.sequence();
        for (const Field field : {Field::depth, Field::extrinsics}) {
            EXPECT_EQ(camera.stamp(field).sequence, seen);
            EXPECT_EQ(camera.stamp(field).captured, camera.captured());
        }
        // The lowest row in the middle shows the floor, or something that stands on it.
        const Eigen::Map<const Eigen::Matrix<double, 3, 3, Eigen::RowMajor>> K(camera.intrinsics().data());
        const Eigen::Map<const Eigen::Matrix<double, 4, 4, Eigen::RowMajor>> T(camera.extrinsics().data());
        const int u = options.width / 2, v = options.height - 1;
        const double depth = static_cast<double>(camera.depth()[static_cast<std::size_t>(v * options.width + u)]);
        const Eigen::Vector4d point = T * ((K.inverse() * Eigen::Vector3d(u, v, 1.0)) * depth).homogeneous();
        EXPECT_GT(depth, 0.5);
        EXPECT_GT(point.z(), -0.001);
        EXPECT_LT(point.z(), 1.1);
    }
}

TEST(SimulatedSensors, cameras_and_streams_keep_about_their_rates) {
    const RobotOptions options = small();
    Engine engine(camera_configs(options), proprio_configs(options));
    const TimePoint begin = Clock::now();
    SimulatedSensors sensors(engine, options);
    ASSERT_TRUE(engine.wait_frame(1, 24, Clock::now() + 60s));
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    EXPECT_GT(seconds, 0.4) << "25 frames at 50 Hz take half a second, not less";
    Reader reader = engine.make_reader();
    const Snapshot snapshot = reader.snapshot();
    EXPECT_LE(static_cast<double>(snapshot.proprio(0).sequence()), seconds * options.proprio_hz + 10.0);
    EXPECT_GT(snapshot.proprio(4).sequence(), 10U);
}

TEST(SimulatedSensors, joint_positions_follow_an_action) {
    const RobotOptions options = small();
    Engine engine(camera_configs(options), proprio_configs(options));
    SimulatedSensors sensors(engine, options);
    const Action action{std::vector<float>(7, 2.5f), 1, 7};
    const TimePoint deadline = Clock::now() + 60s;
    std::vector<float> positions(7);
    do {
        ASSERT_LT(Clock::now(), deadline);
        sensors.arm().apply(action, Clock::now());
        std::this_thread::sleep_for(20ms);
        static_cast<void>(engine.latest_proprio(0, positions));
    } while (std::abs(positions[0] - 2.5f) > 0.05f || std::abs(positions[6] - 2.5f) > 0.05f);
}

TEST(SimulatedSensors, nothing_is_published_after_stop) {
    const RobotOptions options = small();
    Engine engine(camera_configs(options), proprio_configs(options));
    SimulatedSensors sensors(engine, options);
    ASSERT_TRUE(engine.wait_frame(0, 2, Clock::now() + 20s));
    sensors.stop();
    const std::uint64_t last = engine.newest_frame(0);
    EXPECT_FALSE(engine.wait_frame(0, last, Clock::now() + 100ms));
}

TEST(SimulatedSensors, slow_rates_stop_soon_and_are_not_called_stale_too_early) {
    RobotOptions options = small();
    options.camera_hz = 0.02;
    options.proprio_hz = 0.02;
    EXPECT_GT(server_options(options).engine.camera_stale_after, 100s);
    Engine engine(camera_configs(options), proprio_configs(options));
    const TimePoint begin = Clock::now();
    { SimulatedSensors sensors(engine, options); }
    EXPECT_LT(Clock::now() - begin, 5s);
}

TEST(SimulatedSensors, declares_the_sources_that_were_asked_for) {
    RobotOptions options = small();
    options.command_cameras = {{"clip", 32, 16, "true"}};
    const auto cameras = camera_configs(options);
    ASSERT_EQ(cameras.size(), 3U);
    EXPECT_EQ(cameras[0].name, "cam_0");
    EXPECT_TRUE(cameras[1].has_depth);
    EXPECT_EQ(cameras[2].name, "clip");
    EXPECT_FALSE(cameras[2].has_depth);
    const auto streams = proprio_configs(options);
    ASSERT_EQ(streams.size(), 5U);
    EXPECT_EQ(streams[0].name, "joint_pos");
    EXPECT_EQ(streams[1].name, "joint_vel");
    EXPECT_EQ(streams[4].name, "proprio_4");
    const InfoMap info = describe(options, "arm");
    EXPECT_EQ(info.at("cameras"), "cam_0,cam_1,clip");
    EXPECT_EQ(info.at("action_D"), "7");
}

}  // namespace
}  // namespace chiral::tools
