#include "writers.hpp"

#include "frame_pattern.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace chiral::stress {
namespace {

// What a driver has in its hands when a frame has arrived.
struct DriverFrame {
    std::vector<std::uint8_t> image;
    std::vector<float> depth;
    std::array<double, 9> intrinsics{};
    std::array<double, 16> extrinsics{};

    explicit DriverFrame(const CameraConfig& config) {
        const std::size_t pixels = static_cast<std::size_t>(config.height) * static_cast<std::size_t>(config.width);
        image.resize(pixels * static_cast<std::size_t>(config.channels));
        if (config.has_depth) depth.resize(pixels);
    }
    void capture(std::uint64_t number, std::size_t camera) noexcept {
        fill_image(image, number, camera);
        fill_depth(depth, number);
        fill_matrix(intrinsics, number, camera);
        fill_matrix(extrinsics, number, camera);
    }
};

class TaggedClock {
public:
    TimePoint capture_time(std::uint64_t number) noexcept {
        last_ = tag_time(std::chrono::steady_clock::now().time_since_epoch(), number, last_);
        return TimePoint(last_);
    }

private:
    Nanoseconds last_{0};
};

// `capture(number)` prepares, untimed; `publish(number)` is timed and returns its steps; `published(number)` makes it known.
template <class Capture, class Publish, class Published>
void run(Schedule schedule, const std::atomic<bool>& stop, WriterTimes& times, Capture capture, Publish publish,
         Published published) {
    capture(1);
    publish(1);  // unpaced and untimed: readers start when every source has shown something
    published(1);
    times.published = 1;
    Pacer pacer(schedule.period, schedule.first);
    CallTimer timer;
    for (std::uint64_t number = 2;; ++number) {
        capture(number);
        const Nanoseconds late = pacer.wait(stop);
        if (stop.load(std::memory_order_relaxed)) break;
        times.lateness.record(late);
        timer.start();
        const std::uint32_t steps = publish(number);
        timer.stop(times.update);
        published(number);
        times.max_steps = std::max(times.max_steps, steps);
        times.published = number;
    }
    times.skipped = pacer.skipped();
}

}  // namespace

void write_camera(SensorStore& store, const CameraConfig& config, std::size_t camera, Progress& progress, Schedule schedule,
                  const std::atomic<bool>& stop, WriterTimes& times) {
    DriverFrame frame(config);
    TaggedClock clock;
    run(
        schedule, stop, times, [&](std::uint64_t number) { frame.capture(number, camera); },
        [&](std::uint64_t number) {
            const TimePoint captured = clock.capture_time(number);
            store.begin(camera);
            store.fill(camera, Field::image, frame.image.data(), captured);
            if (!frame.depth.empty()) store.fill(camera, Field::depth, frame.depth.data(), captured);
            store.fill(camera, Field::intrinsics, frame.intrinsics.data(), captured);
            store.fill(camera, Field::extrinsics, frame.extrinsics.data(), captured);
            store.commit(camera, captured);
            return store.last_camera_steps(camera);
        },
        [&](std::uint64_t number) { progress.camera_published(camera, number); });
}

void write_proprio(SensorStore& store, const ProprioConfig& config, std::size_t stream, Progress& progress,
                   Schedule schedule, const std::atomic<bool>& stop, WriterTimes& times) {
    std::vector<float> values(static_cast<std::size_t>(config.size));
    TaggedClock clock;
    run(
        schedule, stop, times, [&](std::uint64_t number) { fill_proprio(values, number, stream); },
        [&](std::uint64_t number) {
            store.update_proprio(stream, values, clock.capture_time(number));
            return store.last_proprio_steps(stream);
        },
        [&](std::uint64_t number) { progress.proprio_published(stream, number); });
}

}  // namespace chiral::stress
