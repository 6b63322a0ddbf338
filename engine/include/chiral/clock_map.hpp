// SPDX-License-Identifier: Apache-2.0
// Turns the time stamps of a device (a camera's own counter, ROS or wall-clock time) into times on this library's clock.
//
//     chiral::ClockMap clock({.ticks_per_second = 1e6, .bits = 32});       // one for each device
//     const chiral::TimePoint captured = clock.observe(frame.timestamp, chiral::Clock::now());  // when it arrives
//     engine.update_image(0, frame.data, frame.size, captured);
//
// What is observed of a stamp is when it arrived: never before it was made, often a little later, sometimes much. So the
// least delayed arrivals of a window of recent pairs say how the clocks lie to each other. Those of equal parts of the window
// give a line, its slope the median of all slopes between them (Theil, Sen), so that late arrivals do not bend it; it is
// shifted to the least delayed one. The delay that even that one had cannot be seen, and is part of the mapped times.
//
// Guarantees: mapped times never go back while the device's do not, nor past the arrival that they were observed with. A
// device whose clock was set is followed: at once if it was set forwards, which no delay explains, and after
// `pairs_to_believe_a_step` pairs if backwards, which looks like a delay at first.
//
// Thread rules: one thread at a time. No allocation, lock or system call; a few hundred operations for each pair.
#pragma once

#include <chiral/api.hpp>
#include <chiral/time.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace chiral {

struct ClockMapOptions {
    double ticks_per_second = 1e9;  ///< nominal rate of the device's stamps, > 0
    int bits = 64;                  ///< width of a counter that wraps, 8 to 64
    /// A pair that is further than this from what was expected is a step of the device's clock or a stray delay.
    Duration step = std::chrono::milliseconds(100);
    int pairs_to_believe_a_step = 3;
};

class CHIRAL_API ClockMap {
public:
    /// Throws std::invalid_argument for options that make no sense.
    explicit ClockMap(ClockMapOptions options = {});

    /// Takes notice of a stamp and of when it arrived, and returns when it was made. The first pairs are believed as they are.
    TimePoint observe(std::uint64_t stamp, TimePoint arrival) noexcept;

    /// When a stamp near those observed was made, without learning from it. TimePoint{} before the first observation.
    TimePoint map(std::uint64_t stamp) const noexcept;

    /// How far apart the least delayed arrivals of the window are from one line: what jitter and changing drift leave open.
    /// Duration::max() before there are enough pairs to tell.
    Duration uncertainty() const noexcept { return uncertainty_; }
    /// How much faster the device's clock is than it says, in parts per million.
    double drift_ppm() const noexcept { return -slope_ * 1e6; }
    /// How often the device's clock was found to have been set.
    std::uint64_t steps() const noexcept { return steps_; }

private:
    static constexpr std::size_t kParts = 8;
    static constexpr std::size_t kWindow = kParts * 16;

    struct Pair {
        double device{0};  // nanoseconds by the device since the first pair
        double offset{0};  // nanoseconds that the host had counted more
    };

    std::int64_t unwrapped(std::uint64_t stamp) const noexcept;
    double device_ns(std::int64_t ticks) const noexcept;
    double expected_offset(double device) const noexcept { return intercept_ + slope_ * device; }
    TimePoint at(double device) const noexcept;
    bool is_a_step(const Pair& pair) noexcept;
    void start_again(const Pair& pair) noexcept;
    void fit() noexcept;

    ClockMapOptions options_;
    TimePoint origin_{};           // arrival of the first pair
    std::uint64_t last_stamp_{0};  // as it came
    std::int64_t last_ticks_{0};   // unwrapped, since the first pair
    std::array<Pair, kWindow> pairs_{};
    std::size_t count_{0};  // of pairs in the window
    std::size_t next_{0};
    bool started_{false};
    double slope_{0};  // nanoseconds of offset for each of the device
    double intercept_{0};
    Duration uncertainty_{Duration::max()};
    int strays_{0};  // in a row
    std::uint64_t steps_{0};
    TimePoint latest_{};            // that observe() returned
    std::int64_t latest_ticks_{0};  // and for which stamp
};

}  // namespace chiral
