// SPDX-License-Identifier: Apache-2.0
// What the engine is compared with is correct, and so is the sampling: numbers of wrong code would be worth nothing.
#include "comparators/all.hpp"
#include "samples.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace chiral::bench {
namespace {

using Words = std::vector<std::uint64_t>;

const std::byte* bytes_of(const Words& words) { return reinterpret_cast<const std::byte*>(words.data()); }

// The number that all words of a value have; -1 if they differ.
std::int64_t number_in(std::span<const std::byte> bytes) {
    Words words(bytes.size() / sizeof(std::uint64_t));
    std::memcpy(words.data(), bytes.data(), bytes.size());
    for (const std::uint64_t word : words)
        if (word != words.front()) return -1;
    return static_cast<std::int64_t>(words.front());
}

template <class Channel>
class AComparator : public ::testing::Test {};

// Without those that show their readers nothing (memcpy) or write nothing (in place).
using Complete = ::testing::Types<EngineChannel, MutexChannel, InheritingMutexChannel, SharedMutexChannel, SharedPtrSwap,
                                  TripleBuffer, Seqlock, BoostQueueChannel, MoodycamelChannel>;
struct Name {
    template <class Channel>
    static std::string GetName(int) {
        return Channel::name;
    }
};
TYPED_TEST_SUITE(AComparator, Complete, Name);

TYPED_TEST(AComparator, ShowsEachReaderTheLatestValue) {
    constexpr std::size_t size = 512;
    TypeParam channel(size * sizeof(std::uint64_t), 2);
    typename TypeParam::Reader first(channel), second(channel);
    Words words(size, 0);
    for (std::uint64_t number = 1; number <= 1000; ++number) {
        std::fill(words.begin(), words.end(), number);
        channel.update(bytes_of(words));
        if (number % 3 != 0) continue;  // some are never looked at
        EXPECT_EQ(number_in(first.look()), static_cast<std::int64_t>(number));
        first.release();
        if (number % 2 != 0) continue;
        EXPECT_EQ(number_in(second.look()), static_cast<std::int64_t>(number));
        second.release();
    }
    EXPECT_EQ(number_in(second.look()), 1000) << "also to a reader that has not looked for long";
    second.release();
    EXPECT_EQ(number_in(second.look()), 1000) << "and again when nothing new has come";
    second.release();
}

TYPED_TEST(AComparator, KeepsWhatAReaderHolds) {
    constexpr std::size_t size = 512;
    TypeParam channel(size * sizeof(std::uint64_t), 2);
    typename TypeParam::Reader first(channel), second(channel);
    Words words(size, 1);
    channel.update(bytes_of(words));
    const std::span<const std::byte> held = first.look();
    for (std::uint64_t number = 2; number <= 100; ++number) {
        std::fill(words.begin(), words.end(), number);
        channel.update(bytes_of(words));
        EXPECT_EQ(number_in(second.look()), static_cast<std::int64_t>(number));
        second.release();
    }
    EXPECT_EQ(number_in(held), 1);
    first.release();
}

// Two readers beside a writer that never pauses. What they see is whole, never gets older, and is the last value in the end.
TYPED_TEST(AComparator, IsNeverTornUnderLoad) {
    constexpr std::size_t size = 4096;
    constexpr int readers = 2;
    constexpr std::uint64_t updates = 4000;
    TypeParam channel(size * sizeof(std::uint64_t), readers);
    std::vector<std::unique_ptr<typename TypeParam::Reader>> reading;
    for (int i = 0; i < readers; ++i) reading.push_back(std::make_unique<typename TypeParam::Reader>(channel));
    std::atomic<bool> over{false};
    std::atomic<int> started{0};
    std::atomic<std::uint64_t> looks{0}, torn{0}, older{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < readers; ++i)
        threads.emplace_back([&, i] {
            std::int64_t newest = 0;
            ++started;
            while (!over.load()) {
                const std::span<const std::byte> seen = reading[static_cast<std::size_t>(i)]->look();
                if (!seen.empty()) {
                    const std::int64_t number = number_in(seen);
                    if (number < 0) ++torn;
                    else if (number < newest) ++older;
                    newest = std::max(newest, number);
                    ++looks;
                }
                reading[static_cast<std::size_t>(i)]->release();
            }
        });
    Words words(size);
    while (started < readers) std::this_thread::yield();
    for (std::uint64_t number = 1; number <= updates; ++number) {
        std::fill(words.begin(), words.end(), number);
        channel.update(bytes_of(words));
        if (number % 16 == 0) std::this_thread::yield();  // so that a lock that prefers the writer lets the readers in
    }
    over = true;
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(torn.load(), 0u);
    EXPECT_EQ(older.load(), 0u);
    EXPECT_GT(looks.load(), 0u);
    std::fill(words.begin(), words.end(), updates + 1);
    channel.update(bytes_of(words));
    for (auto& reader : reading) {
        EXPECT_EQ(number_in(reader->look()), static_cast<std::int64_t>(updates + 1));
        reader->release();
    }
}

TEST(TheEngineInPlace, PublishesTheHeadOfTheUpdate) {
    EngineInPlace channel(4096, 1);
    EngineInPlace::Reader reader(channel);
    Words words(512, 7);
    channel.update(bytes_of(words));
    const std::span<const std::byte> seen = reader.look();
    EXPECT_EQ(number_in(seen.first(EngineInPlace::kHead)), 7);
    reader.release();
}

// A reader whose copy is overtaken gives it up, and gets the next value.
TEST(TheSeqlock, CopiesAgainWhenAnUpdateCameInTheMiddle) {
    Seqlock channel(4096 * sizeof(std::uint64_t), 1);
    Seqlock::Reader reader(channel);
    Words words(4096, 1);
    channel.update(bytes_of(words));
    int pauses = 0;
    const std::span<const std::byte> seen = reader.look([&] {
        if (++pauses > 3) return;
        std::fill(words.begin(), words.end(), 1 + static_cast<std::uint64_t>(pauses));
        channel.update(bytes_of(words));
    });
    EXPECT_EQ(number_in(seen), 4);
    EXPECT_EQ(pauses, 4);
    EXPECT_TRUE(reader.look([&] { channel.update(bytes_of(words)); }).empty()) << "not for ever";
}

TEST(ThinnedValues, KeepsAllWhileThereIsRoomAndThenEveryOtherOneOfTheWholeTime) {
    ThinnedValues values(8);
    for (int i = 0; i < 8; ++i) values.keep(static_cast<float>(i));
    EXPECT_EQ(values.values(), (Values{0, 1, 2, 3, 4, 5, 6, 7}));
    const float* memory = values.values().data();
    for (int i = 8; i < 16; ++i) values.keep(static_cast<float>(i));
    EXPECT_EQ(values.values(), (Values{0, 2, 4, 6, 8, 10, 12, 14}));
    for (int i = 16; i < 100; ++i) values.keep(static_cast<float>(i));
    EXPECT_EQ(values.values(), (Values{0, 16, 32, 48, 64, 80, 96}));
    EXPECT_EQ(values.values().data(), memory) << "nothing was allocated meanwhile";
}

TEST(ASampler, CountsASleepInTheCallAndNoneBesideIt) {
    Sampler sampler(8);
    const auto sleep = [] { std::this_thread::sleep_for(std::chrono::milliseconds(1)); };
    EXPECT_TRUE(sampler.single(sleep).slept);
    sleep();
    EXPECT_FALSE(sampler.single([] {}).slept);
    const SampleSet samples = sampler.samples();
    EXPECT_EQ(samples.calls, 2u);
    EXPECT_EQ(samples.slept, 1u);
    EXPECT_EQ(samples.single.size() + samples.preempted_calls, 2u);
    EXPECT_GE(samples.longest, 1e6);
}

TEST(CopyWithPause, CopiesAllAndPausesInTheMiddle) {
    const Words from{1, 2, 3, 4};
    Words to(4, 0), at_pause;
    copy_with_pause(reinterpret_cast<std::byte*>(to.data()), bytes_of(from), 32, [&] { at_pause = to; });
    EXPECT_EQ(to, from);
    EXPECT_EQ(at_pause, (Words{1, 2, 0, 0}));
    to.assign(4, 0);
    copy_with_pause(reinterpret_cast<std::byte*>(to.data()), bytes_of(from), 32, NoPause{});
    EXPECT_EQ(to, from);
}

}  // namespace
}  // namespace chiral::bench
