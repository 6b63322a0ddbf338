// SPDX-License-Identifier: Apache-2.0
// Proprioception streams, one thread: the ring of remembered samples, the latest one, and interpolation in time.
#include "engine_state.hpp"
#include "support.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace chiral::test {
namespace {

EngineOptions with_history(std::size_t samples) {
    EngineOptions options = with_readers(1);
    options.proprio_history = samples;
    return options;
}

/// A stream of one value, and what is read of it at a time.
class Stream {
public:
    explicit Stream(std::size_t history = 16) : engine({}, {{"arm", 1}}, with_history(history)) {}
    void push(std::int64_t time, float value) { ASSERT_TRUE(engine.update_proprio(0, &value, 1, at_ns(time)).ok()); }
    /// The value at `time`; how it came to be is kept in `how`, and its stamp in `stamp`.
    float at(std::int64_t time) {
        float value = -999;
        how = engine.proprio_at(0, at_ns(time), {&value, 1}, &stamp);
        return value;
    }
    float latest() {
        float value = -999;
        how = engine.latest_proprio(0, {&value, 1}, &stamp);
        return value;
    }

    Engine engine;
    ProprioRead how{};
    Stamp stamp;
};

TEST(AStream, ThatIsEmptyReadsAsZeros) {
    Stream stream;
    EXPECT_EQ(stream.latest(), 0.f);
    EXPECT_EQ(stream.how, ProprioRead::empty);
    EXPECT_EQ(stream.stamp.sequence, 0u);
    EXPECT_EQ(stream.at(5), 0.f);
    EXPECT_EQ(stream.how, ProprioRead::empty);
}

TEST(AStream, GivesItsLatestSample) {
    Stream stream;
    for (int i = 1; i <= 100; ++i) {
        stream.push(10 * i, static_cast<float>(i));
        EXPECT_EQ(stream.latest(), static_cast<float>(i));
        EXPECT_EQ(stream.how, ProprioRead::latest);
        EXPECT_EQ(stream.stamp.sequence, static_cast<std::uint64_t>(i));
        EXPECT_EQ(stream.stamp.captured, at_ns(10 * i));
    }
}

TEST(AStream, InterpolatesBetweenTheTwoSamplesAroundATime) {
    Stream stream;
    stream.push(1000, 10);
    stream.push(2000, 20);
    stream.push(3000, -20);
    EXPECT_FLOAT_EQ(stream.at(1001), 10.01f);
    EXPECT_EQ(stream.how, ProprioRead::interpolated);
    EXPECT_FLOAT_EQ(stream.at(1500), 15.f);
    EXPECT_EQ(stream.stamp.sequence, 2u) << "the later one of the pair";
    EXPECT_EQ(stream.stamp.captured, at_ns(1500)) << "the time that was asked for";
    EXPECT_FLOAT_EQ(stream.at(2250), 10.f);
    EXPECT_FLOAT_EQ(stream.at(2999), -19.96f);
}

TEST(AStream, GivesASampleItselfAtItsExactTime) {
    Stream stream;
    stream.push(1000, 10);
    stream.push(2000, 20);
    stream.push(3000, 40);
    EXPECT_EQ(stream.at(1000), 10.f);
    EXPECT_EQ(stream.how, ProprioRead::interpolated);
    EXPECT_EQ(stream.at(2000), 20.f);
    EXPECT_EQ(stream.at(3000), 40.f);
    EXPECT_EQ(stream.how, ProprioRead::latest);
}

TEST(AStream, GivesItsOldestOrNewestSampleOutsideOfWhatItRemembers) {
    Stream stream;
    stream.push(1000, 10);
    EXPECT_EQ(stream.at(999), 10.f);
    EXPECT_EQ(stream.how, ProprioRead::before_oldest);
    EXPECT_EQ(stream.at(1001), 10.f);
    EXPECT_EQ(stream.how, ProprioRead::after_newest);
    EXPECT_EQ(stream.stamp.captured, at_ns(1000)) << "its own time, not the one asked for";
    stream.push(2000, 20);
    EXPECT_EQ(stream.at(999), 10.f);
    EXPECT_EQ(stream.how, ProprioRead::before_oldest);
    EXPECT_EQ(stream.stamp.sequence, 1u);
    EXPECT_EQ(stream.at(2001), 20.f);
    EXPECT_EQ(stream.how, ProprioRead::after_newest);
    EXPECT_EQ(stream.at(TimePoint::min().time_since_epoch().count()), 10.f);
    EXPECT_EQ(stream.at(TimePoint::max().time_since_epoch().count()), 20.f);
}

TEST(AStream, RemembersAsManySamplesAsItsHistoryAndNoMore) {
    for (const std::size_t asked : {2u, 3u, 7u, 8u, 256u}) {
        Stream stream(asked);
        const std::size_t history = std::bit_ceil(asked);
        for (std::size_t pushed = 1; pushed <= 3 * history + 1; ++pushed) {
            stream.push(static_cast<std::int64_t>(1000 * pushed), static_cast<float>(pushed));
            const std::size_t oldest = pushed > history ? pushed - history + 1 : 1;
            EXPECT_EQ(stream.at(0), static_cast<float>(oldest)) << history << " after " << pushed;
            EXPECT_EQ(stream.how, ProprioRead::before_oldest);
            if (pushed == 1) continue;
            // Between the oldest two, around the end of the ring as well as within it.
            EXPECT_FLOAT_EQ(stream.at(static_cast<std::int64_t>(1000 * oldest + 500)), static_cast<float>(oldest) + 0.5f);
            EXPECT_EQ(stream.how, ProprioRead::interpolated);
        }
    }
}

TEST(AStream, AnswersAtEveryTimeWithinItsHistory) {
    Stream stream(64);
    for (int i = 1; i <= 200; ++i) stream.push(100 * i, static_cast<float>(100 * i));
    for (std::int64_t time = 100 * 137; time <= 100 * 200; time += 7)
        EXPECT_FLOAT_EQ(stream.at(time), static_cast<float>(time));
}

TEST(AStream, WithSamplesCapturedAtOneTimeGivesTheLastOfThem) {
    Stream stream;
    stream.push(1000, 1);
    stream.push(2000, 2);
    stream.push(2000, 3);
    stream.push(2000, 4);
    EXPECT_EQ(stream.at(2000), 4.f);
    EXPECT_EQ(stream.how, ProprioRead::latest);
    stream.push(3000, 8);
    EXPECT_EQ(stream.at(2000), 4.f);
    EXPECT_FLOAT_EQ(stream.at(2500), 6.f) << "from the last of the equal ones on";
    EXPECT_FLOAT_EQ(stream.at(1500), 1.5f) << "up to the first of them";
}

TEST(AStream, WhoseCaptureTimesGoBackAnswersFromTheNewestPairAroundATime) {
    Stream stream;
    stream.push(1000, 1);
    stream.push(5000, 5);
    stream.push(2000, 20);  // the sensor's clock was set back
    stream.push(4000, 40);
    EXPECT_FLOAT_EQ(stream.at(3000), 30.f);
    EXPECT_EQ(stream.how, ProprioRead::interpolated);
    // Never NaN, never outside the two samples it was made of, at any time.
    for (std::int64_t time = 0; time <= 6000; time += 50) {
        const float value = stream.at(time);
        EXPECT_GE(value, 1.f) << time;
        EXPECT_LE(value, 40.f) << time;
    }
    EXPECT_EQ(stream.at(4500), 40.f);
    EXPECT_EQ(stream.how, ProprioRead::after_newest);
}

TEST(AStream, InterpolatesExtremeValuesWithoutOverflow) {
    Stream stream;
    constexpr float kMax = std::numeric_limits<float>::max();
    stream.push(0, -kMax);
    stream.push(1000, kMax);
    EXPECT_NEAR(stream.at(500) / kMax, 0.f, 1e-6f);
    EXPECT_EQ(stream.at(1000), kMax);
}

TEST(AStream, OfAnySizeIsReadBackWhole) {
    for (const int size : {1, 2, 3, 7, 8, 63, 64, 65, 4095, 4096}) {
        Engine engine({}, {{"arm", size}}, with_history(3));
        Reader reader = engine.make_reader();
        std::vector<float> first(static_cast<std::size_t>(size)), second = first, out = first;
        for (std::size_t i = 0; i < first.size(); ++i) {
            first[i] = static_cast<float>(i + 1);
            second[i] = -2.f * static_cast<float>(i + 1);
        }
        ASSERT_TRUE(engine.update_proprio(0, first.data(), first.size(), at_ns(1000)).ok());
        ASSERT_EQ(engine.latest_proprio(0, out), ProprioRead::latest);
        EXPECT_EQ(out, first) << size;
        ASSERT_TRUE(engine.update_proprio(0, second.data(), second.size(), at_ns(2000)).ok());
        const Snapshot snapshot = reader.snapshot();
        EXPECT_TRUE(std::ranges::equal(snapshot.proprio(0).values(), second)) << size;
        ASSERT_EQ(engine.proprio_at(0, at_ns(1500), out), ProprioRead::interpolated);
        for (std::size_t i = 0; i < out.size(); ++i) ASSERT_FLOAT_EQ(out[i], -0.5f * static_cast<float>(i + 1)) << size;
    }
}

TEST(AStream, DoesNotWriteBeyondTheBufferItIsGiven) {
    Engine engine({}, {{"arm", 3}}, with_history(4));
    const float values[] = {1, 2, 3};
    for (int i = 1; i <= 5; ++i) ASSERT_TRUE(engine.update_proprio(0, values, 3, at_ns(1000 * i)).ok());
    float out[] = {-7, -7, -7, -7, -7};
    static_cast<void>(engine.latest_proprio(0, {out + 1, 3}));
    EXPECT_EQ(out[0], -7.f);
    EXPECT_EQ(out[4], -7.f);
    static_cast<void>(engine.proprio_at(0, at_ns(4500), {out + 1, 3}));
    EXPECT_EQ(out[0], -7.f);
    EXPECT_EQ(out[4], -7.f);
}

// The ring's newest guard says what a writer leaves that overtakes every attempt to read.
TEST(AStream, ThatOverranItsReaderIsSaidToBeMissedOnceASampleIsSeenAgain) {
    std::byte* memory = nullptr;
    EngineOptions options = with_readers(1);
    options.memory = [&](std::size_t bytes) {
        memory = static_cast<std::byte*>(std::aligned_alloc(4096, bytes));
        std::memset(memory, 0, bytes);
        return std::shared_ptr<std::byte>(memory, [](std::byte* all) { std::free(all); });
    };
    const std::vector<ProprioConfig> streams{{"arm", 1}};
    Engine engine({}, streams, options);
    Reader reader = engine.make_reader();
    std::uint64_t newest = 0;
    const auto publish = [&](int samples) {
        for (int i = 0; i < samples; ++i) {
            const float value = static_cast<float>(++newest);
            ASSERT_TRUE(engine.update_proprio(0, &value, 1).ok());
        }
    };
    const auto missed = [&](ProprioRead how) {
        const Snapshot snapshot = reader.snapshot();
        EXPECT_EQ(snapshot.proprio(0).how(), how);
        return snapshot.proprio(0).missed();
    };
    publish(1);
    EXPECT_EQ(missed(ProprioRead::latest), 0u);
    publish(4);
    EXPECT_EQ(missed(ProprioRead::latest), 3u);
    publish(2);
    const detail::ProprioLayout layout = detail::EngineLayout({}, streams, options).proprios[0];
    std::byte* const guard = memory + layout.cells + newest * (1 + layout.words) * sizeof(std::uint64_t);
    const std::uint64_t complete = 2 * newest + 2, being_written = complete + 1;
    ASSERT_EQ(std::memcmp(guard, &complete, sizeof complete), 0);
    std::memcpy(guard, &being_written, sizeof being_written);
    for (int look = 0; look < 2; ++look) EXPECT_EQ(missed(ProprioRead::overrun), 0u) << "not those of the look before again";
    std::memcpy(guard, &complete, sizeof complete);
    EXPECT_EQ(missed(ProprioRead::latest), 1u);
}

TEST(AStream, BesideAnotherDoesNotMixWithIt) {
    Engine engine({}, {{"left", 5}, {"right", 3}, {"grip", 1}}, with_history(4));
    Reader reader = engine.make_reader();
    for (std::uint64_t n = 1; n <= 50; ++n) {
        const std::vector<float> left(5, static_cast<float>(n)), right(3, static_cast<float>(1000 + n));
        ASSERT_TRUE(engine.update_proprio(0, left.data(), 5).ok());
        if (n % 3 == 0) {
            ASSERT_TRUE(engine.update_proprio(1, right.data(), 3).ok());
        }
        const Snapshot snapshot = reader.snapshot();
        EXPECT_EQ(number_in(snapshot.proprio(0).values()), n);
        EXPECT_EQ(number_in(snapshot.proprio(1).values()), n < 3 ? 0 : 1000 + n / 3 * 3);
        EXPECT_EQ(number_in(snapshot.proprio(2).values()), 0u);
        EXPECT_EQ(snapshot.proprio(1).sequence(), n / 3);
    }
}

TEST(AStream, ThatDoesNotExistOrIsReadWithTheWrongSizeThrows) {
    Engine engine({}, {{"arm", 3}}, with_history(4));
    float out[4];
    EXPECT_THROW(static_cast<void>(engine.latest_proprio(1, {out, 3})), std::out_of_range);
    EXPECT_THROW(static_cast<void>(engine.proprio_at(1, at_ns(0), {out, 3})), std::out_of_range);
    for (const std::size_t size : {0u, 2u, 4u}) {
        try {
            static_cast<void>(engine.latest_proprio(0, {out, size}));
            FAIL() << size;
        } catch (const std::invalid_argument& error) {
            const std::string message = error.what();
            EXPECT_NE(message.find("'arm'"), std::string::npos) << message;
            EXPECT_NE(message.find("got " + std::to_string(size)), std::string::npos) << message;
            EXPECT_NE(message.find("expected 3"), std::string::npos) << message;
        }
        EXPECT_THROW(static_cast<void>(engine.proprio_at(0, at_ns(0), {out, size})), std::invalid_argument);
    }
}

}  // namespace
}  // namespace chiral::test
