// SPDX-License-Identifier: Apache-2.0
// So many a second, and a stated time's worth at once. The time is passed in.
#pragma once

#include <chiral/time.hpp>

#include <algorithm>

namespace chiral::robot {

class RateLimit {
public:
    /// One for every `each`; `at_once`: how far ahead of that somebody may be.
    RateLimit(Duration each, Duration at_once) noexcept : each_(each), at_once_(at_once) {}

    void spend(TimePoint now) noexcept { paid_until_ = std::max(paid_until_, now) + each_; }
    /// Whether one more is due.
    bool allows(TimePoint now) const noexcept { return allowed_at() <= now; }
    TimePoint allowed_at() const noexcept { return paid_until_ - at_once_; }

private:
    Duration each_, at_once_;
    TimePoint paid_until_{};
};

}  // namespace chiral::robot
