// SPDX-License-Identifier: Apache-2.0
// What was measured, sample by sample, and the clockwork around the measured calls.
//
// Calls in which the scheduler took the core away (getrusage: involuntary context switches) are kept apart: on a machine
// with fewer cores than threads they measure the machine. Calls in which the thread gave the core up by itself stay:
// sleeping on a lock is what a lock costs. Calls in which both happened stay too, and are counted.
//
// A call is timed with the clock's own cost in it, about 25 ns, and nothing is subtracted. Calls that cost less than a
// microsecond are also timed in batches, from which their typical cost is taken; their tail is taken from single calls,
// because in a batch a long one would hide.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace chiral::bench {

using SteadyClock = std::chrono::steady_clock;

/// Nanoseconds, of calls or of batches divided by their calls.
using Values = std::vector<float>;

/// At most `most` of the values that come, spread evenly over all of them: when there is no more room, every other one is
/// dropped, and from then on half as many are taken. Allocates once.
class ThinnedValues {
public:
    explicit ThinnedValues(std::size_t most) : most_(most) { values_.reserve(most); }
    void keep(float value) {
        if (seen_++ % stride_ != 0) return;
        if (values_.size() == most_) {
            for (std::size_t i = 0; 2 * i < most_; ++i) values_[i] = values_[2 * i];
            values_.resize((most_ + 1) / 2);
            stride_ *= 2;
            if ((seen_ - 1) % stride_ != 0) return;
        }
        values_.push_back(value);
    }
    const Values& values() const { return values_; }

private:
    std::size_t most_;
    std::size_t stride_{1};
    std::uint64_t seen_{0};
    Values values_;
};

/// The value that a share q of the sorted values does not exceed.
inline double quantile(const Values& sorted, double q) {
    if (sorted.empty()) return 0;
    const auto index = static_cast<std::size_t>(q * static_cast<double>(sorted.size()));
    return sorted[std::min(index, sorted.size() - 1)];
}

struct SampleSet {
    Values single;                         ///< one call each, not preempted
    Values batched;                        ///< batches of calls, not preempted; empty for calls that are long enough
    Values preempted;                      ///< one call each
    float longest{0};                      ///< of all single calls that were not preempted, also those that were thinned out
    std::uint64_t calls{0};                ///< single calls that were timed
    std::uint64_t preempted_calls{0};      ///< of all calls, kept apart
    std::uint64_t slept{0};                ///< of all calls, in which the thread gave the core up; in `single`
    std::uint64_t slept_and_preempted{0};  ///< of all calls, in which the core was taken away as well; in `single`
    std::uint64_t preempted_batches{0};    ///< dropped
    std::uint64_t failed{0};               ///< looks that got nothing
    Values repetition_p50;                 ///< of each repetition; 0 if it has no sample
    Values repetition_p999;                ///< of each repetition; 0 if it has fewer than 1000 single calls

    const Values& typical() const { return batched.empty() ? single : batched; }

    void append(const SampleSet& other) {
        const auto add = [](Values& to, const Values& from) { to.insert(to.end(), from.begin(), from.end()); };
        add(single, other.single);
        add(batched, other.batched);
        add(preempted, other.preempted);
        longest = std::max(longest, other.longest);
        calls += other.calls;
        preempted_calls += other.preempted_calls;
        slept += other.slept;
        slept_and_preempted += other.slept_and_preempted;
        preempted_batches += other.preempted_batches;
        failed += other.failed;
    }
    /// Appends all samples of one repetition and notes its quantiles.
    void append_repetition(const SampleSet& other) {
        append(other);
        const auto quantile_of = [](Values values, double q, std::size_t least) {
            std::sort(values.begin(), values.end());
            return values.size() < least ? 0.f : static_cast<float>(quantile(values, q));
        };
        repetition_p50.push_back(quantile_of(other.typical(), 0.5, 1));
        repetition_p999.push_back(quantile_of(other.single, 0.999, 1000));
    }
};

/// What the scheduler did during a call.
struct Disturbance {
    bool slept, preempted;
    bool only_preempted() const { return preempted && !slept; }
};

/// Times calls of the current thread; keeps at most `most` of each kind, evenly over the time, and does not allocate
/// meanwhile.
class Sampler {
public:
    static constexpr int kBatch = 16;
    explicit Sampler(std::size_t most) : single_(most), batched_(most), preempted_(most) {}

    /// Times one call of `call`. The switches are counted from right before it: what the thread does between two samples may
    /// sleep or be preempted.
    template <class Call>
    Disturbance single(Call&& call) {
        const Switches before = switches();
        const auto start = SteadyClock::now();
        call();
        const auto end = SteadyClock::now();
        const Disturbance disturbed = switches() - before;
        const float value = nanoseconds(end - start);
        ++counts_.calls;
        if (disturbed.slept) ++counts_.slept;
        if (disturbed.slept && disturbed.preempted) ++counts_.slept_and_preempted;
        if (disturbed.only_preempted()) {
            ++counts_.preempted_calls;
            preempted_.keep(value);
        } else {
            counts_.longest = std::max(counts_.longest, value);
            single_.keep(value);
        }
        return disturbed;
    }

    /// Times kBatch calls in a row. Only for calls that do not sleep of their own accord for long.
    template <class Call>
    Disturbance batch(Call&& call) {
        const Switches before = switches();
        const auto start = SteadyClock::now();
        for (int i = 0; i < kBatch; ++i) call();
        const auto end = SteadyClock::now();
        const Disturbance disturbed = switches() - before;
        if (disturbed.only_preempted()) ++counts_.preempted_batches;
        else batched_.keep(nanoseconds(end - start) / kBatch);
        return disturbed;
    }

    /// A look that got nothing.
    void count_failed() { ++counts_.failed; }

    SampleSet samples() const {
        SampleSet all = counts_;
        all.single = single_.values();
        all.batched = batched_.values();
        all.preempted = preempted_.values();
        return all;
    }

private:
    struct Switches {
        long voluntary, involuntary;
        Disturbance operator-(const Switches& before) const {
            return {voluntary != before.voluntary, involuntary != before.involuntary};
        }
    };
    static Switches switches() {
        rusage usage{};
        ::getrusage(RUSAGE_THREAD, &usage);
        return {usage.ru_nvcsw, usage.ru_nivcsw};
    }
    static float nanoseconds(SteadyClock::duration time) {
        return static_cast<float>(std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
    }

    SampleSet counts_;
    ThinnedValues single_, batched_, preempted_;
};

}  // namespace chiral::bench
