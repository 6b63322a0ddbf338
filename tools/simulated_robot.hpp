// SPDX-License-Identifier: Apache-2.0
// A robot without hardware: simulated cameras and joints behind a PolicyServer, for trying clients out.
//
//     chiral::tools::SimulatedRobot robot({.cameras = 2, .depth = true}, "127.0.0.1", 8765);
//     robot.run();
//
// Each camera and each proprioception stream has a thread of its own, as real drivers have. Cameras fill a frame
// transaction in place, so image, depth and camera matrices are always of one instant. Threads end before the buffers do.
#pragma once

#include "command_camera.hpp"
#include "simulated_arm.hpp"

#include <chiral/engine.hpp>
#include <chiral/server.hpp>
#include <chiral/slot.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace chiral::tools {

/// Pressures on the two pads of the gripper, in kPa.
struct Touch {
    float pressure[2][4][4];
};

struct RobotOptions {
    int cameras = 2;  ///< simulated ones, named cam_0, cam_1, ...
    int width = 640;
    int height = 480;
    bool depth = false;
    double camera_hz = 30.0;
    /// Streams: joint_pos, joint_vel, joint_effort, then proprio_3, proprio_4, ...; each has one value per joint.
    int proprios = 3;
    int joints = 7;
    double proprio_hz = 500.0;
    /// A slot for data of a type of its own: touch, what the pads of the gripper feel, at the rate of the streams.
    bool touch = false;
    /// Rate at which the rows of an action chunk are played; also told to clients.
    double control_hz = 20.0;
    /// Cameras whose pictures come from a command. They follow the simulated ones.
    std::vector<CommandCameraConfig> command_cameras{};
    /// What is said of clients and of what the arm does then, and of sensors that fail, a line each: on threads that must not wait, so it
    /// goes through a chiral::Log. Default: nobody is told.
    std::function<void(const std::string&)> tell = [](const std::string&) {};
    std::function<void(const std::string&)> warn = [](const std::string&) {};
};

/// What the options declare.
std::vector<CameraConfig> camera_configs(const RobotOptions& options);
std::vector<ProprioConfig> proprio_configs(const RobotOptions& options);
/// `server`, with the slot, and in which a source is not stale before it missed a few of its own periods.
ServerOptions server_options(const RobotOptions& options, ServerOptions server = {});
/// What fits the arm: targets within +-pi, as many as there are joints, at most 0.5 rad from one row to the next.
ActionGateOptions arm_gate(const RobotOptions& options, GatePolicy policy);
/// Cameras, action_N, action_D, control_hz, robot.
InfoMap describe(const RobotOptions& options, const std::string& kind);

/// The threads that feed an engine which was made from camera_configs() and proprio_configs(). The engine outlives this.
class SimulatedSensors {
public:
    SimulatedSensors(Engine& engine, const RobotOptions& options);
    SimulatedSensors(const SimulatedSensors&) = delete;
    ~SimulatedSensors() { stop(); }

    SimulatedArm& arm() noexcept { return arm_; }
    /// Ends and joins all threads and commands.
    void stop();

private:
    void film(const std::stop_token& stop, int camera);
    void sense(const std::stop_token& stop, int stream);
    void feel(const std::stop_token& stop);

    Engine& engine_;
    const RobotOptions options_;
    const TimePoint start_;
    SimulatedArm arm_;
    std::vector<std::unique_ptr<CommandCamera>> command_cameras_;
    std::vector<std::jthread> threads_;
};

/// Overrides get_obs() and apply_action(), as a robot of the decoupled kind does.
class SimulatedRobot final : public PolicyServer {
public:
    SimulatedRobot(RobotOptions options, std::string host, int port, ServerOptions server = {});
    ~SimulatedRobot() override;

    InfoMap get_metadata() override;
    std::pair<Observation, InfoMap> reset() override;
    Observation get_obs() override;
    void apply_action(const Action& action) override;
    // Each tells in a line what has happened and what the arm does.
    void on_connect(const std::string& peer) override;
    void on_disconnect(const std::string& reason) override;
    void on_action_timeout() override;

private:
    const RobotOptions options_;
    SimulatedSensors sensors_;
    std::atomic<double> episode_begin_;
};

/// Overrides step() only, as robots that were written for the legacy C++ server do.
class LegacySimulatedRobot final : public PolicyServer {
public:
    LegacySimulatedRobot(RobotOptions options, std::string host, int port, ServerOptions server = {});
    ~LegacySimulatedRobot() override;

    InfoMap get_metadata() override;
    std::pair<Observation, InfoMap> reset() override;
    StepResult step(const Action& action) override;
    void on_connect(const std::string& peer) override;
    void on_disconnect(const std::string& reason) override;
    void on_action_timeout() override;

private:
    const RobotOptions options_;
    SimulatedSensors sensors_;
    int steps_{0};  // action thread only
};

}  // namespace chiral::tools
