// SPDX-License-Identifier: Apache-2.0
// A camera like a RealSense: colour (rgb8) and depth in 16-bit millimetres (z16), stamped by a clock of its own, a counter of
// microseconds that wraps. Both go as they are: no loop over pixels, and depth_unit tells everybody what they mean. 0 is "not
// measured". Runs until a client has seen three of them.
#include <chiral/client.hpp>
#include <chiral/clock_map.hpp>
#include <chiral/server.hpp>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr int kHeight = 120, kWidth = 160;

// What the driver's library would be: a plane that comes nearer, with holes, every 33 ms.
struct DriverFrames {
    std::vector<std::uint8_t> rgb8 = std::vector<std::uint8_t>(std::size_t{kHeight} * kWidth * 3, 128);
    std::vector<std::uint16_t> z16 = std::vector<std::uint16_t>(std::size_t{kHeight} * kWidth);
    std::uint32_t stamp{0};  // microseconds by the device, 32 bits

    void wait_for_next(int frame) {
        std::this_thread::sleep_for(std::chrono::milliseconds(33));
        for (std::size_t i = 0; i < z16.size(); ++i)
            z16[i] = i % 50 == 0 ? std::uint16_t{0} : static_cast<std::uint16_t>(2000 - 10 * (frame % 100));
        const auto device = chiral::Clock::now().time_since_epoch() + std::chrono::hours(5);
        stamp = static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(device).count());
    }
};

std::vector<chiral::CameraConfig> cameras() {
    chiral::CameraConfig camera;
    camera.name = "front";
    camera.height = kHeight;
    camera.width = kWidth;
    camera.has_depth = true;
    camera.depth_dtype = chiral::DType::uint16;
    camera.depth_unit = 0.001;  // metres
    camera.expected_hz = 30;
    return {camera};
}

class DepthRobot : public chiral::PolicyServer {
public:
    DepthRobot() : PolicyServer(cameras(), {}, "127.0.0.1", 0) {
        thread_ = std::jthread([this](const std::stop_token& over) {
            chiral::ClockMap clock({.ticks_per_second = 1e6, .bits = 32});
            DriverFrames frames;
            for (int n = 0; !over.stop_requested(); ++n) {
                frames.wait_for_next(n);
                const chiral::TimePoint captured = clock.observe(frames.stamp, chiral::Clock::now());
                chiral::Frame frame = begin_frame(0);  // colour and depth are published in one step
                std::memcpy(frame.image().data(), frames.rgb8.data(), frame.image().size());
                std::memcpy(frame.depth_as<std::uint16_t>().data(), frames.z16.data(), frame.depth_bytes().size());
                if (const chiral::Status status = frame.commit(captured); !status)
                    std::fprintf(stderr, "%s\n", status.message().c_str());
            }
        });
    }
    ~DepthRobot() override {
        stop();
        wait();
    }
    void apply_action(const chiral::Action&) override {}

private:
    std::jthread thread_;
};

}  // namespace

int main() {
    DepthRobot robot;
    robot.serve();
    chiral::PolicyClient client("ws://127.0.0.1:" + std::to_string(robot.port()));
    client.connect();
    for (std::uint64_t seen = 0; seen < 3;) {
        if (!robot.engine().wait_frame(0, seen, chiral::Clock::now() + std::chrono::seconds(30))) return 1;
        const chiral::Observation obs = client.get_obs();
        const chiral::CameraInfo& camera = obs["front"];
        seen = camera.sequence;
        std::uint16_t hole = 1, wall = 0;
        std::memcpy(&hole, camera.depth_data.data(), sizeof hole);
        std::memcpy(&wall, camera.depth_data.data() + sizeof hole, sizeof wall);
        const double metres = wall * camera.depth_unit;
        std::printf("frame %llu, %s: the wall is %.2f m away, pixel 0 was %s\n", static_cast<unsigned long long>(seen),
                    chiral::to_string(camera.status), metres, hole == 0 ? "not measured" : "measured");
        if (camera.depth_dtype != "uint16" || hole != 0 || metres < 1.0 || metres > 2.0) return 1;
        if (camera.timestamp > chiral::to_seconds(chiral::Clock::now())) return 1;  // the device's clock is hours ahead
    }
}
