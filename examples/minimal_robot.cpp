// SPDX-License-Identifier: Apache-2.0
// The smallest robot: one camera, seven joints, and actions that move them. Serves until Ctrl-C.
//
//     minimal_robot [PORT]        then, elsewhere: policy_client ws://127.0.0.1:PORT, or a browser at http://127.0.0.1:PORT
#include <chiral/log.hpp>
#include <chiral/server.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

constexpr int kHeight = 240, kWidth = 320, kJoints = 7;

std::vector<chiral::CameraConfig> cameras() {
    chiral::CameraConfig camera;
    camera.name = "front";
    camera.height = kHeight;
    camera.width = kWidth;
    camera.intrinsics << 300, 0, 160, 0, 300, 120, 0, 0, 1;
    return {camera};
}

class MinimalRobot : public chiral::PolicyServer {
public:
    explicit MinimalRobot(int port) : PolicyServer(cameras(), {{"joint_pos", kJoints}}, "127.0.0.1", port) {
        camera_thread_ = std::jthread([this](const std::stop_token& over) { watch(over); });
        joint_thread_ = std::jthread([this](const std::stop_token& over) { feel(over); });
    }
    // Hooks and sensor threads use what this class has: they end before it does.
    ~MinimalRobot() override {
        stop();
        wait();
    }

    chiral::InfoMap get_metadata() override { return {{"action_D", std::to_string(kJoints)}, {"control_hz", "10"}}; }

    // An action of N rows is a plan; this robot follows its first row.
    void apply_action(const chiral::Action& action) override {
        if (action.D != kJoints) throw std::invalid_argument("this robot has 7 joints");  // the client is told, and closed
        for (std::size_t i = 0; i < kJoints; ++i) target_[i].store(action.data[i]);
    }
    // Also when the client has gone: on_disconnect() calls it by default. No hook waits for a terminal: the log does.
    void on_action_timeout() override { log_.say("no action comes: holding"); }

private:
    void watch(const std::stop_token& over) {
        for (std::uint8_t brightness = 0; !over.stop_requested(); ++brightness) {
            chiral::Frame frame = begin_frame(0);  // in place: a driver would write here
            for (std::uint8_t& pixel : frame.image()) pixel = brightness;
            if (const chiral::Status status = frame.commit(); !status) log_.say(status.message());
            std::this_thread::sleep_for(33ms);
        }
    }
    void feel(const std::stop_token& over) {
        std::array<float, kJoints> joints{};
        while (!over.stop_requested()) {
            for (std::size_t i = 0; i < kJoints; ++i) joints[i] += 0.1f * (target_[i].load() - joints[i]);
            update_proprio(0, joints.data(), joints.size());
            std::this_thread::sleep_for(2ms);
        }
    }

    chiral::Log log_;
    std::array<std::atomic<float>, kJoints> target_{};
    std::jthread camera_thread_, joint_thread_;  // last: end first
};

}  // namespace

int main(int argc, char** argv) {
    MinimalRobot robot(argc > 1 ? std::atoi(argv[1]) : 8765);
    robot.run();
    const chiral::ServerStats stats = robot.stats();
    std::printf("served %llu observations, applied %llu actions\n", static_cast<unsigned long long>(stats.observations),
                static_cast<unsigned long long>(stats.actions_applied));
}
