// SPDX-License-Identifier: Apache-2.0
#include "robot/action_gate.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>

namespace chiral {
namespace {

std::string text(double value) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.6g", value);
    return digits;
}

void require(bool sensible, const std::string& problem) {
    if (!sensible) throw std::invalid_argument("chiral::ActionGateOptions: " + problem);
}

void require_one_per_joint(const char* name, const std::vector<double>& values, int dimension) {
    require(values.empty() || dimension > 0, std::string(name) + " is given, but not the dimension of actions");
    require(values.empty() || values.size() == static_cast<std::size_t>(dimension),
            std::string(name) + " has " + std::to_string(values.size()) + " values, expected " + std::to_string(dimension));
    for (const double value : values) require(!std::isnan(value), std::string(name) + " holds a NaN");
}

}  // namespace

ActionGate::ActionGate(const ActionGateOptions& options) : options_(options) {
    require(options.dimension >= 0, "dimension is " + std::to_string(options.dimension) + ", expected 0 (any) or more");
    require(options.max_chunk >= 0, "max_chunk is " + std::to_string(options.max_chunk) + ", expected 0 (any) or more");
    require_one_per_joint("lower", options.lower, options.dimension);
    require_one_per_joint("upper", options.upper, options.dimension);
    require_one_per_joint("max_step", options.max_step, options.dimension);
    for (std::size_t i = 0; i < options.lower.size() && i < options.upper.size(); ++i)
        require(options.lower[i] <= options.upper[i], "lower is above upper at joint " + std::to_string(i));
    for (const double step : options.max_step) require(step > 0, "max_step is " + text(step) + ", expected more than 0");
    require(options.max_observation_age >= Duration::zero(), "max_observation_age is negative");
    require(options.stale != GatePolicy::clamp, "stale is clamp, but an age cannot be clamped");
    last_.reserve(static_cast<std::size_t>(options.dimension));
}

ActionGate::Verdict ActionGate::check(Action& action, TimePoint now, std::string& reason) {
    reason.clear();
    const auto shape = [&] { return "[" + std::to_string(action.N) + ", " + std::to_string(action.D) + "]"; };
    if (options_.dimension > 0 && action.D != options_.dimension) {
        reason = "action has shape " + shape() + ", expected [N, " + std::to_string(options_.dimension) + "]";
        return Verdict::rejected;
    }
    if (options_.max_chunk > 0 && action.N > options_.max_chunk) {
        reason = "action has shape " + shape() + ", expected at most " + std::to_string(options_.max_chunk) + " rows";
        return Verdict::rejected;
    }

    Verdict verdict = Verdict::pass;
    const auto object = [&](GatePolicy policy, auto&& describe) {  // true: rejected
        if (reason.empty()) reason = describe();
        if (policy == GatePolicy::clamp) verdict = Verdict::clamped;
        if (policy == GatePolicy::accept && verdict == Verdict::pass) reason.clear();
        return policy == GatePolicy::reject;
    };

    if (options_.max_observation_age > Duration::zero() && !action.obs_timestamps.empty()) {
        double newest = 0;
        for (const auto& [camera, time] : action.obs_timestamps) newest = std::max(newest, time);
        const double age = to_seconds(now) - newest;
        const double allowed = std::chrono::duration<double>(options_.max_observation_age).count();
        if (age > allowed && object(options_.stale, [&] {
                return "action rests on an observation " + text(age) + " s old, expected at most " + text(allowed) + " s";
            }))
            return Verdict::rejected;
    }

    const auto columns = static_cast<std::size_t>(action.D);
    const float* previous = last_.size() == columns ? last_.data() : nullptr;
    for (std::size_t row = 0; row < static_cast<std::size_t>(action.N); ++row) {
        float* values = action.data.data() + row * columns;
        for (std::size_t joint = 0; joint < columns; ++joint) {
            const auto where = [&] { return "joint " + std::to_string(joint) + " of row " + std::to_string(row); };
            double value = values[joint];
            // Limits last: a clamped step must not lead out of them. As float, which is what a client can send.
            if (previous && joint < options_.max_step.size()) {
                const double most = options_.max_step[joint], from = previous[joint];
                if (std::abs(value - from) > most) {
                    if (object(options_.too_large_step, [&] {
                            return where() + " steps by " + text(value - from) + ", expected at most " + text(most);
                        }))
                        return Verdict::rejected;
                    if (options_.too_large_step == GatePolicy::clamp) value = std::clamp(value, from - most, from + most);
                }
            }
            const double lower = joint < options_.lower.size() ? static_cast<float>(options_.lower[joint]) : value;
            const double upper = joint < options_.upper.size() ? static_cast<float>(options_.upper[joint]) : value;
            if (value < lower || value > upper) {
                if (object(options_.outside_limits, [&] {
                        return where() + " is " + text(value) + ", expected " + text(lower) + " to " + text(upper);
                    }))
                    return Verdict::rejected;
                if (options_.outside_limits == GatePolicy::clamp) value = value < lower ? lower : upper;
            }
            values[joint] = static_cast<float>(value);
        }
        previous = values;
    }
    if (previous) last_.assign(previous, previous + columns);
    return verdict;
}

}  // namespace chiral
