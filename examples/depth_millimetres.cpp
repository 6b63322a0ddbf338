// SPDX-License-Identifier: Apache-2.0
// A depth camera whose driver delivers 16-bit millimetres, as most do: converted to metres on their way into the slot, so that
// nothing is copied twice. 0 means "not measured", in millimetres and in metres. Runs until three observations were made.
#include <chiral/server.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr int kHeight = 120, kWidth = 160;

// What the driver's library would be: a plane that comes nearer, with holes.
std::vector<std::uint16_t> driver_depth(int frame) {
    std::vector<std::uint16_t> millimetres(static_cast<std::size_t>(kHeight) * kWidth);
    for (std::size_t i = 0; i < millimetres.size(); ++i)
        millimetres[i] = i % 50 == 0 ? 0 : static_cast<std::uint16_t>(2000 - 10 * frame);
    return millimetres;
}

std::vector<chiral::CameraConfig> cameras() {
    chiral::CameraConfig camera;
    camera.name = "depth";
    camera.height = kHeight;
    camera.width = kWidth;
    camera.channels = 1;
    camera.has_depth = true;
    return {camera};
}

class DepthRobot : public chiral::PolicyServer {
public:
    DepthRobot() : PolicyServer(cameras(), {}, "127.0.0.1", 0) {
        thread_ = std::jthread([this](const std::stop_token& over) {
            for (int n = 0; !over.stop_requested(); ++n) {
                const chiral::TimePoint captured = chiral::Clock::now();
                const std::vector<std::uint16_t> raw = driver_depth(n % 100);
                chiral::Frame frame = begin_frame(0);
                std::ranges::fill(frame.image(), std::uint8_t{128});
                std::ranges::transform(raw, frame.depth().begin(),
                                       [](std::uint16_t mm) { return static_cast<float>(mm) * 0.001f; });
                if (const chiral::Status status = frame.commit(captured); !status)
                    std::fprintf(stderr, "%s\n", status.message().c_str());
                std::this_thread::sleep_for(std::chrono::milliseconds(33));
            }
        });
    }
    using PolicyServer::make_obs;

private:
    std::jthread thread_;
};

}  // namespace

int main() {
    DepthRobot robot;
    for (std::uint64_t seen = 0; seen < 3;) {
        if (!robot.engine().wait_frame(0, seen, chiral::Clock::now() + std::chrono::seconds(30))) return 1;
        const chiral::Observation obs = robot.make_obs();
        const chiral::CameraInfo& camera = obs["depth"];
        seen = camera.sequence;
        float hole = -1.0f, wall = -1.0f;
        std::memcpy(&hole, std::as_const(camera.depth_data).data(), sizeof hole);
        std::memcpy(&wall, std::as_const(camera.depth_data).data() + sizeof hole, sizeof wall);
        std::printf("frame %llu: the wall is %.2f m away, pixel 0 was %s\n", static_cast<unsigned long long>(seen),
                    static_cast<double>(wall), hole == 0.0f ? "not measured" : "measured");
        if (hole != 0.0f || wall < 1.0f || wall > 2.0f) return 1;
    }
}
