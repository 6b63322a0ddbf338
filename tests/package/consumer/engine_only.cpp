// SPDX-License-Identifier: Apache-2.0
// The engine alone: no Boost, no server.
#include <chiral/engine.hpp>

#include <cstdio>
#include <vector>

int main() {
    chiral::CameraConfig camera;
    camera.name = "cam";
    camera.height = 2;
    camera.width = 3;
    camera.channels = 1;
    chiral::Engine engine({camera}, {{"joint_pos", 7}});
    const std::vector<std::uint8_t> image = {1, 2, 3, 4, 5, 6};
    if (!engine.update_image(0, image.data(), image.size()).ok()) return 1;
    chiral::Reader reader = engine.make_reader();
    const chiral::Snapshot snapshot = reader.snapshot();
    const auto seen = snapshot.camera(0).image();
    if (std::vector<std::uint8_t>(seen.begin(), seen.end()) != image) return 2;
    std::puts("engine: ok");
}
