// SPDX-License-Identifier: Apache-2.0
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
    std::vector<std::uint8_t> depth;
    DType depth_type;
    std::array<double, 9> intrinsics{};
    std::array<double, 16> extrinsics{};

    explicit DriverFrame(const CameraConfig& config)
        : image(image_bytes(config)), depth(depth_bytes(config)), depth_type(config.depth_dtype) {}
    void capture(std::uint64_t number, std::size_t camera) noexcept {
        fill_image(image, number, camera);
        fill_depth(depth, depth_type, number);
        fill_matrix(intrinsics, number, camera);
        fill_matrix(extrinsics, number, camera);
    }
};

class TaggedClock {
public:
    explicit TaggedClock(const WriterFaults* faults) noexcept : faults_(faults) {}

    TimePoint capture_time(std::uint64_t number) noexcept {
        const Nanoseconds offset(faults_ ? faults_->clock_offset.load(std::memory_order_relaxed) : 0);
        if (offset != offset_) last_ = Nanoseconds(0);  // it has been set anew
        offset_ = offset;
        last_ = tag_time(std::chrono::steady_clock::now().time_since_epoch() + offset, number, last_);
        return TimePoint(last_);
    }

private:
    const WriterFaults* const faults_;
    Nanoseconds offset_{0};
    Nanoseconds last_{0};
};

// `capture(number)` prepares, untimed; `publish(number)` is timed and returns its steps; `published(number)` makes it known.
// `refused()` is asked what to do about WriterBusy: false to throw it, true to try the same number again a period later.
template <class Capture, class Publish, class Published, class Refused>
void run(Schedule schedule, const std::atomic<bool>& stop, WriterTimes& times, Capture capture, Publish publish,
         Published published, Refused refused) {
    capture(1);
    publish(1);  // unpaced and untimed: readers start when every source has shown something
    published(1);
    times.published = 1;
    Pacer pacer(schedule.period, schedule.first);
    CallTimer timer;
    for (std::uint64_t number = 2;;) {
        capture(number);
        const Nanoseconds late = pacer.wait(stop);
        if (stop.load(std::memory_order_relaxed)) break;
        times.lateness.record(late);
        timer.start();
        std::uint32_t steps = 0;
        try {
            steps = publish(number);
        } catch (const WriterBusy&) {  // not timed: the exception is not the engine's
            if (!refused()) throw;
            continue;
        }
        timer.stop(times.update);
        published(number);
        times.max_steps = std::max(times.max_steps, steps);
        times.published = number++;
    }
    times.skipped = pacer.skipped();
}

}  // namespace

void write_camera(SensorStore& store, const CameraConfig& config, std::size_t camera, Progress& progress, Schedule schedule,
                  const std::atomic<bool>& stop, WriterTimes& times, WriterFaults* faults) {
    DriverFrame frame(config);
    TaggedClock clock(faults);
    const auto in_frame = [&](bool is) {
        if (faults) faults->cameras[camera].in_frame.store(is, std::memory_order_relaxed);
    };
    bool begun = false;
    const auto begin = [&](TimePoint captured) {
        store.begin(camera);
        store.fill(camera, Field::image, frame.image.data(), captured);
        in_frame(true);
        begun = true;
    };
    run(
        schedule, stop, times,
        [&](std::uint64_t number) {
            frame.capture(number, camera);
            if (faults && faults->begin_early.load(std::memory_order_relaxed))
                begin({});  // a frame gets its time in the end
        },
        [&](std::uint64_t number) {
            const TimePoint captured = clock.capture_time(number);
            if (!begun) begin(captured);
            begun = false;
            if (!frame.depth.empty()) store.fill(camera, Field::depth, frame.depth.data(), captured);
            store.fill(camera, Field::intrinsics, frame.intrinsics.data(), captured);
            store.fill(camera, Field::extrinsics, frame.extrinsics.data(), captured);
            in_frame(false);
            store.commit(camera, captured);
            return store.last_camera_steps(camera);
        },
        [&](std::uint64_t number) { progress.camera_published(camera, number); },
        [&] {
            if (faults) faults->cameras[camera].refused.fetch_add(1, std::memory_order_relaxed);
            return faults != nullptr;
        });
}

void write_proprio(SensorStore& store, const ProprioConfig& config, std::size_t stream, Progress& progress,
                   Schedule schedule, const std::atomic<bool>& stop, WriterTimes& times, WriterFaults* faults) {
    std::vector<float> values(static_cast<std::size_t>(config.size));
    TaggedClock clock(faults);
    run(
        schedule, stop, times, [&](std::uint64_t number) { fill_proprio(values, number, stream); },
        [&](std::uint64_t number) {
            store.update_proprio(stream, values, clock.capture_time(number));
            return store.last_proprio_steps(stream);
        },
        [&](std::uint64_t number) { progress.proprio_published(stream, number); }, [] { return false; });
}

Nanoseconds clock_step() noexcept {
    static const Nanoseconds step =
        std::min<Nanoseconds>(std::chrono::hours(1), std::chrono::steady_clock::now().time_since_epoch() / 2);
    return step;
}

}  // namespace chiral::stress
