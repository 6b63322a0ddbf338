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
        constexpr std::size_t most = 3000;
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
            Sampler sampler(writer_samples, most);
            ready.arrive_and_wait();
            sampler.rest();
            if (write(setup, sampler) >= kPatience) ++starved;
            stop = true;
        });
        for (std::size_t i = 0; i < readers_.size(); ++i)
            running.emplace_back([&, i] {
                pin_reader(i);
                Sampler sampler(reader_samples[i], most);
                ready.arrive_and_wait();
                sampler.rest();
                read(setup, *readers_[i], sampler, reader_samples[i], stop, SteadyClock::now() + patience);
            });
        for (std::thread& thread : running) thread.join();
        SampleSet all_readers;
        for (const SampleSet& samples : reader_samples) all_readers.append(samples);
        writer.append_repetition(writer_samples);
        reader.append_repetition(all_readers);
    }

    SampleSet writer, reader;
    /// Repetitions whose last update took so long that it probably ended only because the readers were stopped.
    int starved{0};

private:
    static constexpr std::chrono::milliseconds kPatience{30};

    // 64 bytes are a joint state at 1 kHz. Images come at 200 Hz, which is faster than cameras are: the spacing matters, not
    // the rate, and a run must end.
    std::chrono::nanoseconds period() const {
        return bytes_ < kShortBytes ? std::chrono::microseconds(1000) : std::chrono::microseconds(5000);
    }

    /// Returns how long the last update took.
    SteadyClock::duration write(const ContentionCase& setup, Sampler& sampler) {
        const auto update = [this] { channel_.update(source_.data()); };
        const std::atomic<bool> never{false};
        const auto start = SteadyClock::now();
        SteadyClock::time_point before, after;
        stress::Pacer pacer(period(), start);
        do {
            if (setup.pace == WriterPace::at_rate) {
                pacer.wait(never);
                sampler.rest();
            }
            before = SteadyClock::now();
            sampler.single(update);
            after = SteadyClock::now();
            if (bytes_ < kShortBytes && setup.pace == WriterPace::flat_out) {
                before = after;
                sampler.batch(update);
                after = SteadyClock::now();
            }
        } while (after - start < setup.repetition);
        return after - before;
    }

    void read(const ContentionCase& setup, typename Channel::Reader& from, Sampler& sampler, SampleSet& samples,
              const std::atomic<bool>& stop, SteadyClock::time_point end) {
        std::uint64_t sum = 0;
        stress::Pacer pacer(period(), SteadyClock::now() + period() / 2);
        while (!stop.load(std::memory_order_relaxed) && SteadyClock::now() < end) {
            if (setup.pace == WriterPace::at_rate) {
                pacer.wait(stop);
                sampler.rest();
            }
            std::span<const std::byte> seen;
            sampler.single([&] { seen = from.look(); });
            if (seen.empty()) ++samples.failed;
            sum += touch(seen);
            from.release();
            if (bytes_ < kShortBytes && setup.pace == WriterPace::flat_out)
                sampler.batch([&] {
                    if (from.look().empty()) ++samples.failed;
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
