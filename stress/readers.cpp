// SPDX-License-Identifier: Apache-2.0
#include "readers.hpp"

#include <algorithm>
#include <optional>

namespace chiral::stress {

void read_store(StoreReader& reader, LookChecker& checker, const Progress& progress, const ReaderPlan& plan,
                const std::atomic<bool>& stop, LiveCounts& live, ReaderTimes& times) {
    using std::chrono::steady_clock;
    const SteadyTime began = steady_clock::now();
    std::optional<Pacer> pacer;
    if (plan.hz > 0) pacer.emplace(Nanoseconds(static_cast<std::int64_t>(1e9 / plan.hz)), began);
    SteadyTime next_hold = began + plan.hold_every;
    Nanoseconds in_full_checks{0};
    Floor floor;

    while (!stop.load(std::memory_order_relaxed)) {
        if (pacer) pacer->wait(stop);
        progress.read(floor);
        const SteadyTime before = steady_clock::now();
        const Look& look = reader.look();
        const SteadyTime after = steady_clock::now();
        times.look.record(after - before);
        times.max_steps = std::max(times.max_steps, look.steps);

        const bool hold = plan.hold.count() > 0 && after >= next_hold;
        if (hold) {
            sleep_until(after + plan.hold, stop);
            next_hold = steady_clock::now() + plan.hold_every;
            ++times.holds;
        }
        if (hold || in_full_checks * 8 <= after - began) {
            const SteadyTime start = steady_clock::now();
            checker.check(look, floor, true);
            in_full_checks += steady_clock::now() - start;
        } else {
            checker.check(look, floor, false);
        }
        if (!reader.release()) checker.lent_slot_was_written();
        live.show(checker.tally());
    }
}

}  // namespace chiral::stress
