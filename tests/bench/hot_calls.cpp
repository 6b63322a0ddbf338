// SPDX-License-Identifier: Apache-2.0
// hot_calls NAME COUNT: makes one of the engine's hot calls COUNT times, for instructions_test.py to count instructions.
#include <chiral/engine.hpp>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace {

constexpr int kCameras = 8;

// What callgrind counts is what happens within.
__attribute__((noinline)) void measured(const std::function<void()>& call, long count) {
    for (long i = 0; i < count; ++i) call();
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<chiral::CameraConfig> cameras(kCameras);
    for (int i = 0; i < kCameras; ++i) {
        cameras[static_cast<std::size_t>(i)].name = "camera_" + std::to_string(i);
        cameras[static_cast<std::size_t>(i)].height = 48;
        cameras[static_cast<std::size_t>(i)].width = 64;
        cameras[static_cast<std::size_t>(i)].has_depth = true;
    }
    chiral::EngineOptions options;
    options.readers = 1;
    chiral::Engine engine(cameras, {{"joint_pos", 7}}, options);
    chiral::Reader reader = engine.make_reader();
    const float joints[7] = {};
    float read[7] = {};
    const Eigen::Matrix4d pose = Eigen::Matrix4d::Identity();
    const std::map<std::string, std::function<void()>> calls = {
        {"update_proprio", [&] { static_cast<void>(engine.update_proprio(0, joints, 7)); }},
        {"update_extrinsics", [&] { static_cast<void>(engine.update_extrinsics(0, pose)); }},
        {"commit_frame",
         [&] {
             chiral::Frame frame = engine.begin_frame(0);
             static_cast<void>(frame.image());
             static_cast<void>(frame.depth());
             frame.set_extrinsics(pose);
             static_cast<void>(frame.commit());
         }},
        {"pin_8_cameras", [&] { static_cast<void>(reader.snapshot()); }},
        {"latest_proprio", [&] { static_cast<void>(engine.latest_proprio(0, read)); }},
    };
    const auto call = argc == 3 ? calls.find(argv[1]) : calls.end();
    if (call == calls.end()) {
        std::fprintf(stderr, "usage: hot_calls NAME COUNT; names:");
        for (const auto& known : calls) std::fprintf(stderr, " %s", known.first.c_str());
        std::fprintf(stderr, "\n");
        return 2;
    }
    call->second();  // the first of each reader and writer, which may do more
    measured(call->second, std::atol(argv[2]));
}
