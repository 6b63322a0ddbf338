// SPDX-License-Identifier: Apache-2.0
#include "simulated_arm.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace chiral::tools {

namespace {

constexpr double stiffness = 9.0;  // 1/s: a joint has gone most of its way after about 0.4 s
constexpr auto step = std::chrono::milliseconds(2);

}  // namespace

SimulatedArm::SimulatedArm(std::size_t joints, double control_hz, TimePoint start)
    : joints_(joints),
      control_period_(
          std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(1.0 / control_hz))),
      start_(start),
      now_(start),
      joint_(joints) {
    for (std::size_t j = 0; j < joints_; ++j) joint_[j].position = joint_[j].target = swing(j, start);
}

void SimulatedArm::apply(const Action& action, TimePoint now) {
    if (action.N <= 0 || action.D <= 0 ||
        action.data.size() < static_cast<std::size_t>(action.N) * static_cast<std::size_t>(action.D))
        return;
    const std::lock_guard lock(mutex_);
    advance_to(now);
    chunk_ = action;
    chunk_begin_ = now_;
    mode_ = Mode::commanded;
    hold_when_played_ = false;
}

bool SimulatedArm::hold(TimePoint now, Hold when) {
    const std::lock_guard lock(mutex_);
    advance_to(now);
    if (mode_ != Mode::commanded) return false;
    if (when == Hold::when_played && now_ < end_of_chunk()) hold_when_played_ = true;
    else stop_here();
    return true;
}

// A joint that comes to rest this much further on does not have to turn back.
void SimulatedArm::stop_here() {
    mode_ = Mode::holds;
    for (Joint& joint : joint_)
        joint.target = std::clamp(joint.position + joint.velocity / stiffness, -std::numbers::pi, std::numbers::pi);
}

void SimulatedArm::reset() {
    const std::lock_guard lock(mutex_);
    mode_ = Mode::swings;
}

SimulatedArm::State SimulatedArm::at(TimePoint now) {
    State state;
    at(now, state);
    return state;
}

void SimulatedArm::at(TimePoint now, State& state) {
    state.position.resize(joints_);
    state.velocity.resize(joints_);
    state.effort.resize(joints_);
    const std::lock_guard lock(mutex_);
    advance_to(now);
    for (std::size_t j = 0; j < joints_; ++j) {
        const Joint& joint = joint_[j];
        state.position[j] = joint.position;
        state.velocity[j] = joint.velocity;
        state.effort[j] = stiffness * (stiffness * (joint.target - joint.position) - 2.0 * joint.velocity);
    }
}

void SimulatedArm::advance_to(TimePoint now) {
    // After a pause in which nobody looked, the joints have long settled: no need to replay all of it.
    now_ = std::max(now_, now - std::chrono::seconds(3));
    while (now_ < now) {
        const TimePoint next = std::min<TimePoint>(now, now_ + step);
        const double dt = std::chrono::duration<double>(next - now_).count();

        std::size_t row = 0;
        if (mode_ == Mode::commanded) {
            const auto rows = static_cast<std::size_t>(chunk_.N);
            row = std::min(static_cast<std::size_t>((next - chunk_begin_) / control_period_), rows - 1);
            if (hold_when_played_ && next > end_of_chunk()) stop_here();
            else if (next > end_of_chunk() + patience) mode_ = Mode::swings;
        }
        const double decay = std::exp(-stiffness * dt);
        for (std::size_t j = 0; j < joints_; ++j) {
            Joint& joint = joint_[j];
            if (mode_ == Mode::swings) {
                joint.target = swing(j, next);
            } else if (mode_ == Mode::commanded && j < static_cast<std::size_t>(chunk_.D)) {
                const double wanted = chunk_.data[row * static_cast<std::size_t>(chunk_.D) + j];
                if (std::isfinite(wanted)) joint.target = std::clamp(wanted, -std::numbers::pi, std::numbers::pi);
            }
            // The exact motion of a critically damped spring over dt.
            const double away = joint.position - joint.target;
            const double pull = (joint.velocity + stiffness * away) * dt;
            joint.velocity = (joint.velocity - stiffness * pull) * decay;
            joint.position = joint.target + (away + pull) * decay;
        }
        now_ = next;
    }
}

double SimulatedArm::swing(std::size_t joint, TimePoint time) const {
    const double seconds = std::chrono::duration<double>(time - start_).count();
    const auto number = static_cast<double>(joint);
    return 0.8 * std::sin(2.0 * std::numbers::pi * seconds / (5.0 + 1.7 * number) + number);
}

}  // namespace chiral::tools
