// SPDX-License-Identifier: Apache-2.0
// Snapshots: zero copy, unchanged while they live, and what they tell about numbers and times.
#include "support.hpp"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

namespace chiral::test {
namespace {

using std::chrono::milliseconds;

EngineOptions hand_clock(int readers = 1) {
    EngineOptions options = with_readers(readers);
    options.now = &HandClock::now;
    return options;
}

Status update_number(Engine& engine, std::uint64_t number, std::size_t index = 0) {
    std::array<std::uint8_t, 45> image;
    fill(std::span<std::uint8_t>(image), number);
    return engine.update_image(index, image.data(), image.size());
}

Status commit_number(Engine& engine, std::uint64_t number) {
    Frame frame = engine.begin_frame(0);
    fill(frame.image(), number);
    fill(frame.depth(), static_cast<float>(number));
    frame.set_intrinsics(numbered_K(number));
    frame.set_extrinsics(numbered_T(number));
    return frame.commit();
}

// ---- zero copy ----

TEST(ASnapshot, HandsOutTheVeryMemoryThatTheWriterFilled) {
    Engine engine({camera()}, {}, with_readers(1));
    Reader reader = engine.make_reader();
    for (std::uint64_t n = 1; n <= 10; ++n) {
        Frame frame = engine.begin_frame(0);
        const void* image = frame.image().data();
        const void* depth = frame.depth().data();
        ASSERT_TRUE(frame.commit().ok());
        const Snapshot snapshot = reader.snapshot();
        EXPECT_EQ(snapshot.camera(0).image().data(), image);
        EXPECT_EQ(static_cast<const void*>(snapshot.camera(0).depth().data()), depth);
    }
}

TEST(ASnapshot, StaysUnchangedInPlaceWhileTheWriterGoesOn) {
    Engine engine({camera()}, {{"arm", 2}}, with_readers(1));
    Reader reader = engine.make_reader();
    float arm[] = {1, 1};
    commit_number(engine, 1);
    EXPECT_TRUE(engine.update_proprio(0, arm, 2).ok());
    const Snapshot snapshot = reader.snapshot();
    const Contents pinned = contents_of(snapshot);
    const void* where = snapshot.camera(0).image().data();
    const std::uint64_t updates = load(20'000);
    for (std::uint64_t n = 2; n < updates; ++n) {
        ASSERT_TRUE(commit_number(engine, n).ok());
        arm[0] = arm[1] = static_cast<float>(n);
        ASSERT_TRUE(engine.update_proprio(0, arm, 2).ok());
    }
    EXPECT_EQ(snapshot.camera(0).image().data(), where);
    EXPECT_TRUE(contents_of(snapshot) == pinned);
    EXPECT_TRUE(snapshot.intact());
}

TEST(ASnapshot, ComesFromOneOfReadersPlusTwoSlotsSoThatOneReaderIsTheTripleBuffer) {
    for (const int readers : {1, 2, 5, 14}) {
        Engine engine({camera()}, {}, with_readers(readers));
        std::vector<Reader> all;
        for (int i = 0; i < readers; ++i) all.push_back(engine.make_reader());
        std::array<std::set<const void*>, 4> seen;
        std::vector<std::optional<Snapshot>> held(all.size());
        std::uint64_t n = 0;
        const auto update = [&] { ASSERT_TRUE(commit_number(engine, ++n).ok()); };
        const auto pin_again = [&](std::size_t reader) {
            held[reader].reset();
            held[reader].emplace(all[reader].snapshot());
            const CameraView view = held[reader]->camera(0);
            seen[0].insert(view.image().data());
            seen[1].insert(view.depth().data());
            seen[2].insert(view.intrinsics().data());
            seen[3].insert(view.extrinsics().data());
            ASSERT_EQ(number_in(view.image()), n);
        };
        for (std::size_t round = 0; round < 20; ++round) {
            for (std::size_t reader = 0; reader < all.size(); ++reader) {
                update();
                pin_again(reader);
            }
            // Every reader holds another slot now; the writer needs the two that are left.
            update();
            update();
            pin_again(round % all.size());
        }
        for (const auto& slots : seen)
            EXPECT_EQ(slots.size(), static_cast<std::size_t>(readers) + 2) << readers << " readers";
    }
}

TEST(ASnapshot, HasNoDepthWhereTheCameraHasNone) {
    Engine engine({camera("side", 2, 2, 1, false)}, {});
    Reader reader = engine.make_reader();
    const Snapshot snapshot = reader.snapshot();
    EXPECT_TRUE(snapshot.camera(0).depth().empty());
    EXPECT_EQ(snapshot.camera(0).stamp(Field::depth).sequence, 0u);
}

TEST(ASnapshot, ByEachReaderIsItsOwn) {
    Engine engine({camera()}, {}, with_readers(3));
    Reader a = engine.make_reader();
    Reader b = engine.make_reader();
    Reader c = engine.make_reader();
    update_number(engine, 1);
    const Snapshot first = a.snapshot();
    update_number(engine, 2);
    const Snapshot second = b.snapshot();
    update_number(engine, 3);
    const Snapshot third = c.snapshot();
    for (std::uint64_t n = 4; n < 100; ++n) update_number(engine, n);
    EXPECT_EQ(number_in(first.camera(0).image()), 1u);
    EXPECT_EQ(number_in(second.camera(0).image()), 2u);
    EXPECT_EQ(number_in(third.camera(0).image()), 3u);
}

// ---- lifetime ----

TEST(ASnapshot, IsOneAtATimePerReader) {
    Engine engine({camera()}, {}, with_readers(1));
    Reader reader = engine.make_reader();
    update_number(engine, 1);
    Snapshot snapshot = reader.snapshot();
    const Contents pinned = contents_of(snapshot);
    try {
        static_cast<void>(reader.snapshot());
        FAIL() << "two at once";
    } catch (const std::logic_error& error) {
        EXPECT_NE(std::string(error.what()).find("still alive"), std::string::npos) << error.what();
    }
    for (std::uint64_t n = 2; n < 20; ++n) update_number(engine, n);
    EXPECT_TRUE(contents_of(snapshot) == pinned) << "the failed attempt did not harm the live one";
    snapshot.release();
    EXPECT_EQ(newest_number(reader), 19u);
}

TEST(ASnapshot, CanBeReleasedEarlyAndTwice) {
    Engine engine({camera()}, {}, with_readers(1));
    Reader reader = engine.make_reader();
    Snapshot snapshot = reader.snapshot();
    snapshot.release();
    Snapshot next = reader.snapshot();
    snapshot.release();
    EXPECT_THROW((void)reader.snapshot(), std::logic_error) << "releasing the old one again does not release the new one";
}

TEST(ASnapshot, KeepsItsPinsWhenItIsMoved) {
    Engine engine({camera()}, {}, with_readers(2));
    Reader a = engine.make_reader();
    Reader b = engine.make_reader();
    update_number(engine, 1);
    Snapshot first = a.snapshot();
    Snapshot moved = std::move(first);
    for (std::uint64_t n = 2; n < 20; ++n) update_number(engine, n);
    EXPECT_EQ(number_in(moved.camera(0).image()), 1u);
    Snapshot other = b.snapshot();
    moved = std::move(other);  // releases what it held
    for (std::uint64_t n = 20; n < 40; ++n) update_number(engine, n);
    EXPECT_EQ(number_in(moved.camera(0).image()), 19u);
    EXPECT_NO_THROW((void)a.snapshot());
    EXPECT_THROW((void)b.snapshot(), std::logic_error);
}

TEST(ASnapshot, OfADroppedReaderIsReleasedWithIt) {
    Engine engine({camera()}, {}, with_readers(1));
    for (std::uint64_t n = 1; n < 50; ++n) {
        ASSERT_TRUE(update_number(engine, n).ok());
        Reader reader = engine.make_reader();
        const Snapshot snapshot = reader.snapshot();
        ASSERT_EQ(number_in(snapshot.camera(0).image()), n);
        // Both end here: the snapshot first, then the reader.
    }
}

// ---- numbers and times ----

TEST(ASnapshot, CountsThePublicationsOfEveryField) {
    Engine engine({camera()}, {}, with_readers(1));
    Reader reader = engine.make_reader();
    for (int i = 0; i < 3; ++i) update_number(engine, 1);
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(engine.update_extrinsics(0, asymmetric_T()).ok());
    commit_number(engine, 1);
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(snapshot.camera(0).version(), 9u);
    EXPECT_EQ(snapshot.camera(0).sequence(), 4u);
    EXPECT_EQ(snapshot.camera(0).stamp(Field::extrinsics).sequence, 6u);
    EXPECT_EQ(snapshot.camera(0).stamp(Field::depth).sequence, 1u);
}

TEST(ASnapshot, TellsTheAgeOfEverySourceAtItsOwnTime) {
    HandClock::set(at_ns(0));
    Engine engine({camera("wrist"), camera("side")}, {{"arm", 1}}, hand_clock());
    Reader reader = engine.make_reader();
    const float arm = 1;
    HandClock::set(TimePoint(milliseconds(100)));
    update_number(engine, 1, 0);
    HandClock::set(TimePoint(milliseconds(130)));
    update_number(engine, 1, 1);
    EXPECT_TRUE(engine.update_proprio(0, &arm, 1).ok());
    HandClock::set(TimePoint(milliseconds(150)));
    const Snapshot snapshot = reader.snapshot();
    HandClock::set(TimePoint(milliseconds(999)));
    EXPECT_EQ(snapshot.time(), TimePoint(milliseconds(150)));
    EXPECT_EQ(snapshot.reference(), snapshot.time());
    EXPECT_EQ(snapshot.camera(0).age(), milliseconds(50));
    EXPECT_EQ(snapshot.camera(1).age(), milliseconds(20));
    EXPECT_EQ(snapshot.proprio(0).age(), milliseconds(20));
    EXPECT_EQ(snapshot.camera(0).captured(), TimePoint(milliseconds(100)));
}

TEST(ASnapshot, CountsAgeFromTheCaptureTimeAndNotFromThePublication) {
    HandClock::set(TimePoint(milliseconds(500)));
    Engine engine({camera()}, {}, hand_clock());
    Reader reader = engine.make_reader();
    const std::vector<std::uint8_t> image(45);
    EXPECT_TRUE(engine.update_image(0, image.data(), image.size(), TimePoint(milliseconds(420))).ok());
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(snapshot.camera(0).age(), milliseconds(80));
    EXPECT_EQ(snapshot.camera(0).stamp(Field::image).published, TimePoint(milliseconds(500)));
}

TEST(ASnapshot, MeasuresSkewAgainstItsReferenceTime) {
    HandClock::set(TimePoint(milliseconds(100)));
    Engine engine({camera("wrist"), camera("side")}, {}, hand_clock());
    Reader reader = engine.make_reader();
    update_number(engine, 1, 0);
    HandClock::set(TimePoint(milliseconds(130)));
    update_number(engine, 1, 1);
    HandClock::set(TimePoint(milliseconds(140)));
    {
        const Snapshot snapshot = reader.snapshot(TimePoint(milliseconds(110)));
        EXPECT_EQ(snapshot.reference(), TimePoint(milliseconds(110)));
        EXPECT_EQ(snapshot.time(), TimePoint(milliseconds(140)));
        EXPECT_EQ(snapshot.camera(0).skew(), milliseconds(-10));
        EXPECT_EQ(snapshot.camera(1).skew(), milliseconds(20));
        EXPECT_EQ(snapshot.camera(0).age(), milliseconds(40)) << "the age does not depend on the reference";
    }
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(snapshot.camera(1).skew(), milliseconds(-10)) << "without a reference: against the time of the snapshot";
}

TEST(ASnapshot, CountsTheFramesThatItsReaderMissed) {
    Engine engine({camera()}, {{"arm", 1}}, with_readers(2));
    Reader reader = engine.make_reader();
    Reader seldom = engine.make_reader();
    const float arm = 0;
    const auto publish = [&](int count) {
        for (int i = 0; i < count; ++i) {
            update_number(engine, 1);
            EXPECT_TRUE(engine.update_proprio(0, &arm, 1).ok());
        }
    };
    const auto missed = [](Reader& r) {
        const Snapshot snapshot = r.snapshot();
        EXPECT_EQ(snapshot.camera(0).missed(), snapshot.proprio(0).missed());
        return snapshot.camera(0).missed();
    };
    publish(10);
    EXPECT_EQ(missed(reader), 0u) << "the first snapshot has missed nothing";
    EXPECT_EQ(missed(reader), 0u) << "nothing new";
    publish(1);
    EXPECT_EQ(missed(reader), 0u) << "every frame seen";
    publish(2);
    EXPECT_EQ(missed(reader), 1u);
    publish(6);
    EXPECT_EQ(missed(reader), 5u);
    EXPECT_EQ(missed(reader), 0u);
    EXPECT_EQ(missed(seldom), 0u) << "each reader counts for itself";
    publish(4);
    EXPECT_EQ(missed(seldom), 3u);
}

TEST(ASnapshot, TakenBeforeTheFirstFrameCountsAllThatItsReaderMissedSince) {
    Engine engine({camera()}, {}, with_readers(1));
    Reader reader = engine.make_reader();
    static_cast<void>(reader.snapshot());
    for (int i = 0; i < 3; ++i) update_number(engine, 1);
    EXPECT_EQ(reader.snapshot().camera(0).missed(), 2u);
}

TEST(ASnapshot, TakesAtMostTheStepsThatTheEngineNames) {
    Engine engine({camera("a"), camera("b"), camera("c")}, {{"arm", 7}, {"many", 4096}}, with_readers(1));
    Reader reader = engine.make_reader();
    const std::vector<float> values(4096);
    for (int i = 0; i < 600; ++i) {
        EXPECT_TRUE(engine.update_proprio(0, values.data(), 7, at_ns(1000 * i)).ok());
        EXPECT_TRUE(engine.update_proprio(1, values.data(), 4096, at_ns(1000 * i)).ok());
    }
    EXPECT_LE(reader.snapshot().steps(), engine.reader_step_bound());
    for (const std::int64_t reference : {-1, 0, 300'500, 598'500, 900'000}) {
        const Snapshot snapshot = reader.snapshot(at_ns(reference));
        EXPECT_GE(snapshot.steps(), 9u) << "three for each camera";
        EXPECT_LE(snapshot.steps(), engine.reader_step_bound());
    }
}

TEST(ASnapshot, InterpolatesStreamsAtItsReferenceTime) {
    Engine engine({camera()}, {{"arm", 1}, {"late", 1}, {"silent", 1}}, with_readers(1));
    Reader reader = engine.make_reader();
    float value = 0;
    EXPECT_TRUE(engine.update_proprio(0, &value, 1, at_ns(1000)).ok());
    EXPECT_TRUE(engine.update_proprio(1, &value, 1, at_ns(1000)).ok());
    value = 10;
    EXPECT_TRUE(engine.update_proprio(0, &value, 1, at_ns(2000)).ok());
    const Snapshot snapshot = reader.snapshot(at_ns(1250));
    EXPECT_EQ(snapshot.proprio(0).how(), ProprioRead::interpolated);
    EXPECT_FLOAT_EQ(snapshot.proprio(0).values()[0], 2.5f);
    EXPECT_EQ(snapshot.proprio(0).captured(), at_ns(1250));
    EXPECT_EQ(snapshot.proprio(1).how(), ProprioRead::after_newest);
    EXPECT_EQ(snapshot.proprio(2).how(), ProprioRead::empty);
}

// ---- what outlives what ----

template <class T>
concept TakesSnapshots = requires(T reader) {
    static_cast<T&&>(reader).snapshot();
};
static_assert(TakesSnapshots<Reader&>);
static_assert(!TakesSnapshots<Reader>, "the reader would be gone before its snapshot");

template <class T>
concept HandsOutBuffers = requires(T snapshot) {
    static_cast<T&&>(snapshot).camera(0).image();
}
|| requires(T snapshot) { static_cast<T&&>(snapshot).camera(0).depth(); }
|| requires(T snapshot) { static_cast<T&&>(snapshot).camera(0).intrinsics(); }
|| requires(T snapshot) { static_cast<T&&>(snapshot).proprio(0).values(); };
static_assert(HandsOutBuffers<Snapshot&> && HandsOutBuffers<const Snapshot&>);
static_assert(!HandsOutBuffers<Snapshot>, "the pins would be gone before the buffers are read");

#ifndef NDEBUG
TEST(AViewOfAnEarlierSnapshot, IsFoundInDebugBuilds) {
    Engine engine({camera()}, {{"arm", 1}}, with_readers(1));
    Reader reader = engine.make_reader();
    std::optional<Snapshot> snapshot = reader.snapshot();
    const CameraView view = snapshot->camera(0);
    const ProprioView stream = snapshot->proprio(0);
    EXPECT_EQ(view.sequence(), 0u);
    snapshot.reset();
    EXPECT_DEATH(view.image(), "snapshot that is no more");
    snapshot.emplace(reader.snapshot());
    EXPECT_DEATH(view.image(), "snapshot that is no more");
    EXPECT_DEATH(stream.values(), "snapshot that is no more");
}

TEST(AReaderThatIsAssignedOverWhileItsSnapshotLives, IsFoundInDebugBuilds) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");  // a forked child would have no buffers
    Engine engine({camera()}, {}, with_readers(2));
    Reader reader = engine.make_reader();
    const Snapshot snapshot = reader.snapshot();
    EXPECT_DEATH(reader = engine.make_reader(), "while its snapshot was alive");
}
#endif

}  // namespace
}  // namespace chiral::test
