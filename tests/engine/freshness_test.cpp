// SPDX-License-Identifier: Apache-2.0
// never / fresh / stale / frozen: how a reader tells a source that stopped from one that repeats itself.
#include "support.hpp"

#include <gtest/gtest.h>

namespace chiral::test {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kFrozenAfter = 5;
// The content of the first repeated frame has to be read as a whole before later ones can be compared to it.
constexpr int kAtMostThisMany = static_cast<int>(kFrozenAfter) + 2;

class TheStatusOfACamera : public ::testing::Test {
protected:
    Engine engine{{camera("wrist", 120, 160)}, {}, options()};
    Reader reader = engine.make_reader();
    std::vector<std::uint8_t> image = std::vector<std::uint8_t>(120 * 160 * 3);

    static EngineOptions options() {
        EngineOptions o = with_readers(1);
        o.now = &HandClock::now;
        o.camera_stale_after = milliseconds(200);
        o.camera_frozen_after = kFrozenAfter;
        return o;
    }
    void SetUp() override {
        HandClock::set(TimePoint(std::chrono::hours(1)));
        for (std::size_t i = 0; i < image.size(); ++i) image[i] = static_cast<std::uint8_t>(i * 31 + i / 480);
    }
    void publish() {
        HandClock::advance(milliseconds(33));
        ASSERT_TRUE(engine.update_image(0, image.data(), image.size()).ok());
    }
    SourceStatus look() { return reader.snapshot().camera(0).status(); }
    // Publishes what is in `image` and looks, `frames` times or until it is frozen; how many it took, or -1.
    int frames_until_frozen(int frames = 100) {
        for (int i = 1; i <= frames; ++i) {
            publish();
            if (look() == SourceStatus::frozen) return i;
        }
        return -1;
    }
};

TEST_F(TheStatusOfACamera, GoesFromNeverToFreshWithTheFirstImage) {
    EXPECT_EQ(look(), SourceStatus::never);
    HandClock::advance(std::chrono::hours(1));
    EXPECT_EQ(look(), SourceStatus::never) << "silence is not staleness";
    publish();
    EXPECT_EQ(look(), SourceStatus::fresh);
}

TEST_F(TheStatusOfACamera, IsStaleWhenItsImageIsOlderThanTheLimitAndFreshAgainWithTheNextOne) {
    publish();
    HandClock::advance(milliseconds(200));
    EXPECT_EQ(look(), SourceStatus::fresh) << "exactly at the limit";
    HandClock::advance(Duration(1));
    EXPECT_EQ(look(), SourceStatus::stale);
    EXPECT_EQ(look(), SourceStatus::stale);
    image[0] ^= 1;
    publish();
    EXPECT_EQ(look(), SourceStatus::fresh);
}

TEST_F(TheStatusOfACamera, IsStaleWhenAnOldCaptureIsPublishedLate) {
    ASSERT_TRUE(engine.update_image(0, image.data(), image.size(), HandClock::now() - milliseconds(201)).ok());
    EXPECT_EQ(look(), SourceStatus::stale);
}

TEST_F(TheStatusOfACamera, IsFrozenWhenItsContentNoLongerChanges) {
    const int frames = frames_until_frozen();
    EXPECT_GT(frames, static_cast<int>(kFrozenAfter)) << "not before that many frames repeated the one before";
    EXPECT_LE(frames, kAtMostThisMany);
    publish();
    EXPECT_EQ(look(), SourceStatus::frozen) << "and stays so";
}

TEST_F(TheStatusOfACamera, IsFrozenWhenItsCaptureTimeNoLongerChanges) {
    const TimePoint captured = HandClock::now();
    int frames = 0;
    SourceStatus status = SourceStatus::never;
    while (status != SourceStatus::frozen && frames < 100) {
        ++frames;
        HandClock::advance(milliseconds(1));
        image[0] = static_cast<std::uint8_t>(frames);  // the pixels do change
        ASSERT_TRUE(engine.update_image(0, image.data(), image.size(), captured).ok());
        status = look();
    }
    EXPECT_EQ(frames, static_cast<int>(kFrozenAfter) + 1);
}

TEST_F(TheStatusOfACamera, RecoversFromFrozenWithTheFirstFrameThatDiffers) {
    ASSERT_GT(frames_until_frozen(), 0);
    image[image.size() / 2] ^= 0x10;
    publish();
    EXPECT_EQ(look(), SourceStatus::fresh);
    const int frames = frames_until_frozen();
    EXPECT_GE(frames, static_cast<int>(kFrozenAfter)) << "counts from the beginning again";
    EXPECT_LE(frames, kAtMostThisMany);
}

TEST_F(TheStatusOfACamera, IsNotFrozenWhileASmallObjectMovesOnAStillBackground) {
    for (int i = 0; i < 100; ++i) {
        // One pixel lights up and walks along a row: the smallest movement there is.
        image[static_cast<std::size_t>(3 * (160 * 60 + i))] ^= 0x40;
        publish();
        ASSERT_EQ(look(), SourceStatus::fresh) << "frame " << i;
    }
}

TEST_F(TheStatusOfACamera, IsNotFrozenWhicheverByteChanges) {
    for (std::size_t byte = 0; byte < image.size(); byte += kSanitized ? 4999 : 499) {
        ASSERT_GT(frames_until_frozen(kAtMostThisMany), 0);
        image[byte] ^= 1;
        publish();
        ASSERT_EQ(look(), SourceStatus::fresh) << "byte " << byte;
    }
}

TEST_F(TheStatusOfACamera, IsStaleRatherThanFrozenWhenTheFramesStop) {
    ASSERT_GT(frames_until_frozen(), 0);
    HandClock::advance(milliseconds(201));
    EXPECT_EQ(look(), SourceStatus::stale);
    publish();
    EXPECT_EQ(look(), SourceStatus::frozen) << "back with the same picture";
}

TEST_F(TheStatusOfACamera, DoesNotFreezeByLookingAgainAtOneFrame) {
    publish();
    for (int i = 0; i < 100; ++i) {
        const Snapshot snapshot = reader.snapshot();
        ASSERT_EQ(snapshot.camera(0).status(), SourceStatus::fresh);
        ASSERT_EQ(snapshot.camera(0).status(), SourceStatus::fresh);
    }
}

TEST_F(TheStatusOfACamera, IsFrozenByWhatWasSeenInARowAndNotByWhatWasSkipped) {
    // Distances without a common divisor: no alternation can have hidden between the looks.
    for (const int published : {21, 20, 21, 20, 19}) {
        for (int i = 0; i < published; ++i) publish();
        EXPECT_EQ(look(), SourceStatus::fresh) << "a few equal images in a row were seen, whatever lay between";
    }
}

TEST_F(TheStatusOfACamera, IsNotFrozenWhileTwoImagesAlternateAndTheReaderSeesOneOfThem) {
    for (int i = 0; i < 100; ++i) {
        image[0] ^= 1;
        publish();
        if (i % 2 == 0) {
            ASSERT_EQ(look(), SourceStatus::fresh) << "image " << i;
        }
    }
}

TEST_F(TheStatusOfACamera, IsFrozenForAReaderThatLooksAtOddTimesToo) {
    int looks = 0;
    while (looks < 100 && look() != SourceStatus::frozen) {
        for (int i = 0; i < 2 + looks % 2; ++i) publish();
        ++looks;
    }
    EXPECT_GE(looks, static_cast<int>(kFrozenAfter));
    EXPECT_LE(looks, kAtMostThisMany + 1);
}

// ---- clocks that are not ours ----

TEST_F(TheStatusOfACamera, WhoseClockIsAheadIsAheadWhileItLivesAndStaleWhenItDied) {
    for (const Duration ahead : {Duration(std::chrono::seconds(5)), Duration(std::chrono::hours(24 * 365 * 50))}) {
        image[0] ^= 1;
        HandClock::advance(milliseconds(33));
        ASSERT_TRUE(engine.update_image(0, image.data(), image.size(), HandClock::now() + ahead).ok());
        EXPECT_EQ(look(), SourceStatus::ahead);
        HandClock::advance(milliseconds(200));
        EXPECT_EQ(look(), SourceStatus::ahead);
        EXPECT_EQ(reader.snapshot().camera(0).age(), Duration(milliseconds(200))) << "since it was published";
        HandClock::advance(Duration(1));
        EXPECT_EQ(look(), SourceStatus::stale);
    }
    EXPECT_STREQ(to_string(SourceStatus::ahead), "ahead");
}

TEST_F(TheStatusOfACamera, IsFreshIfItsClockIsAheadByNoMoreThanTheTolerance) {
    const Duration tolerance = engine.options().capture_ahead_tolerance;
    ASSERT_TRUE(engine.update_image(0, image.data(), image.size(), HandClock::now() + tolerance).ok());
    EXPECT_EQ(look(), SourceStatus::fresh);
    image[0] ^= 1;
    ASSERT_TRUE(engine.update_image(0, image.data(), image.size(), HandClock::now() + tolerance + Duration(1)).ok());
    EXPECT_EQ(look(), SourceStatus::ahead);
}

TEST_F(TheStatusOfACamera, OfTheEarliestAndLatestTimesThereAreIsJudgedWithoutOverflow) {
    ASSERT_TRUE(engine.update_image(0, image.data(), image.size(), TimePoint::min()).ok());
    {
        const Snapshot snapshot = reader.snapshot();
        EXPECT_EQ(snapshot.camera(0).status(), SourceStatus::stale);
        EXPECT_EQ(snapshot.camera(0).age(), Duration::max());
        EXPECT_EQ(snapshot.camera(0).skew(), Duration::min());
    }
    ASSERT_TRUE(engine.update_image(0, image.data(), image.size(), TimePoint::max()).ok());
    const Snapshot snapshot = reader.snapshot(TimePoint::min());
    EXPECT_EQ(snapshot.camera(0).status(), SourceStatus::ahead);
    EXPECT_EQ(snapshot.camera(0).age(), Duration(0));
    EXPECT_EQ(snapshot.camera(0).skew(), Duration::max());
}

TEST(ADifferenceOfTimes, SaturatesAtBothEnds) {
    EXPECT_EQ(difference(at_ns(7), at_ns(-3)), Duration(10));
    EXPECT_EQ(difference(TimePoint::max(), TimePoint::min()), Duration::max());
    EXPECT_EQ(difference(TimePoint::min(), TimePoint::max()), Duration::min());
    EXPECT_EQ(difference(TimePoint::min(), TimePoint::min()), Duration(0));
}

TEST(AnInterpolation, BetweenTheEarliestAndTheLatestTimeIsFiniteAndBetweenTheirValues) {
    EngineOptions options = with_readers(1);
    options.now = &HandClock::now;
    HandClock::set(at_ns(0));
    Engine engine({}, {{"arm", 1}}, options);
    const float before = 1, after = 3;
    ASSERT_TRUE(engine.update_proprio(0, &before, 1, TimePoint::min()).ok());
    ASSERT_TRUE(engine.update_proprio(0, &after, 1, TimePoint::max()).ok());
    float value = 0;
    ASSERT_EQ(engine.proprio_at(0, at_ns(0), {&value, 1}), ProprioRead::interpolated);
    EXPECT_GE(value, before);
    EXPECT_LE(value, after);
}

// ---- limits of one source ----

TEST(LimitsOfOneSource, AreThreePeriodsWhereItIsSlowerThanTheEngines) {
    EngineOptions options = with_readers(1);
    options.now = &HandClock::now;
    options.camera_stale_after = milliseconds(200);
    options.proprio_stale_after = milliseconds(200);
    HandClock::set(TimePoint(std::chrono::hours(1)));
    CameraConfig slow = camera("slow"), quick = camera("quick"), told = camera("told");
    slow.expected_hz = told.expected_hz = 10;  // stale after 300 ms
    quick.expected_hz = 100;                   // 200 ms, not 30
    told.stale_after = milliseconds(250);
    ProprioConfig battery{"battery", 1};
    battery.expected_hz = 1;
    Engine engine({slow, quick, told}, {battery}, options);
    Reader reader = engine.make_reader();
    const std::vector<std::uint8_t> image(45);
    const float volts = 48;
    for (std::size_t c = 0; c < 3; ++c) ASSERT_TRUE(engine.update_image(c, image.data(), image.size()).ok());
    ASSERT_TRUE(engine.update_proprio(0, &volts, 1).ok());
    using enum SourceStatus;
    struct Look {
        int after_ms;
        std::array<SourceStatus, 4> seen;
    };
    int now = 0;
    for (const Look& look : {Look{199, {fresh, fresh, fresh, fresh}}, Look{240, {fresh, stale, fresh, fresh}},
                             Look{299, {fresh, stale, stale, fresh}}, Look{301, {stale, stale, stale, fresh}},
                             Look{2999, {stale, stale, stale, fresh}}, Look{3001, {stale, stale, stale, stale}}}) {
        HandClock::advance(milliseconds(look.after_ms - std::exchange(now, look.after_ms)));
        const Snapshot snapshot = reader.snapshot();
        SCOPED_TRACE(look.after_ms);
        for (std::size_t c = 0; c < 3; ++c) EXPECT_EQ(snapshot.camera(c).status(), look.seen[c]) << "camera " << c;
        EXPECT_EQ(snapshot.proprio(0).status(), look.seen[3]);
    }
}

TEST(LimitsOfOneSource, ReplaceThoseOfTheEngineForIt) {
    EngineOptions options = with_readers(1);
    options.now = &HandClock::now;
    HandClock::set(TimePoint(std::chrono::hours(1)));
    CameraConfig slow = camera("slow");
    slow.stale_after = std::chrono::seconds(3);
    CameraConfig still = camera("still");
    still.frozen_after = 0;
    ProprioConfig wheel{"wheel", 1};
    wheel.frozen_after = 3;
    wheel.stale_after = std::chrono::seconds(3);
    Engine engine({camera("usual"), slow, still}, {{"gripper", 1}, wheel}, options);
    Reader reader = engine.make_reader();
    const std::vector<std::uint8_t> image(45);
    const float at_rest = 0;
    const auto publish = [&] {
        HandClock::advance(milliseconds(10));
        for (std::size_t c = 0; c < 3; ++c) ASSERT_TRUE(engine.update_image(c, image.data(), image.size()).ok());
        for (std::size_t p = 0; p < 2; ++p) ASSERT_TRUE(engine.update_proprio(p, &at_rest, 1).ok());
    };
    const auto expect = [&](std::array<SourceStatus, 3> cameras, std::array<SourceStatus, 2> streams) {
        const Snapshot snapshot = reader.snapshot();
        for (std::size_t c = 0; c < 3; ++c) EXPECT_EQ(snapshot.camera(c).status(), cameras[c]) << "camera " << c;
        for (std::size_t p = 0; p < 2; ++p) EXPECT_EQ(snapshot.proprio(p).status(), streams[p]) << "stream " << p;
    };
    using enum SourceStatus;
    publish();
    expect({fresh, fresh, fresh}, {fresh, fresh});
    for (int i = 0; i < 1000; ++i) {
        publish();
        for (std::size_t c = 0; c < 3; ++c) static_cast<void>(reader.snapshot().camera(c).status());
        for (std::size_t p = 0; p < 2; ++p) static_cast<void>(reader.snapshot().proprio(p).status());
    }
    expect({frozen, frozen, fresh}, {fresh, frozen});
    HandClock::advance(std::chrono::seconds(1));
    expect({stale, frozen, stale}, {stale, frozen});
}

TEST_F(TheStatusOfACamera, IsFrozenByItsImageAlone) {
    ASSERT_GT(frames_until_frozen(), 0);
    std::vector<std::uint8_t> depth(120 * 160 * sizeof(float));
    for (int i = 0; i < 10; ++i) {
        depth[0] = static_cast<std::uint8_t>(i);
        ASSERT_TRUE(engine.update_depth(0, depth.data(), depth.size()).ok());
        publish();
        EXPECT_EQ(look(), SourceStatus::frozen);
    }
}

TEST(TheStatusOfATinyCamera, IsFrozenAndRecoversLikeAnyOther) {
    EngineOptions options = with_readers(1);
    options.now = &HandClock::now;
    options.camera_frozen_after = kFrozenAfter;
    Engine engine({camera("spot", 1, 1, 1, false)}, {}, options);
    Reader reader = engine.make_reader();
    std::uint8_t pixel = 7;
    const auto publish_and_look = [&] {
        HandClock::advance(milliseconds(1));
        EXPECT_TRUE(engine.update_image(0, &pixel, 1).ok());
        return reader.snapshot().camera(0).status();
    };
    for (int i = 0; i < kAtMostThisMany; ++i) publish_and_look();
    EXPECT_EQ(publish_and_look(), SourceStatus::frozen);
    ++pixel;
    EXPECT_EQ(publish_and_look(), SourceStatus::fresh);
}

TEST(TheStatusOfACameraThatIsNeverFrozen, StaysFreshOnAStillImage) {
    EngineOptions options = with_readers(1);
    options.camera_frozen_after = 0;
    options.camera_stale_after = std::chrono::hours(1);
    Engine engine({camera()}, {}, options);
    Reader reader = engine.make_reader();
    const std::vector<std::uint8_t> image(45);
    for (int i = 0; i < 100; ++i) {
        EXPECT_TRUE(engine.update_image(0, image.data(), image.size(), at_ns(Clock::now().time_since_epoch().count())).ok());
        ASSERT_EQ(reader.snapshot().camera(0).status(), SourceStatus::fresh);
    }
}

TEST(TheStatusOfAStream, GoesThroughNeverFreshStaleAndFrozen) {
    EngineOptions options = with_readers(1);
    options.now = &HandClock::now;
    options.proprio_stale_after = milliseconds(50);
    options.proprio_frozen_after = 20;
    Engine engine({}, {{"arm", 3}}, options);
    Reader reader = engine.make_reader();
    const auto look = [&] { return reader.snapshot().proprio(0).status(); };
    float values[] = {1, 2, 3};
    const auto publish_and_look = [&] {
        HandClock::advance(milliseconds(1));
        EXPECT_TRUE(engine.update_proprio(0, values, 3).ok());
        return look();
    };
    EXPECT_EQ(look(), SourceStatus::never);
    EXPECT_EQ(publish_and_look(), SourceStatus::fresh);
    HandClock::advance(milliseconds(50));
    EXPECT_EQ(look(), SourceStatus::fresh);
    HandClock::advance(milliseconds(1));
    EXPECT_EQ(look(), SourceStatus::stale);
    int samples = 0;
    while (samples < 100 && publish_and_look() != SourceStatus::frozen) ++samples;
    EXPECT_GE(samples, 17);
    EXPECT_LE(samples, 22);
    values[2] += 1e-6f;
    EXPECT_EQ(publish_and_look(), SourceStatus::fresh);
}

// A gripper at rest repeats its numbers for minutes.
TEST(TheStatusOfAStream, AtRestStaysFreshUnlessALimitIsSetForIt) {
    EngineOptions options = with_readers(1);
    options.now = &HandClock::now;
    HandClock::set(TimePoint(std::chrono::hours(1)));
    ProprioConfig watched{"watched", 1};
    watched.frozen_after = 20;
    Engine engine({}, {{"gripper", 1}, watched}, options);
    Reader reader = engine.make_reader();
    const float closed = 0.04f;
    for (int sample = 0; sample < 5000; ++sample) {
        HandClock::advance(milliseconds(2));
        for (std::size_t i = 0; i < 2; ++i) ASSERT_TRUE(engine.update_proprio(i, &closed, 1).ok());
        ASSERT_EQ(reader.snapshot().proprio(0).status(), SourceStatus::fresh) << "sample " << sample;
        static_cast<void>(reader.snapshot().proprio(1).status());
    }
    EXPECT_EQ(reader.snapshot().proprio(1).status(), SourceStatus::frozen);
}

TEST(TheStatusOfAStream, ThatMovesIsNeverFrozenHoweverFastItComes) {
    EngineOptions options = with_readers(1);
    options.proprio_stale_after = std::chrono::hours(1);
    options.proprio_frozen_after = 2;
    Engine engine({}, {{"arm", 1}}, options);
    Reader reader = engine.make_reader();
    const std::int64_t start = Clock::now().time_since_epoch().count();
    for (int i = 1; i <= 200; ++i) {
        const float value = static_cast<float>(i);
        EXPECT_TRUE(engine.update_proprio(0, &value, 1, at_ns(start + i)).ok());
        ASSERT_EQ(reader.snapshot().proprio(0).status(), SourceStatus::fresh);
    }
}

}  // namespace
}  // namespace chiral::test
