// SPDX-License-Identifier: Apache-2.0
#include <Eigen/Dense>
#include <atomic>
#include <chiral/server.hpp>
#include <thread>
static constexpr int H = 480, W = 640, DOF = 7;
class MinimalServer : public chiral::PolicyServer {
    int step_{0};
    std::atomic<bool> running_{true};

public:
    MinimalServer()
        : PolicyServer(
              [] {
                  chiral::CameraConfig c;
                  c.name = "cam";
                  c.height = H;
                  c.width = W;
                  c.channels = 3;
                  c.has_depth = true;
                  c.intrinsics << 600, 0, 320, 0, 600, 240, 0, 0, 1;
                  c.extrinsics = Eigen::Matrix4d::Identity();
                  return std::vector<chiral::CameraConfig>{c};
              }(),
              {{"joint_pos", DOF}}, "0.0.0.0", 8765) {
        for (std::size_t i = 0; i < configs_.size(); ++i) std::thread(&MinimalServer::cam_loop, this, i).detach();
        for (std::size_t i = 0; i < proprio_configs_.size(); ++i) std::thread(&MinimalServer::prop_loop, this, i).detach();
    }
    ~MinimalServer() { running_ = false; }
    std::pair<chiral::Observation, chiral::InfoMap> reset() override {
        step_ = 0;
        return {make_obs(0.0), {}};
    }
    chiral::StepResult step(const chiral::Action&) override {
        chiral::StepResult r;
        r.obs = make_obs(step_ * 0.05);
        r.reward = 0.f;
        r.truncated = false;
        r.terminated = ++step_ >= 200;
        return r;
    }

private:
    void cam_loop(std::size_t idx) {
        while (running_) {
            Eigen::Matrix4d T = Eigen::Matrix4d::Identity();  // replace with FK
            update_extrinsics(idx, T);
            std::this_thread::sleep_for(std::chrono::milliseconds(33));
        }
    }
    void prop_loop(std::size_t idx) {
        Eigen::VectorXf q = Eigen::VectorXf::Zero(proprio_configs_[idx].size);
        while (running_) {
            update_proprio(idx, q.data(), q.size());
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
    }
};
int main() { MinimalServer().run(); }
