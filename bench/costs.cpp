// SPDX-License-Identifier: Apache-2.0
// chiral-bench-costs: what single calls cost one thread that nobody disturbs. Google Benchmark fits here: calls of tens of
// nanoseconds, repeated until the clock does not matter. bench/run asks for 33 repetitions in random order.
//
// Commits and snapshots are those of eight cameras with image, depth and pose, filled in place (the pose is copied, it is 128
// bytes); the argument is the width of the image, three quarters of which is its height, to show that it does not matter.
#include "comparators/locked_channel.hpp"
#include "comparators/triple_buffer.hpp"

#include <chiral/engine.hpp>
#include <chiral/slot.hpp>

#include <benchmark/benchmark.h>
#ifdef CHIRAL_LIBYUV
#include <libyuv.h>
#endif

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr int kCameras = 8;

std::vector<chiral::CameraConfig> cameras(int width) {
    std::vector<chiral::CameraConfig> all;
    for (int i = 0; i < kCameras; ++i) {
        chiral::CameraConfig camera;
        camera.name = "camera_" + std::to_string(i);
        camera.width = width;
        camera.height = width * 3 / 4;
        camera.has_depth = true;
        all.push_back(camera);
    }
    return all;
}

// Made once: its memory is hundreds of megabytes, written before first use.
chiral::Engine& engine_of(int width) {
    static std::map<int, std::unique_ptr<chiral::Engine>> engines;
    std::unique_ptr<chiral::Engine>& engine = engines[width];
    if (!engine) {
        chiral::EngineOptions options;
        options.readers = 1;
        engine = std::make_unique<chiral::Engine>(cameras(width), std::vector<chiral::ProprioConfig>{}, options);
    }
    return *engine;
}

// One clock reading for all cameras, as a driver has that stamps a trigger, and, if they do not share it, another per commit for
// the time of publication.
void commit_all(chiral::Engine& engine, bool share_publication = false) {
    static const Eigen::Matrix4d pose = Eigen::Matrix4d::Identity();
    const chiral::TimePoint captured = chiral::Clock::now();
    for (std::size_t i = 0; i < kCameras; ++i) {
        chiral::Frame frame = engine.begin_frame(i);
        benchmark::DoNotOptimize(frame.image().data());
        benchmark::DoNotOptimize(frame.depth().data());
        frame.set_extrinsics(pose);
        static_cast<void>(share_publication ? frame.commit(captured, captured) : frame.commit(captured));
    }
}

void commit_8_cameras(benchmark::State& state) {
    chiral::Engine& engine = engine_of(static_cast<int>(state.range(0)));
    for (auto _ : state) commit_all(engine);
}

void commit_8_cameras_at_one_time(benchmark::State& state) {
    chiral::Engine& engine = engine_of(static_cast<int>(state.range(0)));
    for (auto _ : state) commit_all(engine, true);
}

// The smallest image, so that the copy does not hide the rest: 64 bytes. Captured when the driver says, which takes two
// readings of the clock, its own and the engine's, and captured by default, which takes one.
void update_64_bytes(benchmark::State& state) {
    chiral::CameraConfig camera;
    camera.name = "small";
    camera.width = camera.height = 8;
    camera.channels = 1;
    chiral::Engine engine({camera}, {});
    const std::uint8_t pixels[64] = {};
    const bool driver_says = state.range(0) != 0;
    for (auto _ : state)
        benchmark::DoNotOptimize(driver_says ? engine.update_image(0, pixels, sizeof pixels, chiral::Clock::now())
                                             : engine.update_image(0, pixels, sizeof pixels));
}

void update_slot_of_64_bytes(benchmark::State& state) {
    struct Value {
        std::uint8_t bytes[64];
    };
    chiral::EngineOptions options;
    options.slots = {chiral::slot_config<Value>("value")};
    chiral::Engine engine({}, {}, options);
    chiral::Slot<Value> slot(engine, "value");
    for (auto _ : state) benchmark::DoNotOptimize(slot.update({}));
}

constexpr int kWidth = 640, kHeight = 480;

chiral::Engine engine_for_rows() {
    chiral::CameraConfig camera;
    camera.name = "uvc";
    camera.width = kWidth;
    camera.height = kHeight;
    return {{camera}, {}};
}

// Rows in another order than declared, which are converted in the one copy.
void update_rows(benchmark::State& state, chiral::PixelFormat format, int pixel_bytes) {
    chiral::Engine engine = engine_for_rows();
    const std::vector<std::uint8_t> rows(static_cast<std::size_t>(kWidth * kHeight * pixel_bytes), 100);
    for (auto _ : state) benchmark::DoNotOptimize(engine.update_image(0, {rows.data(), 0, format}));
}

#ifdef CHIRAL_LIBYUV
// What a program does that has libyuv: it converts into the slot.
template <class Convert>
void update_by_libyuv(benchmark::State& state, int pixel_bytes, Convert convert) {
    chiral::Engine engine = engine_for_rows();
    const std::vector<std::uint8_t> rows(static_cast<std::size_t>(kWidth * kHeight * pixel_bytes), 100);
    for (auto _ : state) {
        chiral::Frame frame = engine.begin_frame(0);
        convert(rows.data(), frame.image().data());
        benchmark::DoNotOptimize(frame.commit());
    }
}

