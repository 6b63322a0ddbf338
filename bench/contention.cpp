#include "contention.hpp"

#include "comparators/all.hpp"
#include "lane.hpp"

#include <fmt/format.h>

#include <functional>
#include <optional>

namespace chiral::bench {
namespace {

// A comparator in one case; what is measured knows its type, what drives it does not.
struct AnyLane {
    std::string name;
    std::function<void()> repeat;
    std::function<SampleSet&()> writer, reader;
    std::function<int()> starved;
};

std::vector<AnyLane> lanes_of(const ContentionCase& setup) {
    std::vector<AnyLane> lanes;
    AllChannels::for_each([&]<class Channel> {
        auto lane = std::make_shared<Lane<Channel>>(setup.bytes, setup.readers);
        lanes.push_back({Channel::name, [lane, setup] { lane->repeat(setup); },
                         [lane]() -> SampleSet& { return lane->writer; }, [lane]() -> SampleSet& { return lane->reader; },
                         [lane] { return lane->starved; }});
    });
    return lanes;
}

std::string describe(const ContentionCase& setup) {
    return fmt::format("contention, {} bytes, {} reader{}, {}, {}", setup.bytes, setup.readers, setup.readers == 1 ? "" : "s",
                       setup.pace == WriterPace::flat_out ? "flat out" : "at rate", to_string(setup.load));
}

Json row_of(const char* experiment, const std::string& comparator, std::size_t bytes, int readers) {
    return {{"experiment", experiment}, {"comparator", comparator}, {"bytes", bytes}, {"readers", readers}};
}

constexpr std::chrono::milliseconds kStop{20};
constexpr int kStops = 5;

// Stops a reader in the middle of a look, and keeps of each stop the longest update that began during it, in nanoseconds,
// apart from those in which the writer was preempted.
template <class Channel>
struct HoldUp {
    Values longest;
    std::uint64_t updates{0};
    std::uint64_t preempted{0};

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
        SampleSet samples;
        Sampler sampler(samples, std::size_t{1} << 18);
        while (!over.load()) {
            sampler.single([&] { channel.update(source.data()); });
            ++updates;
        }
        reading.join();
        unpin();
        preempted += samples.preempted.size();
        longest.push_back(samples.single.empty() ? 0 : *std::max_element(samples.single.begin(), samples.single.end()));
    }
};

}  // namespace

double contention_work(const Plan& plan) {
    double work = 0;
    for (const ContentionCase& setup : plan.contention)
        AllChannels::for_each([&]<class Channel> { work += plan.repetitions * (static_cast<double>(setup.repetition.count()) + 0.5); });
    return work;
}

void measure_contention(const Plan& plan, ProgressLine& progress, Json& rows) {
    for (const ContentionCase& setup : plan.contention) {
        std::vector<AnyLane> lanes = lanes_of(setup);
        {
            std::optional<BusyCores> busy;
            if (setup.load == Load::busy) busy.emplace();
            for (int repetition = 0; repetition < plan.repetitions; ++repetition)
                for (std::size_t i = 0; i < lanes.size(); ++i) {
                    // By turns, and each time another one first: what the machine does meanwhile meets all alike.
                    AnyLane& lane = lanes[(i + static_cast<std::size_t>(repetition)) % lanes.size()];
                    lane.repeat();
                    progress.step(static_cast<double>(setup.repetition.count()) + 0.5, describe(setup));
                }
        }
        for (AnyLane& lane : lanes)
            for (const bool writer : {true, false}) {
                if (!writer && setup.readers == 0) continue;
                Json row = row_of("contention", lane.name, setup.bytes, setup.readers);
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
    AllChannels::for_each([&]<class Channel> { work += static_cast<double>(plan.hold_up_bytes.size()) * kStops * 21; });
    return work;
}

void measure_hold_up(const Plan& plan, ProgressLine& progress, Json& rows) {
    for (const std::size_t bytes : plan.hold_up_bytes)
        AllChannels::for_each([&]<class Channel> {
            HoldUp<Channel> hold_up;
            for (int i = 0; i < kStops; ++i) {
                hold_up.measure(bytes);
                progress.step(21, fmt::format("a stopped reader, {}", Channel::name));
            }
            std::sort(hold_up.longest.begin(), hold_up.longest.end());
            Json row = row_of("hold_up", Channel::name, bytes, 1);
            row["reader_stopped_ns"] = std::chrono::nanoseconds(kStop).count();
            row["stops"] = kStops;
            row["updates"] = hold_up.updates;
            row["preempted"] = hold_up.preempted;
            row["longest_update_p50_ns"] = quantile(hold_up.longest, 0.5);
            row["longest_update_max_ns"] = hold_up.longest.back();
            rows.push_back(std::move(row));
        });
}

}  // namespace chiral::bench
