// SPDX-License-Identifier: Apache-2.0
#include "contention.hpp"

#include "comparators/all.hpp"
#include "lane.hpp"

#include <fmt/format.h>

#include <functional>
#include <optional>

namespace chiral::bench {
namespace {

// A comparator with so many readers in one case; what is measured knows its type, what drives it does not.
struct AnyLane {
    std::string name;
    int readers;
    std::function<void()> repeat;
    std::function<SampleSet&()> writer, reader;
    std::function<int()> starved;
};

// Per comparator one lane for each number of readers.
std::vector<std::vector<AnyLane>> lanes_of(const ContentionCase& setup) {
    std::vector<std::vector<AnyLane>> lanes;
    AllChannels::for_each([&]<class Channel> {
        lanes.emplace_back();
        for (const int readers : setup.readers) {
            auto lane = std::make_shared<Lane<Channel>>(setup.bytes, readers);
            lanes.back().push_back({Channel::name, readers, [lane, setup] { lane->repeat(setup); },
                                    [lane]() -> SampleSet& { return lane->writer; },
                                    [lane]() -> SampleSet& { return lane->reader; }, [lane] { return lane->starved; }});
        }
    });
    return lanes;
}

std::string describe(const ContentionCase& setup) {
    return fmt::format("contention, {} bytes, {} readers, {}, {}", setup.bytes, fmt::join(setup.readers, " and "),
                       setup.pace == WriterPace::flat_out ? "flat out" : "at rate", to_string(setup.load));
}

double repetition_work(const ContentionCase& setup) { return static_cast<double>(setup.repetition.count()) + 2; }

Json row_of(const char* experiment, const std::string& comparator, std::size_t bytes, int readers) {
    return {{"experiment", experiment}, {"comparator", comparator}, {"bytes", bytes}, {"readers", readers}};
}

constexpr std::chrono::milliseconds kStop{20};

// Stops a reader in the middle of a look, and keeps of each stop the longest update that began during it, in nanoseconds,
// apart from those in which the writer was preempted. A stop in which it was preempted in all of them is not kept.
struct HoldUp {
    Values longest;
    std::uint64_t updates{0};
    std::uint64_t preempted{0};
    std::uint64_t slept_and_preempted{0};

    template <class Channel>
    void measure(std::size_t bytes) {
        Channel channel(bytes, 1);
        typename Channel::Reader reader(channel);
        const std::vector<std::byte> source(bytes, std::byte{1});
        channel.update(source.data());
        std::atomic<bool> stopped{false}, over{false};
        std::thread reading([&] {
            pin_reader(0);
            bool first = true;
            reader.look([&] {
                if (!std::exchange(first, false)) return;  // a seqlock's further attempts
                stopped = true;
                const std::atomic<bool> never{false};
                stress::sleep_until(SteadyClock::now() + kStop, never);
                over = true;
            });
            reader.release();
        });
        pin_writer();
        while (!stopped.load()) std::this_thread::yield();
        Sampler sampler(64);  // of which the longest is all that is looked at
        while (!over.load()) sampler.single([&] { channel.update(source.data()); });
        reading.join();
        unpin();
        const SampleSet samples = sampler.samples();
        updates += samples.calls;
        preempted += samples.preempted_calls;
        slept_and_preempted += samples.slept_and_preempted;
        if (samples.calls > samples.preempted_calls) longest.push_back(samples.longest);
    }
};

}  // namespace

double contention_work(const Plan& plan) {
    double work = 0;
    for (const ContentionCase& setup : plan.contention)
        AllChannels::for_each([&]<class Channel> {
            work += plan.repetitions * static_cast<double>(setup.readers.size()) * repetition_work(setup);
        });
    return work;
}

void measure_contention(const Plan& plan, ProgressLine& progress, Json& rows) {
    for (const ContentionCase& setup : plan.contention) {
        std::vector<std::vector<AnyLane>> lanes = lanes_of(setup);
        {
            std::optional<BusyCores> busy;
            if (setup.load == Load::busy) busy.emplace();
            for (int repetition = 0; repetition < plan.repetitions; ++repetition)
                for (std::size_t i = 0; i < lanes.size(); ++i) {
                    // By turns, and each time another one first: what the machine does meanwhile meets all alike.
                    std::vector<AnyLane>& comparator = lanes[(i + static_cast<std::size_t>(repetition)) % lanes.size()];
                    for (std::size_t k = 0; k < comparator.size(); ++k) {
                        comparator[(k + static_cast<std::size_t>(repetition)) % comparator.size()].repeat();
                        progress.step(repetition_work(setup), describe(setup));
                    }
                }
        }
        for (std::vector<AnyLane>& comparator : lanes)
            for (AnyLane& lane : comparator)
                for (const bool writer : {true, false}) {
                    if (!writer && lane.readers == 0) continue;
                    Json row = row_of("contention", lane.name, setup.bytes, lane.readers);
                    row["pace"] = to_string(setup.pace);
                    row["load"] = to_string(setup.load);
                    row["role"] = writer ? "writer" : "reader";
                    row["repetitions"] = plan.repetitions;
                    if (writer) row["starved_repetitions"] = lane.starved();
                    row.update(summarise(std::move(writer ? lane.writer() : lane.reader())));
                    rows.push_back(std::move(row));
                }
    }
}

double hold_up_work(const Plan& plan) {
    double work = 0;
    AllChannels::for_each(
        [&]<class Channel> { work += static_cast<double>(plan.hold_up_bytes.size()) * plan.repetitions * 21; });
    return work;
}

void measure_hold_up(const Plan& plan, ProgressLine& progress, Json& rows) {
    struct AnyHoldUp {
        const char* name;
        HoldUp kept;
        std::function<void(HoldUp&)> measure;
    };
    for (const std::size_t bytes : plan.hold_up_bytes) {
        std::vector<AnyHoldUp> all;
        AllChannels::for_each([&]<class Channel> {
            all.push_back({Channel::name, {}, [bytes](HoldUp& hold_up) { hold_up.measure<Channel>(bytes); }});
        });
        for (int repetition = 0; repetition < plan.repetitions; ++repetition)
            for (std::size_t i = 0; i < all.size(); ++i) {
                AnyHoldUp& one = all[(i + static_cast<std::size_t>(repetition)) % all.size()];
                one.measure(one.kept);
                progress.step(21, fmt::format("a stopped reader, {}", one.name));
            }
        for (AnyHoldUp& one : all) {
            Values& longest = one.kept.longest;
            std::sort(longest.begin(), longest.end());
            Json row = row_of("hold_up", one.name, bytes, 1);
            row["reader_stopped_ns"] = std::chrono::nanoseconds(kStop).count();
            row["stops"] = plan.repetitions;
            row["updates"] = one.kept.updates;
            row["preempted"] = one.kept.preempted;
            row["slept_and_preempted"] = one.kept.slept_and_preempted;
            row["longest_update_p50_ns"] = longest.empty() ? Json(nullptr) : Json(quantile(longest, 0.5));
            row["longest_update_max_ns"] = longest.empty() ? Json(nullptr) : Json(longest.back());
            rows.push_back(std::move(row));
        }
    }
}

}  // namespace chiral::bench
