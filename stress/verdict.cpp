// SPDX-License-Identifier: Apache-2.0
#include "verdict.hpp"

#include "duration_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace chiral::stress {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// Shadow memory makes slots that are read elsewhere dearer to write than the canary's: 2.5 times at the median, 11 times
// in the tail of many cameras on a busy machine, with nothing wrong. Delays are judged by the build without sanitizers.
constexpr int kCpuFactor = 16;
constexpr int kWallFactor = 16;
#else
constexpr int kCpuFactor = 2;
constexpr int kWallFactor = 3;
#endif

// The readers pull the slots into their caches, so a copy into a slot is slower than one into private memory even where
// nobody waits for anybody: hence the factors.
constexpr Limits kWallLimits{kWallFactor, std::chrono::microseconds(20), std::chrono::milliseconds(1),
                             std::chrono::milliseconds(250)};
// Preemption does not show in cpu time, so less is forgiven.
constexpr Limits kCpuLimits{kCpuFactor, std::chrono::microseconds(20), std::chrono::microseconds(300),
                            std::chrono::milliseconds(50)};
// Waking up is the kernel's work and comes before the engine is called. It can be the engine's fault only where an update
// lasted into the next period.
constexpr Limits kWakeLimits{3, std::chrono::milliseconds(5), std::chrono::milliseconds(50), std::chrono::milliseconds(250)};
constexpr std::uint64_t kFewestToJudge = 50;
// Calls that may sleep whatever the canary does: a page that the system moved, say.
constexpr std::uint64_t kSleepFactor = 3;
constexpr std::uint64_t kSleepsAllowed = 2;
#ifdef __SANITIZE_THREAD__
// ThreadSanitizer's runtime takes locks of its own in every shared access, and sometimes sleeps on them.
constexpr std::uint64_t kUpdatesPerExcusedSleep = 50;
#else
constexpr std::uint64_t kUpdatesPerExcusedSleep = 1000;
#endif

class Judge {
public:
    Judge(const Options& options, const RunResult& result) : options_(options), result_(result) {}

    Verdict judge() {
        for (const std::string& error : result_.errors) verdict_.failures.push_back(error);
        if (result_.stuck) {  // what its threads measured is still theirs
            verdict_.promises.push_back({"every thread comes back from the engine", result_.errors.front(), false});
            return std::move(verdict_);
        }
        checked_something();
        sources_move();
        contents();
        steps();
        if (!options_.cameras.empty()) kind("camera", options_.camera_hz, result_.cameras, result_.camera_sources);
        if (!options_.proprios.empty()) kind("proprio", options_.proprio_hz, result_.proprios, result_.proprio_sources);
        for (const FaultOutcome& outcome : result_.faults) fault(outcome);
        if (result_.server) half_open(*result_.server);
        for (const Tally* tally : tallies())
            verdict_.failures.insert(verdict_.failures.end(), tally->examples.begin(), tally->examples.end());
        return std::move(verdict_);
    }

private:
    void add(std::string promise, std::string measured, bool kept) {
        if (!kept) verdict_.failures.push_back(fmt::format("{}: {}", promise, measured));
        verdict_.promises.push_back({std::move(promise), std::move(measured), kept});
    }

    // Of all who looked, in whatever way and process.
    std::vector<const Tally*> tallies() const {
        std::vector<const Tally*> all{&result_.looks};
        for (const std::optional<Tally>* of_a_client : {&result_.observations, &result_.direct})
            if (*of_a_client) all.push_back(&**of_a_client);
        return all;
    }
    std::uint64_t total(std::uint64_t Tally::*count) const {
        std::uint64_t sum = 0;
        for (const Tally* tally : tallies()) sum += tally->*count;
        return sum;
    }

    void checked_something() {
        add("every reader made snapshots",
            fmt::format("{} ({:.0f}/s), {} of them checked in full, {} after being held", result_.looks.looks,
                        static_cast<double>(result_.looks.looks) / std::max(result_.seconds, 1e-9), result_.looks.full_looks,
                        result_.readers.holds),
            result_.every_reader_checked && result_.looks.looks > 0);
        if (!result_.observations) return;
        add(fmt::format("observations arrive over {}", to_string(options_.transport)),
            fmt::format("{}, all checked in full; {:.0f} MB, {} images older than 3 periods", result_.observations->looks,
                        static_cast<double>(result_.ws.bytes) / 1e6, result_.ws.old_images),
            result_.observations->looks > 0);
        if (!result_.direct) return;
        add("a client in another process reads directly",
            fmt::format("{} looks ({:.0f}/s), {} of them checked in full, {} after being held", result_.direct->looks,
                        static_cast<double>(result_.direct->looks) / std::max(result_.seconds, 1e-9),
                        result_.direct->full_looks, result_.direct_times.holds),
            result_.direct->full_looks > 0);
    }

