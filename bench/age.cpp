// SPDX-License-Identifier: Apache-2.0
#include "age.hpp"

#include "comparators/all.hpp"
#include "threads.hpp"

#include "pacer.hpp"

#include <fmt/format.h>

#include <functional>
#include <memory>
#include <thread>
#include <utility>

namespace chiral::bench {
namespace {

// The bare memcpy shows its readers nothing, so there is no age.
using Shown = ChannelList<EngineChannel, EngineInPlace, MutexChannel, InheritingMutexChannel, SharedMutexChannel,
                          SharedPtrSwap, TripleBuffer, Seqlock, BoostQueueChannel, MoodycamelChannel>;

std::int64_t now_ns() { return std::chrono::nanoseconds(SteadyClock::now().time_since_epoch()).count(); }

template <class Channel>
class AgeLane {
public:
    explicit AgeLane(std::size_t bytes) : channel_(bytes, 1), reader_(channel_), source_(bytes, std::byte{1}) {}

    void repeat(std::chrono::milliseconds duration) {
        std::atomic<bool> stop{false};
        std::thread reading([&] {
            pin_reader(0);
            // What was published before is not new.
            std::int64_t last = captured();
            std::uint64_t looked_at = published_.load(std::memory_order_acquire);
            while (!stop.load(std::memory_order_relaxed)) {
                const std::uint64_t newest = published_.load(std::memory_order_acquire);
                if (newest == looked_at) continue;
                const std::int64_t seen = captured();
                if (seen == 0) continue;  // the writer was too fast: look again
                looked_at = newest;
                if (seen == last) continue;
                ages.push_back(static_cast<float>(now_ns() - seen));
                last = seen;
            }
        });
        pin_writer();
        const std::atomic<bool> never{false};
        constexpr std::chrono::milliseconds period{5};
        const auto start = SteadyClock::now();
        stress::Pacer pacer(period, start + period);
        while (SteadyClock::now() - start < duration) {
            pacer.wait(never);
            const std::int64_t now = now_ns();
            std::memcpy(source_.data(), &now, sizeof now);
            channel_.update(source_.data());
            published_.fetch_add(1, std::memory_order_release);
        }
        stress::sleep_until(SteadyClock::now() + period, never);  // the reader gets the last one, too
        stop = true;
        reading.join();
        unpin();
    }

    Values ages;

private:
    // Of the value that the reader holds now; 0 if it got none.
    std::int64_t captured() {
        const std::span<const std::byte> seen = reader_.look();
        std::int64_t time = 0;
        if (!seen.empty()) std::memcpy(&time, seen.data(), sizeof time);
        reader_.release();
        return time;
    }

    // Counts the updates, beside the channel: nobody copies megabytes under a lock to find out whether they are new. Its release
    // pairs with the reader's acquire; the value itself is the channel's affair.
    alignas(64) std::atomic<std::uint64_t> published_{0};
    alignas(64) Channel channel_;
    typename Channel::Reader reader_;
    std::vector<std::byte> source_;
};

}  // namespace

double ages_work(const Plan& plan) {
    double work = 0;
    Shown::for_each([&]<class Channel> {
        work += static_cast<double>(plan.age_bytes.size()) * plan.repetitions *
                static_cast<double>(plan.age_repetition.count() + 10);
    });
    return work;
}

void measure_ages(const Plan& plan, ProgressLine& progress, Json& rows) {
    for (const std::size_t bytes : plan.age_bytes) {
        struct AnyLane {
            const char* name;
            std::function<void()> repeat;
            std::function<Values&()> ages;
        };
        std::vector<AnyLane> lanes;
        Shown::for_each([&]<class Channel> {
            auto lane = std::make_shared<AgeLane<Channel>>(bytes);
            lanes.push_back({Channel::name, [lane, &plan] { lane->repeat(plan.age_repetition); },
                             [lane]() -> Values& { return lane->ages; }});
        });
        for (int repetition = 0; repetition < plan.repetitions; ++repetition)
            for (std::size_t i = 0; i < lanes.size(); ++i) {
                lanes[(i + static_cast<std::size_t>(repetition)) % lanes.size()].repeat();
                progress.step(static_cast<double>(plan.age_repetition.count() + 10),
                              fmt::format("age at the reader, {} bytes", bytes));
            }
        for (AnyLane& lane : lanes) {
            Json row{{"experiment", "reader_age"},
                     {"comparator", lane.name},
                     {"bytes", bytes},
                     {"repetitions", plan.repetitions}};
            row.update(summarise(std::move(lane.ages())));
            rows.push_back(std::move(row));
        }
    }
}

}  // namespace chiral::bench
