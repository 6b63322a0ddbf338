// SPDX-License-Identifier: Apache-2.0
// Looks at every action before user code does: shape, limits, step, age of what the policy saw.
//
// Dtype, finite values and a payload of exactly the announced shape are the codec's business: an action without them is a
// malformed message. The gate decides about well-formed actions that this robot should not execute.
//
// Thread rule: one thread, the network thread. Allocates only to name a reason.
#pragma once

#include <chiral/options.hpp>
#include <chiral/types.hpp>

#include <string>
#include <vector>

namespace chiral {

class ActionGate {
public:
    enum class Verdict { pass, clamped, rejected };

    /// Throws std::invalid_argument for options that contradict each other.
    explicit ActionGate(const ActionGateOptions& options);

    /// May change the action, if it says `clamped`. `reason` is set unless it says `pass`; it is cleared otherwise.
    Verdict check(Action& action, TimePoint now, std::string& reason);
    /// Forgets the last action: the next one may be any step away.
    void forget() noexcept { last_.clear(); }

private:
    const ActionGateOptions options_;
    std::vector<float> last_;  // the last row that passed
};

}  // namespace chiral