    void fault(const FaultOutcome& outcome) {
        // Who ends the run early does not let it happen.
        add(fmt::format("fault {} happens", outcome.name),
            outcome.problem.empty() ? outcome.measured : fmt::format("{}; {}", outcome.problem, outcome.measured),
            (outcome.happened > 0 || result_.interrupted) && outcome.problem.empty());
        const auto mb = [](std::size_t bytes) { return static_cast<double>(bytes) / 1e6; };
        const std::size_t margin = memory_margin(options_.cameras);
        add(fmt::format("{}: memory stays flat", outcome.name),
            fmt::format("{:.1f} MB while it went on, {:.1f} MB at its end; {:.1f} more are allowed",
                        mb(outcome.resident_before), mb(outcome.resident_after), mb(margin)),
            outcome.resident_after <= outcome.resident_before + margin);
        add(fmt::format("{}: a newcomer is served afterwards", outcome.name),
            outcome.not_resumed.empty() ? "fresh and coherent" : outcome.not_resumed,
            outcome.not_resumed.empty() || result_.interrupted);
    }

    void half_open(const ServerStats& server) {
        const Duration limit = ServerOptions{}.heartbeat_timeout;
        add("links that are dead are found in time",
            server.half_open == 0 ? "there was none"
                                  : fmt::format("{}, after {} at the longest; {} are allowed", server.half_open,
                                                text(server.longest_half_open), text(limit)),
            server.longest_half_open <= limit);
    }

    void sources_move() {
        std::string frozen;
        for (const Tally* tally : tallies())
            for (const std::string& source : tally->frozen_sources)
                if (frozen.find(source) == std::string::npos) (frozen += frozen.empty() ? "" : ", ") += source;
        add("no source is frozen", frozen.empty() ? "all move on" : frozen + " shows the same content for ever",
            total(&Tally::frozen) == 0);
    }

    void contents() {
        const std::uint64_t torn = total(&Tally::torn);
        add("a buffer is what one update wrote (I1)", fmt::format("{} torn", torn), torn == 0);
        const std::uint64_t incoherent = total(&Tally::incoherent);
        if (options_.writes == Writes::frame)
            add("the buffers of a camera are one frame (I3)", fmt::format("{} incoherent", incoherent), incoherent == 0);
        else
            add("the buffers of a camera were current together (I2)",
                fmt::format("{} incoherent; {} held two frames, which update_* allows", incoherent, total(&Tally::mixed)),
                incoherent == 0);
        const std::uint64_t backwards = total(&Tally::backwards);
        add("no reader goes back in time", fmt::format("{} went back", backwards), backwards == 0);
        const std::uint64_t stale = total(&Tally::stale);
        add("a snapshot shows what was published before it", fmt::format("{} stale", stale), stale == 0);
    }

    void steps() {
        const auto bounded = [&](const char* promise, std::uint32_t most, std::uint32_t bound) {
            if (bound == 0) add(promise, "this engine promises none", true);
            else add(promise, fmt::format("at most {} of {}", most, bound), most <= bound);
        };
        bounded("steps of a writer are bounded (I4)",
                std::max(result_.cameras.writers.max_steps, result_.proprios.writers.max_steps), result_.writer_step_bound);
        bounded("steps of a reader are bounded (I5)", result_.readers.max_steps, result_.reader_step_bound);
    }

    void kind(const char* name, double hz, const KindTimes& times, const std::vector<SourceCount>& sources) {
        const WriterTimes& writers = times.writers;
        const WriterTimes& canaries = times.canaries;
        const std::uint64_t updates = writers.update.calls();

        // The canary waits for nobody either, so what makes it sleep makes the writers sleep as often.
        const std::uint64_t allowed = allowed_sleeps(updates, canaries.update.slept);
        add(fmt::format("{} writers wait for nobody (I4)", name),
            fmt::format("slept in {} of {} updates; canary {} of {}", writers.update.slept, updates, canaries.update.slept,
                        canaries.update.calls()),
            writers.update.slept <= allowed);

        const auto compare = [&](const char* promise, const Histogram& mine, const Histogram& canary, const Limits& limits) {
            const std::string excess = excess_over_canary(mine, canary, limits);
            add(fmt::format("{} {}", name, promise),
                !excess.empty() ? excess
                : updates < kFewestToJudge
                    ? fmt::format("{} updates are too few to judge", updates)
                    : fmt::format("p99 {}, canary {}", text(mine.quantile(0.99)), text(canary.quantile(0.99))),
                excess.empty());
        };
        compare("updates are not delayed", writers.update.wall, canaries.update.wall, kWallLimits);
        compare("updates do not spin (cpu time)", writers.update.cpu, canaries.update.cpu, kCpuLimits);
        compare("writers wake on time", writers.lateness, canaries.lateness, kWakeLimits);

        // Coarse, because on a busy machine the kernel starves now this thread, now that one.
        const auto slowest = std::ranges::min_element(sources, {}, &SourceCount::hz);
        const double canary_hz = std::ranges::min_element(sources, {}, &SourceCount::canary_hz)->canary_hz;
        const double one_update = 1.0 / std::max(result_.writing_seconds, 1e-9);
        add(fmt::format("{}s keep their rate", name),
            fmt::format("slowest '{}' {:.1f} Hz, slowest canary {:.1f}, asked {:g}", slowest->name, slowest->hz, canary_hz,
                        hz),
            2 * (slowest->hz + one_update) >= canary_hz);
    }

