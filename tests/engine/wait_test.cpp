// SPDX-License-Identifier: Apache-2.0
// Waiting for frames: at once if there is one, woken when one comes, false at the deadline, and never a lost wake-up.
#include "support.hpp"

#include <chiral/slot.hpp>

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

// ---- other sources ----

/// A camera with depth, a stream and a slot.
struct Sources {
    Engine engine{{camera()}, {{"arm", 1}}, [] {
                      EngineOptions options;
                      options.slots = {slot_config<int>("mode")};
                      return options;
                  }()};
    Slot<int> mode{engine, "mode"};
    std::array<Source, 4> all{Source{Source::Kind::image, 0}, Source{Source::Kind::depth, 0},
                              Source{Source::Kind::proprio, 0}, Source{Source::Kind::slot, 0}};

    void publish(std::size_t which) {
        const std::array<std::uint8_t, 60> bytes{};
        const float value = 1;
        const Status done = which == 0   ? engine.update_image(0, bytes.data(), 45)
                            : which == 1 ? engine.update_depth(0, bytes.data(), 60)
                            : which == 2 ? engine.update_proprio(0, &value, 1)
                                         : mode.update(4);
        EXPECT_TRUE(done.ok()) << done.message();
    }
};

TEST(WaitingForASource, WakesForThatOneOnly) {
    for (std::size_t which = 0; which < 4; ++which) {
        SCOPED_TRACE(which);
        Sources sources;
        Sleeper sleeper([&] { return sources.engine.wait(sources.all[which], 0, Clock::now() + std::chrono::seconds(60)); });
        ASSERT_TRUE(sleeper.is_asleep());
        for (std::size_t other = 0; other < 4; ++other)
            if (other != which) sources.publish(other);
        EXPECT_TRUE(sleeper.is_asleep());
        EXPECT_EQ(sources.engine.newest(sources.all[which]), 0u);
        sources.publish(which);
        EXPECT_TRUE(sleeper.result());
        EXPECT_EQ(sources.engine.newest(sources.all[which]), 1u);
        EXPECT_FALSE(sources.engine.wait(sources.all[which], 1, TimePoint::min()));
    }
}

TEST(WaitingForAny, WakesForEachAndSaysWhich) {
    for (std::size_t which = 0; which < 4; ++which) {
        SCOPED_TRACE(which);
        Sources sources;
        std::array<Awaited, 4> awaited;
        for (std::size_t i = 0; i < 4; ++i) awaited[i] = {sources.all[i], 0};
        std::optional<std::size_t> found;
        Sleeper sleeper([&] {
            found = sources.engine.wait_any(awaited, Clock::now() + std::chrono::seconds(60));
            return found.has_value();
        });
        ASSERT_TRUE(sleeper.is_asleep());
        sources.publish(which);
        EXPECT_TRUE(sleeper.result());
        EXPECT_EQ(found, which);
    }
}

TEST(WaitingForAny, IsFalseAtTheDeadlineAndLooksOnceMore) {
    Sources sources;
    const std::array<Awaited, 2> awaited{Awaited{sources.all[2], 0}, Awaited{sources.all[3], 0}};
    EXPECT_EQ(sources.engine.wait_any(awaited, TimePoint::min()), std::nullopt);
    sources.publish(3);
    EXPECT_EQ(sources.engine.wait_any(awaited, TimePoint::min()), 1u);
    sources.publish(2);
    EXPECT_EQ(sources.engine.wait_any(awaited, TimePoint::min()), 0u) << "the first of those";
    EXPECT_EQ(sources.engine.wait_any({}, TimePoint::min()), std::nullopt);
}

TEST(WaitingForAny, MissesNothingOfManyWriters) {
    Sources sources;
    const std::uint64_t rounds = load(2000);
    std::array<std::thread, 2> writers;
    for (const std::size_t which : {std::size_t{2}, std::size_t{3}})
        writers[which - 2] = std::thread([&, which] {
            for (std::uint64_t n = 0; n < rounds; ++n) sources.publish(which);
        });
    std::array<Awaited, 2> awaited{Awaited{sources.all[2], 0}, Awaited{sources.all[3], 0}};
    const TimePoint deadline = Clock::now() + std::chrono::seconds(60);
    while (awaited[0].after < rounds || awaited[1].after < rounds) {
        const auto found = sources.engine.wait_any(awaited, deadline);
        ASSERT_TRUE(found.has_value()) << awaited[0].after << ' ' << awaited[1].after;
        awaited[*found].after = sources.engine.newest(awaited[*found].source);
    }
    for (std::thread& writer : writers) writer.join();
}

TEST(WaitingForASource, ThatDoesNotExistIsRefused) {
    Sources sources;
    for (const Source::Kind kind : {Source::Kind::image, Source::Kind::depth, Source::Kind::proprio, Source::Kind::slot}) {
        const std::array<Awaited, 2> awaited{Awaited{sources.all[0], 0}, Awaited{{kind, 1}, 0}};
        EXPECT_THROW(static_cast<void>(sources.engine.newest({kind, 1})), std::out_of_range);
        EXPECT_THROW(static_cast<void>(sources.engine.wait({kind, 1}, 0, TimePoint::min())), std::out_of_range);
        EXPECT_THROW(static_cast<void>(sources.engine.wait_any(awaited, TimePoint::min())), std::out_of_range);
    }
}

}  // namespace
}  // namespace chiral::test
