// The sensor threads: each publishes numbered frames or samples at a fixed rate and measures what that cost it.
#pragma once

#include "call_timer.hpp"
#include "pacer.hpp"
#include "progress.hpp"
#include "sensor_store.hpp"

#include <atomic>
#include <cstdint>

namespace chiral::stress {

/// What a sensor thread measured. Its own until it has ended.
struct WriterTimes {
    Histogram lateness;        ///< of waking up, against the schedule
    CallTimes update;          ///< begin, copy, commit; or one proprio update
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

struct Schedule {
    Nanoseconds period;
    SteadyTime first;
};

/// Publish the first frame at once and then one a period, until `stop`. Throw what the store throws.
void write_camera(SensorStore& store, const CameraConfig& config, std::size_t camera, Progress& progress, Schedule schedule,
                  const std::atomic<bool>& stop, WriterTimes& times);
void write_proprio(SensorStore& store, const ProprioConfig& config, std::size_t stream, Progress& progress,
                   Schedule schedule, const std::atomic<bool>& stop, WriterTimes& times);

}  // namespace chiral::stress
