// SPDX-License-Identifier: Apache-2.0
// Looks at every action before user code does: shape, limits, step, age of what the policy saw.
//
// Dtype, finite values and a payload of exactly the announced shape are the codec's business: an action without them is a
// malformed message. The gate decides about well-formed actions that this robot should not execute.
//
// Thread rule: any thread, one at a time. Allocates only to name a reason.
#pragma once

#include <chiral/options.hpp>
#include <chiral/sources.hpp>
#include <chiral/types.hpp>

#include <optional>
#include <string>
#include <vector>

namespace chiral::robot {

class ActionGate {
public:
    enum class Verdict { pass, clamped, rejected };

    /// `cameras`: those of the robot, which are all that an action may rest on. Throws std::invalid_argument for options that
    /// contradict each other or them.
    ActionGate(const ActionGateOptions& options, const std::vector<CameraConfig>& cameras);

    /// May change the action, if it says `clamped`. `reason` is cleared if it says `pass`; else it names the objection that
    /// decided: the one for which the action was rejected, or the first for which it was clamped. After an action that was
    /// rejected, the step of the next one still counts from the one before it.
    Verdict check(Action& action, TimePoint now, std::string& reason);
    /// The action that was let through last was not executed after all: the step of the next one counts from the one before it.
    void take_back() noexcept {
        last_.swap(before_last_);
        has_last_ = had_last_;
    }
    /// Forgets the last action: the next one may be any step away.
    void forget() noexcept { has_last_ = false; }

private:
    struct Camera {
        std::string name;
        double max_age;  // seconds; infinite: no limit
    };
    /// What is wrong with one element, if anything, and the nearest value that is right.
    struct Objection {
        GatePolicy policy;
        double nearest;
        std::string reason;
    };

    std::optional<std::string> shape_objection(const Action& action) const;
    std::optional<std::string> age_objection(const Action& action, TimePoint now) const;
    std::optional<Objection> limit_objection(std::size_t row, std::size_t joint, double value) const;
    std::optional<Objection> step_objection(std::size_t row, std::size_t joint, double value, double from) const;

    const ActionGateOptions options_;
    std::vector<Camera> cameras_;
    bool judges_age_;
    bool judges_steps_;
    std::vector<float> last_;  // the last row that passed, where steps are judged: as many values as an action must have
    std::vector<float> before_last_;
    bool has_last_{false}, had_last_{false};
};

}  // namespace chiral::robot
