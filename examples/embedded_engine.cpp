// SPDX-License-Identifier: Apache-2.0
// The buffer engine inside a program that has no network: a camera thread, an encoder thread, and a control loop that looks at
// both without ever waiting for either. Links chiral::engine alone. Runs for a second.
#include <chiral/engine.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <thread>

using namespace std::chrono_literals;

int main() {
    chiral::CameraConfig camera;
    camera.name = "wrist";
    camera.height = 480;
    camera.width = 640;
    camera.has_depth = true;
    chiral::Engine engine({camera}, {{"joint_pos", 7}});  // all memory is had, and touched, here

    std::jthread camera_thread([&](const std::stop_token& over) {
        for (std::uint8_t n = 0; !over.stop_requested(); ++n) {
            const chiral::TimePoint captured = chiral::Clock::now();
            chiral::Frame frame = engine.begin_frame(0);
            for (std::uint8_t& pixel : frame.image()) pixel = n;
            for (float& metres : frame.depth()) metres = static_cast<float>(n);
            const chiral::Status status = frame.commit(captured);  // image and depth in one step
            if (!status) std::fprintf(stderr, "%s\n", status.message().c_str());
            std::this_thread::sleep_for(33ms);
        }
    });
    std::jthread encoder_thread([&](const std::stop_token& over) {
        std::array<float, 7> joints{};
        while (!over.stop_requested()) {
            joints[0] += 0.001f;
            if (const chiral::Status status = engine.update_proprio(0, joints.data(), joints.size()); !status)
                std::fprintf(stderr, "%s\n", status.message().c_str());
            std::this_thread::sleep_for(2ms);
        }
    });

    chiral::Reader reader = engine.make_reader();
    std::uint64_t looks = 0, mixed = 0, last = 0;
    for (const auto end = chiral::Clock::now() + 1s; chiral::Clock::now() < end; std::this_thread::sleep_for(10ms)) {
        const chiral::Snapshot snapshot = reader.snapshot();  // pins; copies no pixel
        const chiral::CameraView view = snapshot.camera(0);
        if (view.sequence() == 0) continue;  // nothing was published yet
        ++looks;
        mixed += view.image().front() != static_cast<std::uint8_t>(view.depth().back());
        last = view.sequence();
    }
    std::printf("%llu looks at %llu frames, %llu with image and depth of different frames\n",
                static_cast<unsigned long long>(looks), static_cast<unsigned long long>(last),
                static_cast<unsigned long long>(mixed));
    return looks > 0 && mixed == 0 ? 0 : 1;
}
