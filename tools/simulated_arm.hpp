// SPDX-License-Identifier: Apache-2.0
// The joints of the simulated robot: they swing by themselves until actions tell them where to go.
//
// Each joint follows its target like a critically damped spring, so positions and velocities are smooth whatever the
// targets do. An action gives targets in rad; a chunk of N actions is played at the control rate. When no action has
// come for a while, the joints go back to their own slow swinging, unless they were told to hold.
//
// Thread rule: any thread may call anything; a mutex guards some hundred bytes. Times must not be far apart from the
// steady clock's.
#pragma once

#include <chiral/types.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <span>
#include <vector>

namespace chiral::tools {

class SimulatedArm {
public:
    using TimePoint = std::chrono::steady_clock::time_point;

    /// The joints swing by themselves again when the last action is this old.
    static constexpr std::chrono::seconds patience{2};

    SimulatedArm(std::size_t joints, double control_hz, TimePoint start);

    std::size_t joints() const noexcept { return joints_; }

    /// Takes targets from `action`: element j of a row for joint j. Missing and non-finite elements leave a joint's target,
    /// further ones are ignored, targets are clipped to +-pi.
    void apply(const Action& action, TimePoint now);
    enum class Hold { at_once, when_played };
    /// Stops, smoothly, and stays there until the next action or reset(); `when_played`: at the end of the chunk that is
    /// being played. False: there is nothing to stop, because no action commands the joints, or they hold already.
    bool hold(TimePoint now, Hold when);
    /// Forgets all actions.
    void reset();

    /// What the joints do at `now`; a time before the last one counts as the last one.
    struct State {
        std::vector<double> position;  ///< rad
        std::vector<double> velocity;  ///< rad/s
        std::vector<double> effort;    ///< rad/s^2, what a drive would have to give
    };
    State at(TimePoint now);
    void at(TimePoint now, State& state);  ///< reuses the memory of `state`

private:
    struct Joint {
        double position{0.0}, velocity{0.0}, target{0.0};
    };
    void advance_to(TimePoint now);
    void stop_here();
    TimePoint end_of_chunk() const { return chunk_begin_ + control_period_ * chunk_.N; }
    double swing(std::size_t joint, TimePoint time) const;

    const std::size_t joints_;
    const std::chrono::steady_clock::duration control_period_;
    const TimePoint start_;

    std::mutex mutex_;
    TimePoint now_;
    std::vector<Joint> joint_;
    Action chunk_;  // being played
    TimePoint chunk_begin_{};
    // Commanded: a chunk is being played, or was less than `patience` ago.
    enum class Mode { swings, commanded, holds } mode_{Mode::swings};
    bool hold_when_played_{false};
};

}  // namespace chiral::tools
