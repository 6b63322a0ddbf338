// SPDX-License-Identifier: Apache-2.0
// The measuring loops of one comparator: its channel, its readers, and what was sampled so far.
#pragma once

#include "plan.hpp"
#include "samples.hpp"
#include "threads.hpp"

#include "pacer.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

namespace chiral::bench {

/// Reads something of every cache line, as whoever wanted the bytes would.
inline std::uint64_t touch(std::span<const std::byte> bytes) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i + sizeof(std::uint64_t) <= bytes.size(); i += 64) {
        std::uint64_t word;
        std::memcpy(&word, bytes.data() + i, sizeof word);
        sum += word;
    }
    return sum;
}
inline std::atomic<std::uint64_t> touched{0};  // so that touch() is not optimised away

/// Calls shorter than a microsecond are batched: see samples.hpp.
inline constexpr std::size_t kShortBytes = 16384;

template <class Channel>
class Lane {
public:
    Lane(std::size_t bytes, int readers) : bytes_(bytes), channel_(bytes, readers), source_(bytes, std::byte{1}) {
        for (int i = 0; i < readers; ++i) readers_.push_back(std::make_unique<typename Channel::Reader>(channel_));
    }

    /// One repetition: a writer and all readers, for the duration of the case.
    void repeat(const ContentionCase& setup) {
        constexpr std::size_t most = 6000;
        const std::size_t threads = readers_.size() + 1;
        std::latch ready(static_cast<std::ptrdiff_t>(threads));
        // A lock that prefers readers (std::shared_mutex of glibc) never lets the writer in beside enough of them.
        const auto patience = setup.repetition + kPatience;
        std::atomic<bool> stop{false};
        SampleSet writer_samples;
        std::vector<SampleSet> reader_samples(readers_.size());
        std::vector<std::thread> running;
        running.emplace_back([&] {
            pin_writer();
            Sampler sampler(most);
            ready.arrive_and_wait();
            if (write(setup, sampler) >= kPatience) ++starved;
            stop = true;
            writer_samples = sampler.samples();
        });
        for (std::size_t i = 0; i < readers_.size(); ++i)
            running.emplace_back([&, i] {
                pin_reader(i);
                Sampler sampler(most);
                ready.arrive_and_wait();
                read(setup, i, sampler, stop, SteadyClock::now() + patience);
                reader_samples[i] = sampler.samples();
            });
        for (std::thread& thread : running) thread.join();
        SampleSet all_readers;
        for (const SampleSet& samples : reader_samples) all_readers.append(samples);
        writer.append_repetition(writer_samples);
        reader.append_repetition(all_readers);
    }

    SampleSet writer, reader;
    /// Repetitions whose last update ended, as far as anybody can tell, only because the readers were stopped: it took that
    /// long, and not because the core was taken away.
    int starved{0};

private:
    static constexpr std::chrono::milliseconds kPatience{30};

    // 64 bytes are a joint state at 1 kHz. Images come at 500 Hz, which is faster than cameras are: a run must end, and there
    // must be enough updates for a p99.9.
    std::chrono::nanoseconds period() const {
        return bytes_ < kShortBytes ? std::chrono::microseconds(1000) : std::chrono::microseconds(2000);
    }
    // Each reader has a period of its own, none a multiple of another or of the writer's, so that looks fall at all times
    // of an update and on each other. Large images are looked at less often, or else copying them, where a design needs that,
    // would be more than the readers' core can do.
    std::chrono::nanoseconds reader_period(std::size_t index) const {
        const auto period = std::chrono::microseconds(3700) + static_cast<int>(index) * std::chrono::microseconds(310);
        return bytes_ > 2 * kVgaBytes ? 7 * period : period;
    }

    /// Returns how long the last update took; 0 if it was preempted.
    SteadyClock::duration write(const ContentionCase& setup, Sampler& sampler) {
        const auto update = [this] { channel_.update(source_.data()); };
        const std::atomic<bool> never{false};
        const auto start = SteadyClock::now();
        SteadyClock::time_point before, after;
        Disturbance last{};
        stress::Pacer pacer(period(), start);
        do {
            if (setup.pace == WriterPace::at_rate) pacer.wait(never);
            before = SteadyClock::now();
            last = sampler.single(update);
            after = SteadyClock::now();
            if (bytes_ < kShortBytes && setup.pace == WriterPace::flat_out) {
                before = after;
                last = sampler.batch(update);
                after = SteadyClock::now();
            }
        } while (after - start < setup.repetition);
        return last.only_preempted() ? SteadyClock::duration::zero() : after - before;
    }

    void read(const ContentionCase& setup, std::size_t index, Sampler& sampler, const std::atomic<bool>& stop,
              SteadyClock::time_point end) {
        typename Channel::Reader& from = *readers_[index];
        std::uint64_t sum = 0;
        stress::Pacer pacer(reader_period(index), SteadyClock::now() + reader_period(index) / 2);
        while (!stop.load(std::memory_order_relaxed) && SteadyClock::now() < end) {
            if (setup.pace == WriterPace::at_rate) pacer.wait(stop);
            std::span<const std::byte> seen;
            sampler.single([&] { seen = from.look(); });
            if (seen.empty()) sampler.count_failed();
            sum += touch(seen);
            from.release();
            if (bytes_ < kShortBytes && setup.pace == WriterPace::flat_out)
                sampler.batch([&] {
                    if (from.look().empty()) sampler.count_failed();
                    from.release();
                });
        }
        touched.fetch_add(sum, std::memory_order_relaxed);
    }

    std::size_t bytes_;
    Channel channel_;
    std::vector<std::byte> source_;
    std::vector<std::unique_ptr<typename Channel::Reader>> readers_;
};

}  // namespace chiral::bench
