// SPDX-License-Identifier: Apache-2.0
// The clock that every time in this library is measured on.
#pragma once

#include <chiral/api.hpp>

#include <chrono>

namespace chiral {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = std::chrono::nanoseconds;

/// Seconds on the monotonic clock, as the wire carries them.
inline double to_seconds(TimePoint time) noexcept { return std::chrono::duration<double>(time.time_since_epoch()).count(); }

}  // namespace chiral
