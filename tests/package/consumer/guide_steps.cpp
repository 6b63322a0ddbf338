// SPDX-License-Identifier: Apache-2.0
// The C++ snippets of the guide's steps 1 to 5, as they stand there, with stubs for the hardware.
#include <Eigen/Dense>
#include <atomic>
#include <chiral/server.hpp>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

namespace {
struct CameraDriver {
    std::vector<uint8_t> capture_rgb(std::size_t idx) {
        return std::vector<uint8_t>(idx == 0 ? 480 * 640 * 3 : 720 * 1280 * 3, 7);
    }
    std::vector<uint8_t> capture_depth(std::size_t) { return std::vector<uint8_t>(480 * 640 * sizeof(float), 0); }
} camera_driver;
struct Robot {
    Eigen::VectorXf read_joints() { return Eigen::VectorXf::Constant(7, 0.5f); }
    void apply_action(const std::vector<float>& action) { applied += action.size(); }
    std::size_t applied{0};
} robot;
struct FkSolver {
    Eigen::Matrix4d compute(const Eigen::VectorXf& joints, const std::string&) {
        Eigen::Matrix4d T = Eigen::Matrix4d::Identity();
        T(0, 3) = static_cast<double>(joints[0]);
        return T;
    }
} fk_solver;
}  // namespace

static std::vector<chiral::CameraConfig> make_cam_configs() {
    // Intrinsics: standard pinhole camera matrix K
    Eigen::Matrix3d K;
    K << 600.0, 0.0, 320.0, 0.0, 600.0, 240.0, 0.0, 0.0, 1.0;
    chiral::CameraConfig wrist;
    wrist.name = "wrist_cam";                        // unique string identifier
    wrist.height = 480;                              // image height in pixels
    wrist.width = 640;                               // image width in pixels
    wrist.channels = 3;                              // 3 for RGB, 1 for grayscale
    wrist.has_depth = true;                          // allocate a depth buffer too
    wrist.intrinsics = K;                            // Eigen::Matrix3d — initial K
    wrist.extrinsics = Eigen::Matrix4d::Identity();  // initial camera-to-world T
    chiral::CameraConfig head;
    head.name = "head_cam";
    head.height = 720;
    head.width = 1280;
    head.channels = 3;
    head.has_depth = false;  // no depth buffer for this camera
    head.intrinsics = Eigen::Matrix3d::Identity();
    head.extrinsics = Eigen::Matrix4d::Identity();
    return {wrist, head};
}
static std::vector<chiral::ProprioConfig> make_proprio_configs() {
    return {{"joint_pos", 7}, {"joint_vel", 7}, {"ee_pose", 7}};
}

class MyServer : public chiral::PolicyServer {
    std::atomic<bool> running_{true};
    int step_{0};

public:
    MyServer(const std::string& host, int port) : PolicyServer(make_cam_configs(), make_proprio_configs(), host, port) {
        // configs_ and proprio_configs_ are populated by the base class
        // constructor, so we can iterate them here safely.
        // Launch one capture thread per camera (indexed by position).
        for (std::size_t i = 0; i < configs_.size(); ++i) std::thread(&MyServer::camera_loop, this, i).detach();
        // Launch one update thread per proprio stream.
        for (std::size_t i = 0; i < proprio_configs_.size(); ++i) std::thread(&MyServer::proprio_loop, this, i).detach();
    }
    ~MyServer() { running_ = false; }
    std::pair<chiral::Observation, chiral::InfoMap> reset() override {
        step_ = 0;
        return {make_obs(0.0), {}};
    }
    chiral::StepResult step(const chiral::Action& action) override {
        robot.apply_action(action.data);
        chiral::StepResult r;
        r.obs = make_obs(step_ * 0.05);
        r.reward = 0.f;
        r.terminated = ++step_ >= 200;
        r.truncated = false;
        return r;
    }
    void camera_loop(std::size_t idx) {
        while (running_) {
            std::vector<uint8_t> frame = camera_driver.capture_rgb(idx);
            std::vector<uint8_t> depth = camera_driver.capture_depth(idx);
            // Forward kinematics: T is the camera-to-world homogeneous transform.
            Eigen::VectorXf joints = robot.read_joints();
            Eigen::Matrix4d T = fk_solver.compute(joints, configs_[idx].name);
            update_image(idx, frame.data(), frame.size());
            if (configs_[idx].has_depth)  // the guide's loop has cameras with depth only
                update_depth(idx, depth.data(), depth.size());
            update_extrinsics(idx, T);  // update last for consistency
            std::this_thread::sleep_for(std::chrono::milliseconds(33));
        }
    }
    void proprio_loop(std::size_t idx) {
        while (running_) {
            Eigen::VectorXf joints = robot.read_joints();
            update_proprio(idx, joints.data(), joints.size());
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
    }
};

// Runs the robot until every sensor has published, and takes one step without a network.
int main() {
    MyServer server("127.0.0.1", 0);
    if (!server.engine().wait_frames(std::vector<std::uint64_t>{0, 0}, chiral::Clock::now() + std::chrono::seconds(60)))
        return 1;
    chiral::Action action;
    action.N = 1;
    action.D = 7;
    action.data.assign(7, 0.25f);
    server.reset();
    const chiral::StepResult result = server.step(action);
    const chiral::CameraInfo& wrist = result.obs["wrist_cam"];
    if (wrist.image.size() != 480 * 640 * 3 || wrist.image[0] != 7 || wrist.depth_shape != std::vector<int>{480, 640})
        return 2;
    if (result.obs["head_cam"].has_depth || result.obs["head_cam"].image.size() != 720 * 1280 * 3) return 3;
    if (robot.applied != 7 || result.terminated || server.stats().update_errors != 0) return 4;
    std::puts("guide steps: ok");
}
