// SPDX-License-Identifier: Apache-2.0
// The sensor threads: each publishes numbered frames or samples at a fixed rate and measures what that cost it.
#pragma once

#include "call_timer.hpp"
#include "pacer.hpp"
#include "progress.hpp"
#include "sensor_store.hpp"

#include <atomic>
#include <cstdint>
#include <vector>

namespace chiral::stress {

/// What a sensor thread measured. Its own until it has ended.
struct WriterTimes {
    Histogram lateness;  ///< of waking up, against the schedule
    CallTimes update;    ///< begin, copy, commit; or one proprio update
    std::uint32_t max_steps{0};
    std::uint64_t published{0};
    std::uint64_t skipped{0};  ///< periods in which the thread was too late to publish at all

    void merge(const WriterTimes& other) noexcept {
        lateness.merge(other.lateness);
        update.merge(other.update);
        max_steps = max_steps > other.max_steps ? max_steps : other.max_steps;
        published += other.published;
        skipped += other.skipped;
    }
};

/// How faults reach into the sensor threads of a run.
struct WriterFaults {
    explicit WriterFaults(std::size_t count) : cameras(count) {}

    struct alignas(64) Camera {
        std::atomic<bool> in_frame{false};      ///< its writer has the image just now
        std::atomic<std::uint64_t> refused{0};  ///< frames that were refused with WriterBusy, and came again a period later
    };
    std::vector<Camera> cameras;
    /// Begin a frame as soon as the one before is out, as a driver does whose camera writes into the slot by itself.
    std::atomic<bool> begin_early{false};
    std::atomic<Nanoseconds::rep> clock_offset{0};  ///< of capture times
};
/// How far the clocks of drivers jump: an hour, or half of the time since the clock began, so that no time is negative.
Nanoseconds clock_step() noexcept;

struct Schedule {
    Nanoseconds period;
    SteadyTime first;
};

/// Publish the first frame at once and then one a period, until `stop`. Throw what the store throws. Without `faults`, being
/// refused is an error like any other.
void write_camera(SensorStore& store, const CameraConfig& config, std::size_t camera, Progress& progress, Schedule schedule,
                  const std::atomic<bool>& stop, WriterTimes& times, WriterFaults* faults = nullptr);
void write_proprio(SensorStore& store, const ProprioConfig& config, std::size_t stream, Progress& progress,
                   Schedule schedule, const std::atomic<bool>& stop, WriterTimes& times, WriterFaults* faults = nullptr);

}  // namespace chiral::stress
