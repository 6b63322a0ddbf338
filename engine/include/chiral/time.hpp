// SPDX-License-Identifier: Apache-2.0
// The clock that every time in this library is measured on.
#pragma once

#include <chiral/api.hpp>

#include <chrono>
#include <limits>

namespace chiral {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = std::chrono::nanoseconds;

/// Seconds on the monotonic clock, as the wire carries them.
inline double to_seconds(TimePoint time) noexcept { return std::chrono::duration<double>(time.time_since_epoch()).count(); }

/// later - earlier, for any two times: what does not fit is the longest Duration of its sign.
inline Duration difference(TimePoint later, TimePoint earlier) noexcept {
    Duration::rep result = 0;
    const bool too_long = __builtin_sub_overflow(Duration(later.time_since_epoch()).count(),
                                                 Duration(earlier.time_since_epoch()).count(), &result);
    if (!too_long) return Duration(result);
    return later > earlier ? Duration::max() : Duration::min();
}

}  // namespace chiral
