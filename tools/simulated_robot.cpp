// SPDX-License-Identifier: Apache-2.0
#include "simulated_robot.hpp"

#include "pace.hpp"
#include "synthetic_scene.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace chiral::tools {

namespace {

double now_seconds() { return to_seconds(Clock::now()); }

std::string connected(const std::string& peer) { return fmt::format("client {} is in control", peer); }

// Nobody is there any more who could want the rest of a chunk.
std::string hold_after_disconnect(SimulatedArm& arm, const std::string& reason) {
    const bool stopped = arm.hold(Clock::now(), SimulatedArm::Hold::at_once);
    return fmt::format("no client is in control ({}); {}", reason,
                       stopped ? "the arm holds its position" : "no action moves the arm");
}

// A policy that sends chunks is silent while they are played.
std::string hold_after_timeout(SimulatedArm& arm) {
    const bool stopped = arm.hold(Clock::now(), SimulatedArm::Hold::when_played);
    return stopped ? "no action came in time; the arm plays what it has, and holds its position"
                   : "no action came in time; no action moves the arm";
}

}  // namespace

std::vector<CameraConfig> camera_configs(const RobotOptions& options) {
    std::vector<CameraConfig> cameras;
    for (int i = 0; i < options.cameras; ++i) {
        const SceneCamera camera(options.width, options.height, i);
        cameras.push_back({.name = fmt::format("cam_{}", i),
                           .height = options.height,
                           .width = options.width,
                           .channels = 3,
                           .has_depth = options.depth,
                           .intrinsics = camera.intrinsics(),
                           .extrinsics = camera.pose(0.0)});
    }
    for (const CommandCameraConfig& command : options.command_cameras) {
        cameras.push_back({.name = command.name, .height = command.height, .width = command.width, .channels = 3});
        cameras.back().encoding = command.encoding;
    }
    return cameras;
}

std::vector<ProprioConfig> proprio_configs(const RobotOptions& options) {
    constexpr const char* names[] = {"joint_pos", "joint_vel", "joint_effort"};
    constexpr const char* units[] = {"rad", "rad/s", "N m"};
    std::vector<ProprioConfig> streams;
    for (int i = 0; i < options.proprios; ++i) {
        ProprioConfig& stream = streams.emplace_back();
        stream.name = i < 3 ? names[i] : fmt::format("proprio_{}", i);
        stream.size = options.joints;
        if (i >= 3) continue;
        stream.unit = units[i];
        for (int joint = 1; joint <= options.joints; ++joint) stream.element_names.push_back(fmt::format("joint_{}", joint));
    }
    return streams;
}

ServerOptions server_options(const RobotOptions& options, ServerOptions server) {
    const auto periods = [](double hz, double count) {
        return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(count / hz));
    };
    EngineOptions& engine = server.engine;
    engine.camera_stale_after = std::max(engine.camera_stale_after, periods(options.camera_hz, 4));
    engine.proprio_stale_after = std::max(engine.proprio_stale_after, periods(options.proprio_hz, 8));
    if (options.touch) engine.slots.push_back(slot_config<Touch>("touch", DType::float32, {2, 4, 4}));
    return server;
}

ActionGateOptions arm_gate(const RobotOptions& options, GatePolicy policy) {
    const auto joints = static_cast<std::size_t>(options.joints);
    const double limit = std::numbers::pi_v<float>;  // as a client can say it
    ActionGateOptions gate;
    gate.dimension = options.joints;
    gate.lower.assign(joints, -limit);
    gate.upper.assign(joints, limit);
    gate.max_step.assign(joints, 0.5);
    gate.outside_limits = gate.too_large_step = policy;
    return gate;
}

InfoMap describe(const RobotOptions& options, const std::string& kind) {
    std::string names;
    for (const CameraConfig& camera : camera_configs(options)) names += (names.empty() ? "" : ",") + camera.name;
    return {{"robot", kind},
            {"cameras", names},
            {"action_N", "1"},
            {"action_D", std::to_string(options.joints)},
            {"action", "joint targets, rad"},
            {"control_hz", fmt::format("{:g}", options.control_hz)}};
}

SimulatedSensors::SimulatedSensors(Engine& engine, const RobotOptions& options)
    : engine_(engine),
      options_(options),
      start_(Clock::now()),
      arm_(static_cast<std::size_t>(options.joints), options.control_hz, start_) {
    // If a thread or a command cannot be started, those that run are ended by the destructors of the members.
    for (std::size_t i = 0; i < options_.command_cameras.size(); ++i)
        command_cameras_.push_back(std::make_unique<CommandCamera>(engine_, static_cast<std::size_t>(options_.cameras) + i,
                                                                   options_.command_cameras[i], options_.warn));
    for (int i = 0; i < options_.cameras; ++i)
        threads_.emplace_back([this, i](const std::stop_token& stop) { film(stop, i); });
    for (int i = 0; i < options_.proprios; ++i)
        threads_.emplace_back([this, i](const std::stop_token& stop) { sense(stop, i); });
    if (options_.touch) threads_.emplace_back([this](const std::stop_token& stop) { feel(stop); });
}

void SimulatedSensors::stop() {
    for (std::jthread& thread : threads_) thread.request_stop();
    threads_.clear();
    command_cameras_.clear();
}

