// SPDX-License-Identifier: Apache-2.0
// Tells how far the run is, in one line of standard error: written over on a terminal, now and then a new one elsewhere.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>

namespace chiral::bench {

class ProgressLine {
public:
    explicit ProgressLine(double total) : total_(total) {}
    ~ProgressLine() {
        if (terminal_) std::fputs("\r\033[K", stderr);
    }

    /// `work` of `total` is done, in whatever unit the caller counts, and `what` comes next.
    void step(double work, const std::string& what) {
        done_ += work;
        const auto now = Clock::now();
        if (now < next_) return;
        const double share = done_ / total_;
        const double spent = std::chrono::duration<double>(now - start_).count();
        std::string left;
        if (share > 0.02) left = ", " + std::to_string(static_cast<int>(spent * (1 - share) / share)) + " s left";
        std::fprintf(stderr, terminal_ ? "\r\033[K%3.0f %%%s: %s" : "%3.0f %%%s: %s\n", 100 * share, left.c_str(),
                     what.c_str());
        std::fflush(stderr);
        next_ = now + (terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10000));
    }

private:
    using Clock = std::chrono::steady_clock;
    double total_;
    double done_{0};
    bool terminal_{::isatty(2) == 1};
    Clock::time_point start_{Clock::now()}, next_{};
};

}  // namespace chiral::bench
