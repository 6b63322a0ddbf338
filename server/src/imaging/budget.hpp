// SPDX-License-Identifier: Apache-2.0
// Keeps what one client is sent within the budget that it named: quality goes first, then size, then rate, in steps, each down
// to the bound in WantBudget; and comes back when there is room.
//
// Answers go in and what to do goes out, with the time as an argument: nothing here waits or measures. It judges windows of
// half a second, so a single large answer changes nothing. A step up that turns out to be too much is tried again later and
// later, at most half a minute, so that a stream on the edge does not swing.
//
// Thread rule: one thread at a time.
#pragma once

#include "imaging/want_pool.hpp"

#include <chiral/time.hpp>
#include <chiral/types.hpp>
#include <chiral/want.hpp>

#include <cstddef>

namespace chiral::imaging {

class Budget {
public:
    /// Before an answer is made. A budget other than the one before begins anew.
    void set(const WantBudget& budget, TimePoint now);
    /// An answer of so many bytes is with the network, so long after it was asked for.
    void answered(std::size_t bytes, Duration latency, TimePoint now);

    Reduction reduction() const noexcept;
    /// From one answer to the next, at least; zero while the rate is not lowered.
    Duration period() const noexcept;
    /// What the client is told, while anything is lowered: chiral.want_quality, chiral.want_scale, chiral.want_hz.
    void write_to(ExtraMap& extra) const;

private:
    void judge(double cost);

    WantBudget budget_;
    int level_{0};         // 0: nothing is lowered; then the steps of quality, size and rate
    double full_hz_{0};    // the rate before it was lowered
    int calm_{0};          // windows within the budget since the last step
    int patience_{2};      // so many of them before a step up
    bool went_up_{false};  // by the last step

    struct Window {
        TimePoint begin{};
        std::size_t answers{0};
        double bytes{0}, latency{0};  // sums
    } window_;
};

}  // namespace chiral::imaging
