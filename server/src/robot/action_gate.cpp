// SPDX-License-Identifier: Apache-2.0
#include "robot/action_gate.hpp"

#include "net/number.hpp"
#include "net/printable.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

namespace chiral::robot {
namespace {

constexpr double no_limit = std::numeric_limits<double>::infinity();

std::string text(double value) { return net::number_text(value, 6); }

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

constexpr std::size_t kMostOfAName = 64;

void require(bool sensible, const std::string& problem) {
    if (!sensible) throw std::invalid_argument("chiral::ActionGateOptions: " + problem);
}

void require_one_per_joint(const char* name, const std::vector<double>& values, int dimension) {
    require(values.empty() || dimension > 0, std::string(name) + " is given, but not the dimension of actions");
    require(values.empty() || values.size() == static_cast<std::size_t>(dimension),
            std::string(name) + " has " + std::to_string(values.size()) + " values, expected " + std::to_string(dimension));
    for (const double value : values) require(!std::isnan(value), std::string(name) + " holds a NaN");
}

void require_sensible(const ActionGateOptions& options) {
    require(options.dimension >= 0, "dimension is " + std::to_string(options.dimension) + ", expected 0 (any) or more");
    require(options.max_chunk >= 0, "max_chunk is " + std::to_string(options.max_chunk) + ", expected 0 (any) or more");
    require_one_per_joint("lower", options.lower, options.dimension);
    require_one_per_joint("upper", options.upper, options.dimension);
    require_one_per_joint("max_step", options.max_step, options.dimension);
    for (std::size_t i = 0; i < options.lower.size() && i < options.upper.size(); ++i)
        require(options.lower[i] <= options.upper[i], "lower is above upper at joint " + std::to_string(i));
    for (const double step : options.max_step) require(step > 0, "max_step is " + text(step) + ", expected more than 0");
    require(options.max_observation_age >= Duration::zero(), "max_observation_age is negative");
    for (const auto& [camera, age] : options.max_camera_age)
        require(age > Duration::zero(),
                "max_camera_age of '" + camera + "' is " + text(seconds(age)) + " s, expected more than 0");
    require(options.future_tolerance >= Duration::zero(), "future_tolerance is negative");
    require(options.stale != GatePolicy::clamp, "stale is clamp, but an age cannot be clamped");
}

std::string joint_of_row(std::size_t joint, std::size_t row) {
    return "joint " + std::to_string(joint) + " of row " + std::to_string(row);
}

// The float nearest to `value` that is no further from `from`, which is a float, than `value` is.
float rounded_towards(double from, double value) {
    const auto nearest = static_cast<float>(value);
    return std::abs(nearest - from) > std::abs(value - from) ? std::nextafter(nearest, static_cast<float>(from)) : nearest;
}

}  // namespace

ActionGate::ActionGate(const ActionGateOptions& options, const std::vector<CameraConfig>& cameras)
    : options_(options),
      judges_age_(options.stale != GatePolicy::accept &&
                  (options.max_observation_age > Duration::zero() || !options.max_camera_age.empty())),
      judges_steps_(options.too_large_step != GatePolicy::accept && !options.max_step.empty()) {
    require_sensible(options);
    const double age_of_others =
        options.max_observation_age > Duration::zero() ? seconds(options.max_observation_age) : no_limit;
    for (const CameraConfig& camera : cameras) {
        const auto own = options.max_camera_age.find(camera.name);
        cameras_.push_back({camera.name, own != options.max_camera_age.end() ? seconds(own->second) : age_of_others});
    }
    for (const auto& limit : options.max_camera_age)
        require(
            std::any_of(cameras_.begin(), cameras_.end(), [&](const Camera& camera) { return camera.name == limit.first; }),
            "max_camera_age names '" + limit.first + "', which is no camera of this robot");
    if (judges_steps_) last_.resize(static_cast<std::size_t>(options.dimension));
    before_last_ = last_;
}

std::optional<std::string> ActionGate::shape_objection(const Action& action) const {
    const auto expected = [&](const std::string& what) {
        return "action has shape [" + std::to_string(action.N) + ", " + std::to_string(action.D) + "], expected " + what;
    };
    if (options_.dimension > 0 && action.D != options_.dimension)
        return expected("[N, " + std::to_string(options_.dimension) + "]");
    if (options_.max_chunk > 0 && action.N > options_.max_chunk)
        return expected("at most " + std::to_string(options_.max_chunk) + " rows");
    return std::nullopt;
}

// Every image counts: a camera that works must not vouch for one that does not, and a name that nobody knows for nothing.
std::optional<std::string> ActionGate::age_objection(const Action& action, TimePoint now) const {
    const double tolerance = seconds(options_.future_tolerance);
    for (const auto& [name, captured] : action.obs_timestamps) {
        // The name is what a client says: it goes into logs and figures.
        const auto rests_on = [&, &name = name] {
            return "action rests on an image of camera '" + net::printable(name, kMostOfAName) + "' ";
        };
        const auto camera = std::find_if(cameras_.begin(), cameras_.end(),
                                         [&, &name = name](const Camera& known) { return known.name == name; });
        if (camera == cameras_.end()) return rests_on() + "that this robot does not have";
        const double age = to_seconds(now) - captured;
        if (age < -tolerance)
            return rests_on() + "from " + text(-age) + " s in the future, expected at most " + text(tolerance) +
                   " s: its time must be that of the observation, not of another clock";
        if (age > camera->max_age)
            return rests_on() + text(age) + " s old, expected at most " + text(camera->max_age) + " s";
    }
    return std::nullopt;
}

std::optional<ActionGate::Objection> ActionGate::limit_objection(std::size_t row, std::size_t joint, double value) const {
    if (options_.outside_limits == GatePolicy::accept) return std::nullopt;
    // As float, which is what a client can send.
    const double lower = joint < options_.lower.size() ? static_cast<float>(options_.lower[joint]) : -no_limit;
    const double upper = joint < options_.upper.size() ? static_cast<float>(options_.upper[joint]) : no_limit;
    if (value >= lower && value <= upper) return std::nullopt;
    return Objection{options_.outside_limits, std::clamp(value, lower, upper),
                     joint_of_row(joint, row) + " is " + text(value) + ", expected " + text(lower) + " to " + text(upper)};
}

std::optional<ActionGate::Objection> ActionGate::step_objection(std::size_t row, std::size_t joint, double value,
                                                                double from) const {
    if (!judges_steps_ || joint >= options_.max_step.size()) return std::nullopt;
    const double most = options_.max_step[joint];
    if (std::abs(value - from) <= most) return std::nullopt;
    return Objection{options_.too_large_step, std::clamp(value, from - most, from + most),
                     joint_of_row(joint, row) + " steps by " + text(value - from) + ", expected at most " + text(most)};
}

ActionGate::Verdict ActionGate::check(Action& action, TimePoint now, std::string& reason) {
    reason.clear();
    if (auto objection = shape_objection(action)) {
        reason = std::move(*objection);
        return Verdict::rejected;
    }
    if (auto objection = judges_age_ ? age_objection(action, now) : std::nullopt) {
        reason = std::move(*objection);
        return Verdict::rejected;
    }

    Verdict verdict = Verdict::pass;
    const auto obey = [&](std::optional<Objection> objection, double from, float& value) {
        if (!objection) return;
        const bool rejects = objection->policy == GatePolicy::reject;
        if (rejects || verdict == Verdict::pass) reason = std::move(objection->reason);
        verdict = rejects ? Verdict::rejected : Verdict::clamped;
        value = rounded_towards(from, objection->nearest);
    };
    const auto columns = static_cast<std::size_t>(action.D);
    const float* previous = has_last_ ? last_.data() : nullptr;
    for (std::size_t row = 0; row < static_cast<std::size_t>(action.N); ++row) {
        float* values = action.data.data() + row * columns;
        for (std::size_t joint = 0; joint < columns; ++joint) {
            // Limits first: they judge what came, not what a clamped step has made of it. A step from inside the limits to
            // inside them does not leave them when it is made shorter.
            const double from = previous ? previous[joint] : values[joint];
            obey(limit_objection(row, joint, values[joint]), from, values[joint]);
            if (verdict != Verdict::rejected && previous)
                obey(step_objection(row, joint, values[joint], from), from, values[joint]);
            if (verdict == Verdict::rejected) return verdict;
        }
        previous = values;
    }
    if (judges_steps_ && previous) {
        std::copy_n(previous, columns, before_last_.begin());
        last_.swap(before_last_);
        had_last_ = std::exchange(has_last_, true);
    }
    return verdict;
}

}  // namespace chiral::robot
