// SPDX-License-Identifier: Apache-2.0
// How old a stamp of the wall clock is, though that clock is set meanwhile. No system call: times are passed in.
//
// The kernel stamps packets by the wall clock, and whoever sets that back would make packets younger that have waited. By how much
// it is ahead of the monotonic clock changes only then. So what was stamped since the queue was last seen empty is judged by the
// most that it was ahead since: a packet may be taken for older than it is, until all of them are read, never for younger.
#pragma once

#include <algorithm>
#include <chrono>
#include <limits>

namespace chiral::net {

class StampAge {
public:
    using Nanoseconds = std::chrono::nanoseconds;

    /// Nothing waits that has been stamped.
    void all_read(Nanoseconds wall, Nanoseconds monotonic) noexcept { ahead_ = wall - monotonic; }
    /// Of a stamp of what was waiting; zero at least.
    Nanoseconds of(Nanoseconds stamp, Nanoseconds wall, Nanoseconds monotonic) noexcept {
        ahead_ = std::max(ahead_, wall - monotonic);
        return std::max(Nanoseconds::zero(), monotonic + ahead_ - stamp);
    }

private:
    Nanoseconds ahead_{std::numeric_limits<Nanoseconds::rep>::min()};
};

}  // namespace chiral::net
