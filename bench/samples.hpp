// What was measured, sample by sample, and the clockwork around the measured calls.
//
// Calls in which the scheduler took the core away (getrusage: involuntary context switches) are kept apart: on a machine
// with fewer cores than threads they measure the machine. Calls in which the thread gave the core up by itself stay:
// sleeping on a lock is what a lock costs.
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

/// The value that a share q of the sorted values does not exceed.
inline double quantile(const Values& sorted, double q) {
    if (sorted.empty()) return 0;
    const auto index = static_cast<std::size_t>(q * static_cast<double>(sorted.size()));
    return sorted[std::min(index, sorted.size() - 1)];
}

struct SampleSet {
    Values single;     ///< one call each, not preempted
    Values batched;    ///< batches of calls, not preempted; empty for calls that are long enough
    Values preempted;  ///< one call each
    std::uint64_t slept{0};   ///< single calls in which the thread gave the core up
    std::uint64_t failed{0};  ///< looks that got nothing
    Values repetition_p50;    ///< of each repetition
    Values repetition_p999;   ///< of each repetition with at least 1000 single calls

    const Values& typical() const { return batched.empty() ? single : batched; }

    void append(const SampleSet& other) {
        const auto add = [](Values& to, const Values& from) { to.insert(to.end(), from.begin(), from.end()); };
        add(single, other.single);
        add(batched, other.batched);
        add(preempted, other.preempted);
        slept += other.slept;
        failed += other.failed;
    }
    /// Appends all samples of one repetition and notes its quantiles.
    void append_repetition(const SampleSet& other) {
        append(other);
        Values sorted = other.typical();
        if (sorted.empty()) return;
        std::sort(sorted.begin(), sorted.end());
        repetition_p50.push_back(static_cast<float>(quantile(sorted, 0.5)));
        sorted = other.single;
        if (sorted.size() < 1000) return;
        std::sort(sorted.begin(), sorted.end());
        repetition_p999.push_back(static_cast<float>(quantile(sorted, 0.999)));
    }
};

/// Times calls of the current thread into a SampleSet; at most `most` of each kind, without allocating.
class Sampler {
public:
    static constexpr int kBatch = 16;
    Sampler(SampleSet& set, std::size_t most) : set_(set), most_(most) {
        set.single.reserve(most);
        set.batched.reserve(most);
        set.preempted.reserve(most);
        before_ = switches();
    }

    /// Times one call of `call`. What else the thread does between two samples may sleep: see rest().
    template <class Call>
    void single(Call&& call) {
        const auto start = SteadyClock::now();
        call();
        const auto end = SteadyClock::now();
        const Switches after = switches();
        const auto value = nanoseconds(end - start);
        const bool slept = after.voluntary != before_.voluntary;
        if (slept) ++set_.slept;
        keep(after.involuntary != before_.involuntary && !slept ? set_.preempted : set_.single, value);
        before_ = after;
    }

    /// Times kBatch calls in a row. Only for calls that do not sleep of their own accord for long.
    template <class Call>
    void batch(Call&& call) {
        const auto start = SteadyClock::now();
        for (int i = 0; i < kBatch; ++i) call();
        const auto end = SteadyClock::now();
        const Switches after = switches();
        if (after.involuntary == before_.involuntary || after.voluntary != before_.voluntary)
            keep(set_.batched, nanoseconds(end - start) / kBatch);
        before_ = after;
    }

    /// After the thread has slept between samples.
    void rest() { before_ = switches(); }

private:
    struct Switches {
        long voluntary, involuntary;
    };
    static Switches switches() {
        rusage usage{};
        ::getrusage(RUSAGE_THREAD, &usage);
        return {usage.ru_nvcsw, usage.ru_nivcsw};
    }
    static float nanoseconds(SteadyClock::duration time) {
        return static_cast<float>(std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
    }
    void keep(Values& values, float value) {
        if (values.size() < most_) values.push_back(value);
    }

    SampleSet& set_;
    std::size_t most_;
    Switches before_{};
};

}  // namespace chiral::bench
