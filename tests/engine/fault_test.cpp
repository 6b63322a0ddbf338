// SPDX-License-Identifier: Apache-2.0
// Threads that die or stop at the worst moment: writers go on past a stopped reader (I4), readers past a dead writer (I8).
#include "support.hpp"

#include <gtest/gtest.h>

#include <latch>
#include <new>
#include <semaphore>

#include <pthread.h>

namespace chiral::test {
namespace {

/// A thread that takes a snapshot and then stops, pinning it, until the test is over.
class StoppedReader {
public:
    explicit StoppedReader(Engine& engine)
        : thread_([this, &engine] {
              Reader reader = engine.make_reader();
              const Snapshot snapshot = reader.snapshot();
              const Contents pinned = contents_of(snapshot);
              number_ = number_in(snapshot.camera(0).image()).value_or(~std::uint64_t{0});
              stopped_.count_down();
              go_on_.acquire();
              unchanged_ = contents_of(snapshot) == pinned && snapshot.intact();
          }) {
        stopped_.wait();
    }
    ~StoppedReader() { let_go(); }

    std::uint64_t number() const { return number_; }
    /// Lets the thread go on and end. True if all that it held was still as it had pinned it.
    bool let_go() {
        if (thread_.joinable()) {
            go_on_.release();
            thread_.join();
        }
        return unchanged_;
    }

private:
    std::latch stopped_{1};
    std::binary_semaphore go_on_{0};
    std::uint64_t number_{0};
    bool unchanged_{false};
    std::thread thread_;
};

Status update_number(Engine& engine, std::uint64_t number) {
    std::array<std::uint8_t, 45> image;
    fill(std::span<std::uint8_t>(image), number);
    return engine.update_image(0, image.data(), image.size());
}

TEST(AReaderStoppedForEver, DoesNotKeepAMillionUpdatesFromSucceedingWithinTheirStepBound) {
    for (const int readers : {1, 4}) {
        Engine engine({camera()}, {}, with_readers(readers));
        std::vector<std::unique_ptr<StoppedReader>> stopped;
        // Each holds another frame: the most slots that readers can take away.
        for (int i = 0; i < readers; ++i) {
            ASSERT_TRUE(update_number(engine, static_cast<std::uint64_t>(i) + 1).ok());
            stopped.push_back(std::make_unique<StoppedReader>(engine));
            EXPECT_EQ(stopped.back()->number(), static_cast<std::uint64_t>(i) + 1);
        }
        const std::uint64_t updates = load(1'000'000) / static_cast<std::uint64_t>(readers == 1 ? 1 : 4);
        std::uint64_t failed = 0;
        std::uint32_t most_steps = 0;
        Status status;
        for (std::uint64_t n = 0; n < updates; ++n) {
            status = update_number(engine, n);
            failed += !status.ok();
            most_steps = std::max(most_steps, status.steps());
        }
        EXPECT_EQ(failed, 0u);
        EXPECT_LE(most_steps, engine.writer_step_bound());
        EXPECT_EQ(status.sequence(), updates + static_cast<std::uint64_t>(readers));
        for (auto& reader : stopped) EXPECT_TRUE(reader->let_go()) << "what a stopped reader holds is never touched";
    }
}

TEST(AReaderStoppedForEver, DoesNotKeepFramesOfAllFourFieldsFromSucceeding) {
    Engine engine({camera()}, {}, with_readers(2));
    update_number(engine, 7);
    StoppedReader stopped(engine);
    Reader reader = engine.make_reader();
    const std::uint64_t frames = load(100'000);
    for (std::uint64_t n = 1; n <= frames; ++n) {
        Frame frame = engine.begin_frame(0);
        fill(frame.image(), n);
        fill(frame.depth(), static_cast<float>(n));
        frame.set_intrinsics(numbered_K(n));
        frame.set_extrinsics(numbered_T(n));
        const Status status = frame.commit();
        ASSERT_TRUE(status.ok()) << status.message();
        ASSERT_LE(status.steps(), engine.writer_step_bound());
        if (n % 64 == 0) {
            const Snapshot snapshot = reader.snapshot();
            ASSERT_EQ(number_in(snapshot.camera(0).image()), n) << "other readers see the newest frame";
            ASSERT_EQ(number_in(snapshot.camera(0).depth()), n);
        }
    }
    EXPECT_EQ(stopped.number(), 7u);
    EXPECT_TRUE(stopped.let_go());
}

TEST(AReaderStoppedForEver, DoesNotDelayProprioStreams) {
    Engine engine({camera()}, {{"arm", 7}});
    StoppedReader stopped(engine);
    std::array<float, 7> arm{};
    const std::uint64_t updates = load(200'000);
    for (std::uint64_t n = 1; n <= updates; ++n) {
        const Status status = engine.update_proprio(0, arm.data(), arm.size());
        ASSERT_TRUE(status.ok());
        ASSERT_EQ(status.sequence(), n);
        ASSERT_LE(status.steps(), engine.writer_step_bound());
    }
    EXPECT_TRUE(stopped.let_go());
}

/// Storage for a frame that is never destroyed: what a killed thread leaves behind.
struct LeftBehind {
    alignas(Frame) std::byte storage[sizeof(Frame)];
    Frame& take(Frame&& frame) { return *new (storage) Frame(std::move(frame)); }
};

TEST(AWriterThatDiesInTheMiddleOfAFrame, LeavesTheLastCompleteFrameReadable) {
    Engine engine({camera()}, {}, with_readers(1));
    update_number(engine, 41);
    Reader reader = engine.make_reader();
    const Contents before = contents_of(reader);
    LeftBehind left;
    std::thread([&] {
        Frame& frame = left.take(engine.begin_frame(0));
        const std::span<std::uint8_t> image = frame.image();
        fill(image.first(image.size() / 2), 42);  // dies half-way through the pixels
    }).join();
    for (int i = 0; i < 1000; ++i) {
        const Snapshot snapshot = reader.snapshot();
        ASSERT_TRUE(contents_of(snapshot) == before);
        ASSERT_TRUE(snapshot.intact());
    }
}

TEST(AWriterThatDiesInTheMiddleOfAFrame, KeepsItsFieldsBusyUntilItIsRevoked) {
    Engine engine({camera()}, {}, with_readers(1));
    Reader reader = engine.make_reader();
    update_number(engine, 1);
    for (std::uint64_t death = 0; death < 10; ++death) {
        LeftBehind left;
        std::thread([&] {
            Frame& frame = left.take(engine.begin_frame(0));
            fill(frame.image(), 1000);
            fill(frame.depth(), 1000.f);
        }).join();
        const std::uint64_t number = 10 * death + 1;
        EXPECT_EQ(update_number(engine, number).code(), Errc::writer_busy);
        const std::vector<std::uint8_t> depth(60);
        EXPECT_EQ(engine.update_depth(0, depth.data(), depth.size()).code(), Errc::writer_busy);
        EXPECT_TRUE(engine.update_intrinsics(0, numbered_K(number)).ok())
            << "fields that the dead writer did not hold go on";
        for (const Field field : {Field::image, Field::depth})
            ASSERT_TRUE(engine.revoke_writer(0, field, WriterFate::dead).ok());
        // Its successors get every slot, whatever is pinned.
        const Snapshot snapshot = reader.snapshot();
        const Contents pinned = contents_of(snapshot);
        for (std::uint64_t n = number; n < number + 10; ++n) {
            ASSERT_TRUE(update_number(engine, n).ok());
            ASSERT_TRUE(engine.update_depth(0, depth.data(), depth.size()).ok());
        }
        EXPECT_TRUE(contents_of(snapshot) == pinned);
        EXPECT_TRUE(snapshot.intact());
    }
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(number_in(snapshot.camera(0).image()), 100u);
    EXPECT_EQ(snapshot.camera(0).sequence(), 101u) << "the frames of the dead used up no number";
}

TEST(AWriterThatDiesInTheMiddleOfAFrame, IsRevokedForItsCameraOnly) {
    Engine engine({camera("wrist"), camera("side")}, {}, with_readers(1));
    Frame wrist = engine.begin_frame(0);
    Frame side = engine.begin_frame(1);
    ASSERT_FALSE(wrist.image().empty());
    ASSERT_FALSE(side.image().empty());
    ASSERT_TRUE(engine.revoke_camera_writer(0).ok());
    EXPECT_TRUE(update_number(engine, 1).ok());
    EXPECT_TRUE(engine.begin_frame(1).image().empty());
    side.abandon();
    EXPECT_FALSE(engine.begin_frame(1).image().empty());
}

TEST(AWriterThatEndsItsThreadWithAFrameOpen, AbandonsIt) {
    Engine engine({camera()}, {}, with_readers(1));
    update_number(engine, 1);
    std::thread([&] {
        Frame frame = engine.begin_frame(0);
        fill(frame.image(), 2);
        pthread_exit(nullptr);  // unwinds this stack
    }).join();
    Reader reader = engine.make_reader();
    EXPECT_EQ(newest_number(reader), 1u);
    EXPECT_TRUE(update_number(engine, 3).ok()) << "its fields are free again";
}

TEST(AWriterStoppedInTheMiddleOfAFrame, KeepsNobodyFromReadingOrFromWritingOtherFields) {
    Engine engine({camera()}, {}, with_readers(1));
    update_number(engine, 1);
    std::latch half_way{1};
    std::binary_semaphore go_on{0};
    Status last;
    std::thread writer([&] {
        Frame frame = engine.begin_frame(0);
        const std::span<std::uint8_t> image = frame.image();
        fill(image.first(image.size() / 2), 2);
        half_way.count_down();
        go_on.acquire();
        fill(image, 2);
        last = frame.commit();
    });
    half_way.wait();
    Reader reader = engine.make_reader();
    const std::uint64_t rounds = load(20'000);
    std::uint64_t wrong = 0;
    for (std::uint64_t n = 1; n <= rounds; ++n) {
        wrong += !engine.update_intrinsics(0, numbered_K(n)).ok();
        const Snapshot snapshot = reader.snapshot();
        wrong += number_in(snapshot.camera(0).image()) != 1u;
        wrong += number_in(std::span<const double>(snapshot.camera(0).intrinsics())) != n;
        wrong += snapshot.steps() > engine.reader_step_bound();
    }
    EXPECT_EQ(wrong, 0u);
    go_on.release();
    writer.join();
    EXPECT_TRUE(last.ok()) << last.message();
    EXPECT_EQ(newest_number(reader), 2u) << "it can go on as if nothing had been";
}

TEST(AProprioWriter, CanBeRevokedAndReplaced) {
    Engine engine({}, {{"arm", 2}, {"grip", 1}});
    const float values[] = {1, 2};
    ASSERT_TRUE(engine.update_proprio(0, values, 2).ok());
    ASSERT_TRUE(engine.revoke_proprio_writer(0).ok());
    EXPECT_EQ(engine.update_proprio(0, values, 2).sequence(), 2u);
}

}  // namespace
}  // namespace chiral::test