void SimulatedSensors::film(const std::stop_token& stop, int camera) {
    SceneCamera eye(options_.width, options_.height, camera);
    SimulatedArm::State joints;
    Pace pace(options_.camera_hz);
    const auto index = static_cast<std::size_t>(camera);
    bool told = false;
    while (pace.wait(stop)) {
        const TimePoint captured = Clock::now();
        const double seconds = std::chrono::duration<double>(captured - start_).count();
        arm_.at(captured, joints);
        const Eigen::Matrix4d pose = eye.pose(seconds);

        Frame frame = engine_.begin_frame(index);
        const std::span<std::uint8_t> image = frame.image();
        const std::span<float> depth = options_.depth ? frame.depth() : std::span<float>{};
        if (frame) {
            eye.render(scene_at(seconds, joints.position), pose, engine_.newest_frame(index) + 1, image, depth);
            frame.set_extrinsics(pose);
        }
        if (const Status status = frame.commit(captured); !status && !std::exchange(told, true))
            options_.warn(fmt::format("simulated camera: {}", status.message()));
    }
}

void SimulatedSensors::sense(const std::stop_token& stop, int stream) {
    SimulatedArm::State joints;
    std::vector<float> sample(arm_.joints());
    Pace pace(options_.proprio_hz);
    bool told = false;
    while (pace.wait(stop)) {
        const TimePoint measured = Clock::now();
        arm_.at(measured, joints);
        const double seconds = std::chrono::duration<double>(measured - start_).count();
        for (std::size_t j = 0; j < sample.size(); ++j) {
            // Streams beyond the first three are sines of the time, each value with a phase of its own.
            const double value = stream == 0   ? joints.position[j]
                                 : stream == 1 ? joints.velocity[j]
                                 : stream == 2 ? joints.effort[j]
                                               : std::sin(seconds * (1.0 + 0.1 * stream) + static_cast<double>(j));
            sample[j] = static_cast<float>(value);
        }
        const Status status =
            engine_.update_proprio(static_cast<std::size_t>(stream), sample.data(), sample.size(), measured);
        if (!status && !std::exchange(told, true)) options_.warn(fmt::format("simulated joints: {}", status.message()));
    }
}

// Something soft that wanders over the pads.
void SimulatedSensors::feel(const std::stop_token& stop) {
    Slot<Touch> slot(engine_, "touch");
    Touch touch;
    Pace pace(options_.proprio_hz);
    bool told = false;
    while (pace.wait(stop)) {
        const TimePoint measured = Clock::now();
        const double seconds = std::chrono::duration<double>(measured - start_).count();
        const double row = 1.5 + std::sin(seconds), column = 1.5 + std::cos(0.7 * seconds);
        for (auto& pad : touch.pressure)
            for (int r = 0; r < 4; ++r)
                for (int c = 0; c < 4; ++c)
                    pad[r][c] = static_cast<float>(20.0 * std::exp(-std::pow(r - row, 2) - std::pow(c - column, 2)));
        const Status status = slot.update(touch, measured);
        if (!status && !std::exchange(told, true)) options_.warn(fmt::format("simulated touch: {}", status.message()));
    }
}

// ---- the decoupled robot ----

SimulatedRobot::SimulatedRobot(RobotOptions options, std::string host, int port, ServerOptions server)
    : PolicyServer(camera_configs(options), proprio_configs(options), std::move(host), port,
                   server_options(options, std::move(server))),
      options_(std::move(options)),
      sensors_(engine(), options_),
      episode_begin_(now_seconds()) {}

SimulatedRobot::~SimulatedRobot() {
    stop();
    wait();
    sensors_.stop();
}

InfoMap SimulatedRobot::get_metadata() { return describe(options_, "simulated arm"); }

std::pair<Observation, InfoMap> SimulatedRobot::reset() {
    sensors_.arm().reset();
    episode_begin_ = now_seconds();
    return {make_obs(0.0), {}};
}

Observation SimulatedRobot::get_obs() { return make_obs(now_seconds() - episode_begin_); }

void SimulatedRobot::apply_action(const Action& action) { sensors_.arm().apply(action, Clock::now()); }

void SimulatedRobot::on_connect(const std::string& peer) { options_.tell(connected(peer)); }
void SimulatedRobot::on_disconnect(const std::string& reason) {
    options_.tell(hold_after_disconnect(sensors_.arm(), reason));
}
void SimulatedRobot::on_action_timeout() { options_.tell(hold_after_timeout(sensors_.arm())); }

// ---- the legacy robot ----

LegacySimulatedRobot::LegacySimulatedRobot(RobotOptions options, std::string host, int port, ServerOptions server)
    : PolicyServer(camera_configs(options), proprio_configs(options), std::move(host), port,
                   server_options(options, std::move(server))),
      options_(std::move(options)),
      sensors_(engine(), options_) {}

LegacySimulatedRobot::~LegacySimulatedRobot() {
    stop();
    wait();
    sensors_.stop();
}

InfoMap LegacySimulatedRobot::get_metadata() { return describe(options_, "simulated arm, legacy step() server"); }

std::pair<Observation, InfoMap> LegacySimulatedRobot::reset() {
    sensors_.arm().reset();
    steps_ = 0;
    return {make_obs(0.0), {}};
}

StepResult LegacySimulatedRobot::step(const Action& action) {
    sensors_.arm().apply(action, Clock::now());
    ++steps_;
    StepResult result;
    result.obs = make_obs(steps_ / options_.control_hz);
    // The closer the joints are to zero, the better.
    double sum = 0.0;
    const SimulatedArm::State joints = sensors_.arm().at(Clock::now());
    for (const double position : joints.position) sum += position * position;
    result.reward = static_cast<float>(-std::sqrt(sum));
    return result;
}

void LegacySimulatedRobot::on_connect(const std::string& peer) { options_.tell(connected(peer)); }
void LegacySimulatedRobot::on_disconnect(const std::string& reason) {
    options_.tell(hold_after_disconnect(sensors_.arm(), reason));
}
void LegacySimulatedRobot::on_action_timeout() { options_.tell(hold_after_timeout(sensors_.arm())); }

}  // namespace chiral::tools