void yuyv_by_libyuv(const std::uint8_t* from, std::uint8_t* to) {
    std::uint8_t row[4 * kWidth];  // it goes by four bytes a pixel
    for (int y = 0; y < kHeight; ++y) {
        libyuv::YUY2ToARGB(from + y * 2 * kWidth, 2 * kWidth, row, sizeof row, kWidth, 1);
        libyuv::ARGBToRAW(row, sizeof row, to + y * 3 * kWidth, 3 * kWidth, kWidth, 1);
    }
}
void bgr_by_libyuv(const std::uint8_t* from, std::uint8_t* to) {
    libyuv::RAWToRGB24(from, 3 * kWidth, to, 3 * kWidth, kWidth, kHeight);
}
void bgra_by_libyuv(const std::uint8_t* from, std::uint8_t* to) {
    libyuv::ARGBToRAW(from, 4 * kWidth, to, 3 * kWidth, kWidth, kHeight);
}
#endif

void pin_8_cameras(benchmark::State& state) {
    chiral::Engine& engine = engine_of(static_cast<int>(state.range(0)));
    chiral::Reader reader = engine.make_reader();
    for (auto _ : state) {
        const chiral::Snapshot snapshot = reader.snapshot();
        benchmark::DoNotOptimize(snapshot.camera(0).image().data());
    }
}

// The same look with other designs, without anybody else: image and depth of each camera, and no one instant for all.
template <class Channel>
void look_at_8_cameras(benchmark::State& state) {
    const std::size_t bytes = std::size_t{kWidth} * kHeight * (3 + sizeof(float));
    const std::vector<std::byte> pixels(bytes, std::byte{1});
    std::vector<std::unique_ptr<Channel>> channels;
    std::vector<std::unique_ptr<typename Channel::Reader>> readers;
    for (std::size_t i = 0; i < kCameras; ++i) {
        channels.push_back(std::make_unique<Channel>(bytes, 1));
        readers.push_back(std::make_unique<typename Channel::Reader>(*channels.back()));
        channels.back()->update(pixels.data());
    }
    for (auto _ : state)
        for (auto& reader : readers) {
            benchmark::DoNotOptimize(reader->look().data());
            reader->release();
        }
}

void commit_and_pin_8_cameras(benchmark::State& state) {
    chiral::Engine& engine = engine_of(static_cast<int>(state.range(0)));
    chiral::Reader reader = engine.make_reader();
    for (auto _ : state) {
        commit_all(engine);
        const chiral::Snapshot snapshot = reader.snapshot();
        benchmark::DoNotOptimize(snapshot.camera(0).image().data());
    }
}

void update_7_joints(benchmark::State& state) {
    chiral::Engine engine({}, {{"joint_pos", 7}});
    const float joints[7] = {};
    for (auto _ : state) benchmark::DoNotOptimize(engine.update_proprio(0, joints, 7));
}

void read_7_joints(benchmark::State& state) {
    chiral::Engine engine({}, {{"joint_pos", 7}});
    float joints[7] = {};
    static_cast<void>(engine.update_proprio(0, joints, 7));
    for (auto _ : state) benchmark::DoNotOptimize(engine.latest_proprio(0, joints));
}

void steady_clock_now(benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(chiral::Clock::now());
}

BENCHMARK(commit_8_cameras)->Arg(64)->Arg(640)->Arg(1920);
BENCHMARK(commit_8_cameras_at_one_time)->Arg(64)->Arg(640)->Arg(1920);
BENCHMARK(update_64_bytes)->Arg(1)->Arg(0);
BENCHMARK(update_slot_of_64_bytes);
BENCHMARK_CAPTURE(update_rows, yuyv, chiral::PixelFormat::yuyv, 2);
BENCHMARK_CAPTURE(update_rows, bgr, chiral::PixelFormat::bgr, 3);
BENCHMARK_CAPTURE(update_rows, bgra, chiral::PixelFormat::bgra, 4);
#ifdef CHIRAL_LIBYUV
BENCHMARK_CAPTURE(update_by_libyuv, yuyv, 2, yuyv_by_libyuv);
BENCHMARK_CAPTURE(update_by_libyuv, bgr, 3, bgr_by_libyuv);
BENCHMARK_CAPTURE(update_by_libyuv, bgra, 4, bgra_by_libyuv);
#endif
BENCHMARK(pin_8_cameras)->Arg(64)->Arg(640)->Arg(1920);
BENCHMARK(look_at_8_cameras<chiral::bench::MutexChannel>)->Name("look_at_8_cameras/mutex");
BENCHMARK(look_at_8_cameras<chiral::bench::TripleBuffer>)->Name("look_at_8_cameras/triple_buffer");
BENCHMARK(commit_and_pin_8_cameras)->Arg(64)->Arg(640)->Arg(1920);
BENCHMARK(update_7_joints);
BENCHMARK(read_7_joints);
BENCHMARK(steady_clock_now);

}  // namespace

BENCHMARK_MAIN();