    const Options& options_;
    const RunResult& result_;
    Verdict verdict_;
};

}  // namespace

std::uint64_t allowed_sleeps(std::uint64_t updates, std::uint64_t canary_slept) {
    return kSleepFactor * canary_slept + kSleepsAllowed + updates / kUpdatesPerExcusedSleep;
}

std::string excess_over_canary(const Histogram& under_test, const Histogram& canary, const Limits& limits) {
    if (under_test.count() < kFewestToJudge || canary.count() < kFewestToJudge) return {};
    const auto excess = [&](const char* what, Nanoseconds mine, Nanoseconds its, Nanoseconds margin) {
        if (mine <= limits.factor * its + margin) return std::string();
        return fmt::format("{} {}, canary {}: allowed is {}x + {}", what, text(mine), text(its), limits.factor,
                           text(margin));
    };
    // Of few calls, one in a hundred is one or two: the ninth-longest says more.
    const auto tail = [](const Histogram& h) { return h.all_but(std::max<std::uint64_t>(h.count() / 100, 8)); };

    std::string found = excess("p50", under_test.quantile(0.5), canary.quantile(0.5), limits.median_margin);
    // Where about one call in a hundred is preempted, the 99 % quantile falls on either side of that by chance. So the
    // writers must also exceed what only one in a thousand of the canary's calls exceeded.
    if (found.empty() && tail(under_test) > canary.quantile(0.999))
        found =
            excess(under_test.count() < 800 ? "ninth-longest" : "p99", tail(under_test), tail(canary), limits.tail_margin);
    if (found.empty()) found = excess("longest", under_test.max(), canary.max(), limits.longest_margin);
    return found;
}

std::string describe_rules() {
    const auto line = [](const char* what, const Limits& limits) {
        return fmt::format("      {:<9}above {}x the canary's + {} at p50, + {} at p99, + {} at the longest\n", what,
                           limits.factor, text(limits.median_margin), text(limits.tail_margin), text(limits.longest_margin));
    };
    return fmt::format(
               "  - A source frozen: its content is the same still after {} newer frames or samples were published.\n",
               kFrozenAfter) +
           "  - A buffer torn, incoherent, backwards or stale; a bound on steps exceeded; an update refused; a thread that\n"
           "    ended in an error or did not end; a reader without a full check; no observation of its client.\n"
           "  - A fault that was asked for: it did not happen, memory grew by more than 2 MiB and two observations while "
           "it\n"
           "    went on, or a new reader and a new client got no fresh and coherent observation afterwards.\n"
           "  - Writers delayed by readers. Beside every writer a canary does the same, at the same rate, with memory that\n"
           "    nobody reads: it shows the noise of the machine. Of each update the wall clock time and the thread's own "
           "cpu\n"
           "    time are taken, and whether the thread slept in it: preemption is no sleep, so that tells waiting for a "
           "lock\n"
           "    from a busy machine.\n" +
           fmt::format("      {:<9}in more than {}x the canary's + {} + one in {} updates\n", "sleep", kSleepFactor,
                       kSleepsAllowed, kUpdatesPerExcusedSleep) +
           line("wall", kWallLimits) + line("cpu", kCpuLimits) + line("wake-up", kWakeLimits) +
           fmt::format("      {:<9}of the slowest source below half of the slowest canary's\n", "rate") +
           fmt::format(
               "    p99 must exceed the canary's p99.9 as well, and is the ninth-longest of fewer than 800 updates;\n"
               "    fewer than {} are not judged.\n",
               kFewestToJudge);
}

Verdict judge(const Options& options, const RunResult& result) { return Judge(options, result).judge(); }

}  // namespace chiral::stress
