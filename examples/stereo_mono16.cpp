// SPDX-License-Identifier: Apache-2.0
// Two 16-bit grey cameras that are triggered together: images [H, W] without a third dimension, rows with padding, one reading of
// the clock for both, and a reader that waits for whichever comes.
#include <chiral/engine.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

namespace {

constexpr int kHeight = 60, kWidth = 81;
constexpr std::size_t kStride = 192;  // bytes from row to row: the driver's, a multiple of 64

chiral::CameraConfig mono16(const char* name) {
    chiral::CameraConfig camera;
    camera.name = name;
    camera.height = kHeight;
    camera.width = kWidth;
    camera.channels = 1;
    camera.two_dimensional = true;
    camera.image_dtype = chiral::DType::uint16;
    return camera;
}

// What the driver would fill: brightness counts frames.
void expose(std::vector<std::uint8_t>& rows, std::uint16_t brightness) {
    for (std::size_t row = 0; row < kHeight; ++row)
        for (std::size_t x = 0; x < kWidth; ++x) {
            rows[row * kStride + 2 * x] = static_cast<std::uint8_t>(brightness & 0xff);
            rows[row * kStride + 2 * x + 1] = static_cast<std::uint8_t>(brightness >> 8);
        }
}

}  // namespace

int main() {
    constexpr std::uint16_t kFrames = 50;
    chiral::Engine engine({mono16("left"), mono16("right")}, {});
    std::jthread driver([&engine] {
        std::array<std::vector<std::uint8_t>, 2> rows{std::vector<std::uint8_t>(kHeight * kStride),
                                                      std::vector<std::uint8_t>(kHeight * kStride)};
        for (std::uint16_t n = 1; n <= kFrames; ++n) {
            const chiral::TimePoint triggered = engine.now();
            for (std::size_t camera = 0; camera < 2; ++camera) {
                expose(rows[camera], static_cast<std::uint16_t>(1000 * n + camera));
                if (const chiral::Status status = engine.update_image(camera, {rows[camera].data(), kStride}, triggered);
                    !status)
                    std::fprintf(stderr, "%s\n", status.message().c_str());
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
    });

    using chiral::Source;
    chiral::Reader reader = engine.make_reader();
    std::array<chiral::Awaited, 2> awaited{chiral::Awaited{{Source::Kind::image, 0}, 0},
                                           chiral::Awaited{{Source::Kind::image, 1}, 0}};
    int pairs = 0;
    while (awaited[0].after < kFrames || awaited[1].after < kFrames) {
        if (!engine.wait_any(awaited, engine.now() + std::chrono::seconds(30))) return 1;
        const chiral::Snapshot snapshot = reader.snapshot();
        for (std::size_t camera = 0; camera < 2; ++camera) {
            const chiral::CameraView view = snapshot.camera(camera);
            awaited[camera].after = view.sequence();
            const auto pixels = view.image_as<std::uint16_t>();
            const auto expected = static_cast<std::uint16_t>(1000 * view.sequence() + camera);
            if (view.sequence() > 0 && (pixels.front() != expected || pixels.back() != expected)) return 1;
        }
        if (snapshot.camera(0).captured() == snapshot.camera(1).captured()) ++pairs;
    }
    std::printf("%d frames of each camera, %d looks at a pair of one trigger\n", kFrames, pairs);
    return pairs > 0 ? 0 : 1;
}
