// SPDX-License-Identifier: Apache-2.0
// What encoding a frame costs beside what the libraries take for the same pixels: for bench/README.md, not a test. Needs an
// optimised build and a quiet machine.
//
//     imaging_encode_cost
#include "imaging/transform.hpp"

#include <turbojpeg.h>
#include <zstd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <vector>

namespace {

using namespace chiral;
using namespace chiral::imaging;

constexpr ImageSize vga{480, 640}, small{224, 224};
constexpr int rounds = 200;

// Something like a scene: smooth, with edges and a little noise.
std::vector<std::uint8_t> scene(ImageSize size) {
    std::vector<std::uint8_t> pixels;
    std::uint32_t noise = 1;
    for (int y = 0; y < size.height; ++y)
        for (int x = 0; x < size.width; ++x)
            for (int c = 0; c < 3; ++c) {
                noise = noise * 1664525u + 1013904223u;
                const int edge = (x / 40 + y / 40) % 2 * 60;
                pixels.push_back(static_cast<std::uint8_t>(60 + edge + x * 100 / size.width + c * 10 + (noise >> 30)));
            }
    return pixels;
}

std::vector<float> depth_of_scene(ImageSize size) {
    std::vector<float> metres;
    for (int y = 0; y < size.height; ++y)
        for (int x = 0; x < size.width; ++x)
            metres.push_back(0.6f + 0.002f * static_cast<float>(y) + ((x / 60) % 2 != 0 ? 0.5f : 0.f));
    return metres;
}

template <class Work>
double microseconds(Work work) {
    std::vector<double> times;
    for (int i = 0; i < rounds; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        work();
        times.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
    }
    std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
    return times[rounds / 2];
}

void row(const char* what, double ours, double library) {
    std::printf("%-52s %9.1f us %9.1f us  %5.2f x\n", what, ours, library, ours / library);
}

double library_jpeg(const std::vector<std::uint8_t>& pixels, ImageSize size) {
    const tjhandle handle = tjInitCompress();
    std::vector<std::uint8_t> out(tjBufSize(size.width, size.height, TJSAMP_420));
    const double took = microseconds([&] {
        unsigned char* stream = out.data();
        unsigned long bytes = out.size();
        tjCompress2(handle, pixels.data(), size.width, 0, size.height, TJPF_RGB, &stream, &bytes, TJSAMP_420, 85,
                    TJFLAG_NOREALLOC);
    });
    tjDestroy(handle);
    return took;
}

double library_zstd(const std::vector<std::uint8_t>& plain) {
    ZSTD_CCtx* const context = ZSTD_createCCtx();
    std::vector<std::uint8_t> out(ZSTD_compressBound(plain.size()));
    const double took =
        microseconds([&] { ZSTD_compressCCtx(context, out.data(), out.size(), plain.data(), plain.size(), 1); });
    ZSTD_freeCCtx(context);
    return took;
}

}  // namespace

int main() {
    ImageEncoder encoder;
    EncodedImage image;
    EncodedDepth depth;
    CameraWish wish;
    wish.image = ImageEncoding::jpeg;
    wish.depth = DepthEncoding::millimetres;
    std::printf("%-52s %12s %12s\n", "", "ours", "library");
    for (const ImageSize size : {vga, small}) {
        const auto pixels = scene(size);
        const auto metres = depth_of_scene(size);
        char text[64];
        std::snprintf(text, sizeof text, "jpeg, %d x %d as it is", size.width, size.height);
        row(text, microseconds([&] { encoder.image(pixels.data(), {size, 3}, wish, image); }), library_jpeg(pixels, size));
        std::vector<std::uint16_t> millimetres(metres.size());
        std::vector<std::uint8_t> planes(2 * metres.size());
        to_millimetres(metres.data(), metres.size(), millimetres.data());
        split_planes(millimetres.data(), size, planes.data());
        std::snprintf(text, sizeof text, "depth in millimetres, %d x %d as it is", size.width, size.height);
        row(text, microseconds([&] { encoder.depth(metres.data(), size, wish, depth); }), library_zstd(planes));
    }
    const auto pixels = scene(vga);
    const auto metres = depth_of_scene(vga);
    const auto shrunk = scene(small);
    wish.size = small;
    row("scaled from 640 x 480 to 224 x 224, then jpeg; jpeg", microseconds([&] {
            encoder.image(pixels.data(), {vga, 3}, wish, image);
        }),
        library_jpeg(shrunk, small));
    Resampler resampler;
    std::vector<std::uint8_t> scaled(small.height * static_cast<std::size_t>(small.width) * 3);
    const Placement placement = place(vga, small, Fit::stretch);
    std::printf("%-52s %9.1f us\n", "of that, scaling",
                microseconds([&] { resampler.image(pixels.data(), vga, 3, placement, scaled.data()); }));
    std::printf("%-52s %9.1f us\n", "depth scaled to 224 x 224, in millimetres",
                microseconds([&] { encoder.depth(metres.data(), vga, wish, depth); }));
}
