// SPDX-License-Identifier: Apache-2.0
// A camera on a wrist: its pose is computed from the joints as they were when the image was captured, not as they are when
// it has arrived, and published with the image in one step. Runs until ten images were taken.
#include <chiral/engine.hpp>

#include <Eigen/Geometry>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <thread>

using namespace std::chrono_literals;

namespace {

constexpr std::array<double, 3> kLinks = {0.3, 0.25, 0.1};  // metres

// Forward kinematics of a planar arm: camera-to-world. Solvers that give world-to-camera need .inverse().
Eigen::Matrix4d camera_to_world(std::span<const float> joints) {
    Eigen::Isometry3d T = Eigen::Isometry3d::Identity();
    for (std::size_t i = 0; i < kLinks.size(); ++i) {
        T.rotate(Eigen::AngleAxisd(static_cast<double>(joints[i]), Eigen::Vector3d::UnitZ()));
        T.translate(Eigen::Vector3d(kLinks[i], 0.0, 0.0));
    }
    return T.matrix();
}

float angle_at(chiral::TimePoint time) { return static_cast<float>(std::sin(2.0 * chiral::to_seconds(time))); }

}  // namespace

int main() {
    chiral::CameraConfig camera;
    camera.name = "wrist";
    camera.height = 120;
    camera.width = 160;
    chiral::Engine engine({camera}, {{"joint_pos", 3}});

    std::jthread encoders([&](const std::stop_token& over) {
        while (!over.stop_requested()) {
            const chiral::TimePoint now = chiral::Clock::now();
            const std::array<float, 3> joints = {angle_at(now), 0.5f * angle_at(now), 0.0f};
            if (const chiral::Status status = engine.update_proprio(0, joints.data(), joints.size(), now); !status)
                std::fprintf(stderr, "%s\n", status.message().c_str());
            std::this_thread::sleep_for(2ms);
        }
    });

    chiral::Reader reader = engine.make_reader();
    for (int image = 0, taken = 0; taken < 10; ++image) {
        if (image > 1000) return 1;
        const chiral::TimePoint captured = chiral::Clock::now();
        std::this_thread::sleep_for(20ms);  // exposure, transfer, decoding: the arm goes on meanwhile

        std::array<float, 3> joints{};
        // Interpolated between the two samples around the capture; the ring remembers the last 256.
        if (engine.proprio_at(0, captured, joints) != chiral::ProprioRead::interpolated) continue;
        chiral::Frame frame = engine.begin_frame(0);
        for (std::uint8_t& pixel : frame.image()) pixel = static_cast<std::uint8_t>(image);
        frame.set_extrinsics(camera_to_world(joints));
        if (!frame.commit(captured)) return 1;

        const chiral::Snapshot snapshot = reader.snapshot();
        const std::span<const double, 16> T = snapshot.camera(0).extrinsics();
        const float exact = angle_at(captured);
        const Eigen::Matrix4d true_T = camera_to_world(std::array<float, 3>{exact, 0.5f * exact, 0.0f});
        const double error = std::hypot(T[3] - true_T(0, 3), T[7] - true_T(1, 3));
        std::printf("camera at (%.3f, %.3f) m, %.2f mm from where it was\n", T[3], T[7], 1e3 * error);
        ++taken;
    }
    std::puts("ten images with the poses that they were taken from");
}
