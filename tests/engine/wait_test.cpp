// SPDX-License-Identifier: Apache-2.0
// Waiting for frames: at once if there is one, woken when one comes, false at the deadline, and never a lost wake-up.
#include "support.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

namespace chiral::test {
namespace {

Status update_number(Engine& engine, std::uint64_t number, std::size_t index = 0) {
    std::array<std::uint8_t, 45> image;
    fill(std::span<std::uint8_t>(image), number);
    return engine.update_image(index, image.data(), image.size());
}

/// A thread that runs `wait` and is asleep in the kernel when the constructor returns.
class Sleeper {
public:
    template <class Wait>
    explicit Sleeper(Wait wait)
        : thread_([this, wait] {
              tid_.store(thread_id());
              result_ = wait();
              done_.store(true);
          }) {
        asleep_ = soon([this] {
            const long tid = tid_.load();
            return done_.load() || (tid != 0 && thread_state(tid) == 'S');
        });
    }
    ~Sleeper() {
        if (thread_.joinable()) thread_.join();
    }
    bool is_asleep() const { return asleep_ && !done_.load(); }
    bool result() {
        thread_.join();
        return result_;
    }

private:
    std::atomic<long> tid_{0};
    std::atomic<bool> done_{false};
    bool asleep_{false};
    bool result_{false};
    std::thread thread_;
};

TEST(WaitingForAFrame, ReturnsAtOnceIfThereIsANewerOne) {
    Engine engine({camera()}, {});
    update_number(engine, 1);
    update_number(engine, 2);
    // The deadline has passed already: these cannot have slept.
    EXPECT_TRUE(engine.wait_frame(0, 0, TimePoint::min()));
    EXPECT_TRUE(engine.wait_frame(0, 1, TimePoint::min()));
    EXPECT_FALSE(engine.wait_frame(0, 2, TimePoint::min()));
    EXPECT_FALSE(engine.wait_frame(0, std::numeric_limits<std::uint64_t>::max(), Clock::now()));
}

TEST(WaitingForAFrame, IsFalseOnceTheDeadlineHasPassedAndNotBefore) {
    Engine engine({camera()}, {});
    const TimePoint end = Clock::now() + std::chrono::milliseconds(20);
    EXPECT_FALSE(engine.wait_frame(0, 0, end));
    EXPECT_GE(Clock::now(), end);
}

TEST(WaitingForAFrame, IsWokenByTheNextImage) {
    Engine engine({camera()}, {});
    for (std::uint64_t n = 1; n <= 5; ++n) {
        Sleeper sleeper([&] { return engine.wait_frame(0, n - 1, deadline()); });
        EXPECT_TRUE(sleeper.is_asleep());
        EXPECT_TRUE(update_number(engine, n).ok());
        EXPECT_TRUE(sleeper.result());
    }
}

TEST(WaitingForAFrame, IsWokenByAFrameTransactionWithAnImage) {
    Engine engine({camera()}, {});
    Sleeper sleeper([&] { return engine.wait_frame(0, 0, deadline()); });
    ASSERT_TRUE(sleeper.is_asleep());
    Frame frame = engine.begin_frame(0);
    fill(frame.image(), 1);
    fill(frame.depth(), 1.f);
    EXPECT_TRUE(frame.commit().ok());
    EXPECT_TRUE(sleeper.result());
}

TEST(WaitingForAFrame, SleepsOnWhenOtherFieldsOrOtherCamerasArePublished) {
    Engine engine({camera("wrist"), camera("side")}, {});
    Sleeper sleeper([&] { return engine.wait_frame(0, 0, deadline()); });
    ASSERT_TRUE(sleeper.is_asleep());
    for (int i = 0; i < 100; ++i) {
        EXPECT_TRUE(engine.update_intrinsics(0, asymmetric_K()).ok());
        update_number(engine, 1, 1);
    }
    EXPECT_TRUE(sleeper.is_asleep());
    update_number(engine, 1, 0);
    EXPECT_TRUE(sleeper.result());
}

TEST(WaitingForAFrame, SleepsOnUntilTheFrameThatItAskedFor) {
    Engine engine({camera()}, {});
    Sleeper sleeper([&] { return engine.wait_frame(0, 3, deadline()); });
    ASSERT_TRUE(sleeper.is_asleep());
    for (std::uint64_t n = 1; n <= 3; ++n) update_number(engine, n);
    EXPECT_TRUE(sleeper.is_asleep());
    update_number(engine, 4);
    EXPECT_TRUE(sleeper.result());
}

TEST(WaitingForAFrame, WakesEveryoneWhoWaits) {
    Engine engine({camera()}, {});
    std::vector<std::unique_ptr<Sleeper>> sleepers;
    for (int i = 0; i < 8; ++i)
        sleepers.push_back(std::make_unique<Sleeper>([&] { return engine.wait_frame(0, 0, deadline()); }));
    for (const auto& sleeper : sleepers) EXPECT_TRUE(sleeper->is_asleep());
    update_number(engine, 1);
    for (const auto& sleeper : sleepers) EXPECT_TRUE(sleeper->result());
}

TEST(WaitingForAFrame, WithTheLatestDeadlineThereIsSleepsAndIsWoken) {
    Engine engine({camera()}, {});
    Sleeper sleeper([&] { return engine.wait_frame(0, 0, TimePoint::max()); });
    EXPECT_TRUE(sleeper.is_asleep()) << "the deadline did not overflow into the past";
    update_number(engine, 1);
    EXPECT_TRUE(sleeper.result());
}

TEST(WaitingForAFrame, OfACameraThatDoesNotExistThrows) {
    Engine engine({camera()}, {});
    try {
        static_cast<void>(engine.wait_frame(1, 0, Clock::now()));
        FAIL() << "waited";
    } catch (const std::out_of_range& error) {
        EXPECT_NE(std::string(error.what()).find("camera index 1"), std::string::npos) << error.what();
    }
    EXPECT_THROW(static_cast<void>(engine.wait_frame(static_cast<std::size_t>(-1), 0, TimePoint::max())), std::out_of_range);
    EXPECT_EQ(engine.newest_frame(1), 0u);
}

TEST(WaitingForFrames, NeedsANewerOneOfEveryCamera) {
    Engine engine({camera("a"), camera("b"), camera("c")}, {});
    const std::vector<std::uint64_t> none{0, 0, 0};
    EXPECT_FALSE(engine.wait_frames(none, TimePoint::min()));
    update_number(engine, 1, 0);
    update_number(engine, 1, 2);
    EXPECT_FALSE(engine.wait_frames(none, TimePoint::min()));
    EXPECT_FALSE(engine.wait_frames(none, Clock::now() + std::chrono::milliseconds(5)));
    update_number(engine, 1, 1);
    EXPECT_TRUE(engine.wait_frames(none, TimePoint::min()));
    EXPECT_FALSE(engine.wait_frames(std::vector<std::uint64_t>{0, 1, 0}, TimePoint::min()));
    EXPECT_TRUE(engine.wait_frames(std::vector<std::uint64_t>{0, 0}, TimePoint::min())) << "of the first two cameras";
    EXPECT_TRUE(engine.wait_frames({}, TimePoint::min())) << "of none";
}

TEST(WaitingForFrames, IsWokenInWhateverOrderTheyCome) {
    const std::vector<std::vector<std::size_t>> orders{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}};
    for (const std::vector<std::size_t>& order : orders) {
        Engine engine({camera("a"), camera("b"), camera("c")}, {});
        Sleeper sleeper([&] { return engine.wait_frames(std::vector<std::uint64_t>{0, 0, 0}, deadline()); });
        ASSERT_TRUE(sleeper.is_asleep());
        for (const std::size_t index : order) update_number(engine, 1, index);
        EXPECT_TRUE(sleeper.result());
    }
}

TEST(WaitingForFrames, OfMoreCamerasThanThereAreThrowsWithoutWaiting) {
    Engine engine({camera()}, {});
    EXPECT_THROW(static_cast<void>(engine.wait_frames(std::vector<std::uint64_t>{0, 0}, TimePoint::min())),
                 std::out_of_range);
}

TEST(AWokenReader, SeesTheFrameThatWokeIt) {
    Engine engine({camera()}, {}, with_readers(1));
    const std::uint64_t frames = load(20'000);
    std::uint64_t wrong = 0, lost = 0;
    std::thread consumer([&] {
        Reader reader = engine.make_reader();
        std::uint64_t seen = 0;
        while (seen < frames) {
            if (!engine.wait_frame(0, seen, deadline())) {
                ++lost;
                return;
            }
            const Snapshot snapshot = reader.snapshot();
            const std::uint64_t sequence = snapshot.camera(0).sequence();
            wrong += sequence <= seen || number_in(snapshot.camera(0).image()) != sequence;
            seen = sequence;
        }
    });
    for (std::uint64_t n = 1; n <= frames; ++n) update_number(engine, n);
    consumer.join();
    EXPECT_EQ(wrong, 0u);
    EXPECT_EQ(lost, 0u);
}

// Two threads answer each other frame by frame: one lost wake-up would stop both.
TEST(AWokenReader, IsNeverForgotten) {
    Engine engine({camera("ping"), camera("pong")}, {});
    const std::uint64_t rounds = load(20'000);
    std::uint64_t lost = 0;
    std::thread pong([&] {
        for (std::uint64_t n = 1; n <= rounds; ++n) {
            if (!engine.wait_frame(0, n - 1, deadline())) {
                ++lost;
                return;
            }
            update_number(engine, n, 1);
        }
    });
    for (std::uint64_t n = 1; n <= rounds; ++n) {
        update_number(engine, n, 0);
        if (!engine.wait_frame(1, n - 1, deadline())) {
            ADD_FAILURE() << "round " << n;
            break;
        }
    }
    pong.join();
    EXPECT_EQ(lost, 0u);
}

TEST(WaitingForAFrame, EndsByTheClockOfTheEngineAndByNoOther) {
    EngineOptions options = with_readers(1);
    options.now = &HandClock::now;
    // An hour behind the real clock: by that, the deadline passed long ago.
    const TimePoint start = Clock::now() - std::chrono::hours(1);
    HandClock::set(start);
    Engine engine({camera()}, {}, options);
    EXPECT_FALSE(engine.wait_frame(0, 0, start));
    Sleeper sleeper([&] { return engine.wait_frame(0, 0, start + std::chrono::seconds(1)); });
    EXPECT_TRUE(sleeper.is_asleep());
    HandClock::advance(std::chrono::seconds(1));
    EXPECT_FALSE(sleeper.result());
}

}  // namespace
}  // namespace chiral::test
