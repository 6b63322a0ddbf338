// SPDX-License-Identifier: Apache-2.0
// The server that policy_client.py talks to: frame n shows the number n everywhere, so that a client can check every byte.
//
//     interop_server decoupled|legacy
//
// Prints its port, and serves until its standard input ends.
#include "support/cameras.hpp"

#include <chiral/server.hpp>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

namespace {

using chiral::Action;
using chiral::CameraConfig;
using chiral::InfoMap;
using chiral::Observation;
using chiral::test::camera;

constexpr int kJoints = 7;

std::vector<CameraConfig> cameras() {
    return {camera("wrist", 6, 8, 3, true), camera("gray", 5, 4, 1, false), camera("large", 480, 640, 3, true)};
}

// A sanitizer takes longer over a message of megabytes than a robot may over an action.
chiral::ServerOptions patient() {
    chiral::ServerOptions options;
    options.max_action_delay = std::chrono::hours(1);
    return options;
}

// Publishes frame n of every camera, and sample n of the joints, for n = 1, 2, 3, ...
class Numbered : public chiral::PolicyServer {
public:
    Numbered() : PolicyServer(cameras(), {{"joint_pos", kJoints}, {"gripper", 1}}, "127.0.0.1", 0, patient()) {
        publish(1);
        sensor_ = std::thread([this] {
            for (int n = 2; running_; ++n) {
                publish(n);
                std::this_thread::sleep_for(std::chrono::milliseconds(2));
            }
        });
    }
    ~Numbered() override {
        running_ = false;
        sensor_.join();
    }
    InfoMap get_metadata() override { return {{"action_dim", "7"}, {"cameras", "wrist gray large"}}; }
    std::pair<Observation, InfoMap> reset() override {
        actions_ = 0;
        rows_ = 0;
        sum_ = 0;
        return {make_obs(0.0), {{"episode", "fresh"}}};
    }

protected:
    void take(const Action& action) {
        ++actions_;
        rows_ += action.N;
        double sum = sum_;
        for (float value : action.data) sum += static_cast<double>(value);
        sum_ = sum;
        const auto wrist = action.obs_timestamps.find("wrist");
        seen_ = wrist == action.obs_timestamps.end() ? -1.0 : wrist->second;
    }
    Observation observe(double timestamp) {
        Observation obs = make_obs(timestamp);
        obs.extra["actions"] = std::int64_t{actions_};
        obs.extra["rows"] = std::int64_t{rows_};
        obs.extra["sum"] = sum_.load();
        obs.extra["seen"] = seen_.load();
        return obs;
    }

private:
    void publish(int n) {
        for (std::size_t c = 0; c < configs_.size(); ++c) {
            chiral::Frame frame = begin_frame(c);
            const auto image = frame.image();
            std::memset(image.data(), n % 251, image.size());
            if (configs_[c].has_depth)
                for (float& metres : frame.depth()) metres = static_cast<float>(n % 251) * 0.5f;
            Eigen::Matrix3d K;
            Eigen::Matrix4d T;
            for (int row = 0; row < 4; ++row)
                for (int column = 0; column < 4; ++column) {
                    T(row, column) = n + 0.5 + 10 * row + column;
                    if (row < 3 && column < 3) K(row, column) = n + 0.25 + 10 * row + column;
                }
            frame.set_intrinsics(K);
            frame.set_extrinsics(T);
            // Frame n was captured n milliseconds after the clock's zero.
            if (const auto status = frame.commit(chiral::TimePoint(std::chrono::milliseconds(n))); !status.ok())
                std::fprintf(stderr, "%s\n", status.message().c_str());
        }
        float joints[kJoints];
        for (int i = 0; i < kJoints; ++i) joints[i] = static_cast<float>(n) + 0.125f * static_cast<float>(i);
        update_proprio(0, joints, kJoints);
        update_proprio(1, joints, 1);
    }

    std::atomic<int> actions_{0}, rows_{0};
    std::atomic<double> sum_{0}, seen_{0};
    std::atomic<bool> running_{true};
    std::thread sensor_;
};

class Decoupled : public Numbered {
public:
    Observation get_obs() override { return observe(1.25); }
    void apply_action(const Action& action) override { take(action); }
};

class Legacy : public Numbered {
public:
    chiral::StepResult step(const Action& action) override {
        take(action);
        chiral::StepResult result;
        result.obs = observe(2.5);
        result.reward = 0.5f;
        result.terminated = action.data[0] < 0;
        result.truncated = !result.terminated;
        result.info = {{"note", "stepped"}};
        return result;
    }
};

template <class Server>
int serve() {
    Server server;
    server.serve();
    std::printf("%d\n", server.port());
    std::fflush(stdout);
    while (std::getchar() != EOF) {}
    server.stop();
    server.wait();
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[1], "decoupled") == 0) return serve<Decoupled>();
    if (argc == 2 && std::strcmp(argv[1], "legacy") == 0) return serve<Legacy>();
    std::fprintf(stderr, "usage: interop_server decoupled|legacy\n");
    return 2;
}
