// SPDX-License-Identifier: Apache-2.0
// A safety monitor beside the policy: a thread of the robot that looks at the same buffers through a reader of its own. It
// delays neither the sensors nor the client, and the client delays it not. Runs until it has looked at twenty frames.
#include <chiral/server.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

using namespace std::chrono_literals;

namespace {

std::vector<chiral::CameraConfig> cameras() {
    chiral::CameraConfig camera;
    camera.name = "front";
    camera.height = 120;
    camera.width = 160;
    camera.channels = 1;
    return {camera};
}

chiral::ServerOptions with_one_reader() {
    chiral::ServerOptions options;
    options.engine.readers = 1;  // ours; the server adds those that it needs
    return options;
}

}  // namespace

class WatchedRobot : public chiral::PolicyServer {
public:
    WatchedRobot() : PolicyServer(cameras(), {}, "127.0.0.1", 0, with_one_reader()) {
        thread_ = std::jthread([this](const std::stop_token& over) {
            for (std::uint8_t n = 0; !over.stop_requested(); ++n) {
                chiral::Frame frame = begin_frame(0);
                std::ranges::fill(frame.image(), n);
                if (const chiral::Status status = frame.commit(); !status)
                    std::fprintf(stderr, "%s\n", status.message().c_str());
                std::this_thread::sleep_for(10ms);
            }
        });
    }

private:
    std::jthread thread_;
};

int main() {
    WatchedRobot robot;
    robot.serve();
    chiral::Reader reader = robot.engine().make_reader();
    std::uint64_t seen = 0, missed = 0;
    for (int looks = 0; looks < 20; ++looks) {
        // Sleeps until there is a newer image. A camera that stays dark this long is what a monitor is there for.
        if (!robot.engine().wait_frame(0, seen, chiral::Clock::now() + 30s)) {
            std::puts("the camera has stopped");
            return 1;
        }
        const chiral::Snapshot snapshot = reader.snapshot();
        const chiral::CameraView view = snapshot.camera(0);
        if (std::ranges::adjacent_find(view.image(), std::ranges::not_equal_to{}) != view.image().end()) return 1;  // torn
        seen = view.sequence();
        missed += view.missed();
    }
    std::printf("20 looks up to frame %llu, %llu missed, none torn\n", static_cast<unsigned long long>(seen),
                static_cast<unsigned long long>(missed));
    robot.stop();
    robot.wait();
}
