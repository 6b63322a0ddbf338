// SPDX-License-Identifier: Apache-2.0
// Real threads on one camera: no torn buffer (I1), no incoherent view (I2, I3), versions that only grow, bounded steps.
//
// Every element of every buffer carries the number of its publication, so a reader sees a mixture whatever its shape. All
// of it runs under ThreadSanitizer too, which sees a slot that is filled while it is read even where the numbers agree.
// x86 hides most mistakes of memory ordering from these loads: those are for tests/model.
#include "support.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <latch>

namespace chiral::test {
namespace {

/// What the readers of one load found. Not-yet-set are snapshots from before the first publication.
struct Tally {
    std::uint64_t good{0}, not_yet_set{0}, torn{0}, misnumbered{0}, incoherent{0}, backwards{0}, over_bound{0}, touched{0},
        late{0}, frames{0};

    Tally& operator+=(const Tally& o) {
        good += o.good, not_yet_set += o.not_yet_set, torn += o.torn, misnumbered += o.misnumbered;
        incoherent += o.incoherent, backwards += o.backwards, over_bound += o.over_bound, touched += o.touched;
        late += o.late, frames += o.frames;
        return *this;
    }
    void expect_clean() const {
        EXPECT_EQ(torn, 0u) << "buffers that hold parts of two publications";
        EXPECT_EQ(misnumbered, 0u) << "buffers whose content is not that of their sequence number";
        EXPECT_EQ(incoherent, 0u) << "buffers that were not current together";
        EXPECT_EQ(backwards, 0u) << "snapshots older than the one before";
        EXPECT_EQ(over_bound, 0u) << "calls that took more steps than bounded";
        EXPECT_EQ(touched, 0u) << "snapshots that changed while they were held";
        EXPECT_EQ(late, 0u) << "readers that did not see the last frame in time";
        EXPECT_GT(good, 0u);
        ::testing::Test::RecordProperty("good", std::to_string(good));
        ::testing::Test::RecordProperty("not_yet_set", std::to_string(not_yet_set));
        ::testing::Test::RecordProperty("frames_seen", std::to_string(frames));
    }
};

/// The four sequences of a view, each checked against what its buffer holds.
std::array<std::uint64_t, 4> checked_sequences(const CameraView& view, Tally& tally) {
    const std::array<std::optional<std::uint64_t>, 4> found{number_in(view.image()), number_in(view.depth()),
                                                            number_in(std::span<const double>(view.intrinsics())),
                                                            number_in(std::span<const double>(view.extrinsics()))};
    std::array<std::uint64_t, 4> sequences{};
    for (std::size_t f = 0; f < 4; ++f) {
        const Stamp stamp = view.stamp(static_cast<Field>(f));
        sequences[f] = stamp.sequence;
        tally.torn += !found[f];
        // Initial matrices are zero here, and so is everything before its first publication. Capture times are numbers too.
        tally.misnumbered += found[f] && *found[f] != stamp.sequence;
        tally.misnumbered += stamp.captured != at_ns(static_cast<std::int64_t>(stamp.sequence));
    }
    return sequences;
}

/// Takes snapshots until it sees `last_version`, checking each: buffers against numbers, then `coherent(sequences, version)`.
template <class Coherent>
Tally read_until(Engine& engine, std::uint64_t last_version, Coherent coherent) {
    Tally tally;
    Reader reader = engine.make_reader();
    const TimePoint end = deadline();
    std::array<std::uint64_t, 4> before{};
    std::uint64_t version = 0;
    for (std::uint64_t round = 0; version < last_version; ++round) {
        if (Clock::now() > end) {
            ++tally.late;
            break;
        }
        const Snapshot snapshot = reader.snapshot();
        const CameraView view = snapshot.camera(0);
        const Tally so_far = tally;
        const std::array<std::uint64_t, 4> now = checked_sequences(view, tally);
        tally.incoherent += !coherent(now, view.version());
        tally.backwards += view.version() < version;
        for (std::size_t f = 0; f < 4; ++f) tally.backwards += now[f] < before[f];
        tally.over_bound += snapshot.steps() > engine.reader_step_bound();
        if (round % 16 == 0) {
            // Held for longer, while the writers go on: a second look finds the same.
            std::this_thread::yield();
            tally.touched += checked_sequences(view, tally) != now;
        }
        tally.touched += !snapshot.intact();
        const bool clean = tally.torn == so_far.torn && tally.misnumbered == so_far.misnumbered &&
                           tally.incoherent == so_far.incoherent && tally.touched == so_far.touched;
        if (clean) ++(view.version() == 0 ? tally.not_yet_set : tally.good);
        tally.frames += view.version() != version;
        before = now;
        version = view.version();
    }
    return tally;
}

CameraConfig camera_of_bytes(std::size_t bytes) {
    // One channel; height and width whatever divides it.
    std::size_t height = 1;
    while (bytes / height > 1024 || bytes % height != 0) ++height;
    CameraConfig config = camera("load", static_cast<int>(height), static_cast<int>(bytes / height), 1);
    config.intrinsics = numbered_K(0);
    config.extrinsics = numbered_T(0);
    return config;
}

class ALoad : public ::testing::TestWithParam<std::tuple<std::size_t, int>> {
protected:
    const std::size_t bytes = std::get<0>(GetParam());
    const int readers = std::get<1>(GetParam());
    Engine engine{{camera_of_bytes(bytes)}, {}, with_readers(readers)};
    // Enough frames for the threads to meet at every point, and no more than 48 MB of images in one case.
    const std::uint64_t frames = load(std::clamp<std::uint64_t>((std::uint64_t{48} << 20) / bytes, 150, 15'000));

    /// Runs readers and writers together and returns what the readers found.
    template <class Coherent, class... Writers>
    Tally run(std::uint64_t last_version, Coherent coherent, Writers... writers) {
        std::latch start(static_cast<std::ptrdiff_t>(readers + static_cast<int>(sizeof...(writers))));
        std::vector<Tally> tallies(static_cast<std::size_t>(readers));
        std::vector<std::thread> threads;
        for (Tally& tally : tallies)
            threads.emplace_back([&] {
                start.arrive_and_wait();
                tally = read_until(engine, last_version, coherent);
            });
        (threads.emplace_back([&, writers] {
            start.arrive_and_wait();
            writers();
        }),
         ...);
        for (std::thread& thread : threads) thread.join();
        Tally sum;
        for (const Tally& tally : tallies) sum += tally;
        return sum;
    }
    static TimePoint captured(std::uint64_t number) { return at_ns(static_cast<std::int64_t>(number)); }

    std::atomic<std::uint64_t> failed{0};
    void check(const Status& status, std::uint64_t number) {
        failed += !status.ok() || status.sequence() != number || status.steps() > engine.writer_step_bound();
    }
};

TEST_P(ALoad, OfFramesIsNeverSeenTornAndEveryBufferIsOfOneFrame) {
    const Tally tally = run(
        frames,
        [](const std::array<std::uint64_t, 4>& s, std::uint64_t version) {
            return s[0] == s[1] && s[0] == s[2] && s[0] == s[3] && s[0] == version;
        },
        [this] {
            for (std::uint64_t n = 1; n <= frames; ++n) {
                Frame frame = engine.begin_frame(0);
                fill(frame.image(), n);
                fill(frame.depth(), static_cast<float>(n));
                frame.set_intrinsics(numbered_K(n));
                frame.set_extrinsics(numbered_T(n));
                check(frame.commit(captured(n)), n);
            }
        });
    tally.expect_clean();
    EXPECT_EQ(failed.load(), 0u);
}

TEST_P(ALoad, OfFourThreadsOnFourFieldsIsNeverSeenTornAndAlwaysOfOneInstant) {
    const auto each = [this](auto update) {
        return [this, update] {
            for (std::uint64_t n = 1; n <= frames; ++n) check(update(n), n);
        };
    };
    std::vector<std::uint8_t> image(bytes), depth(bytes * sizeof(float));
    const Tally tally = run(
        4 * frames,
        // Each publication counts one version and one sequence: they add up in a view of one instant only.
        [](const std::array<std::uint64_t, 4>& s, std::uint64_t version) { return s[0] + s[1] + s[2] + s[3] == version; },
        each([&](std::uint64_t n) {
            fill(std::span<std::uint8_t>(image), n);
            return engine.update_image(0, image.data(), image.size(), captured(n));
        }),
        each([&](std::uint64_t n) {
            fill(std::span<float>(reinterpret_cast<float*>(depth.data()), bytes), static_cast<float>(n));
            return engine.update_depth(0, depth.data(), depth.size(), captured(n));
        }),
        each([&](std::uint64_t n) { return engine.update_intrinsics(0, numbered_K(n), captured(n)); }),
        each([&](std::uint64_t n) { return engine.update_extrinsics(0, numbered_T(n), captured(n)); }));
    tally.expect_clean();
    EXPECT_EQ(failed.load(), 0u);
}

// Powers of two, one less and one more: a copy that misses its last partial word or line shows up in one of them.
INSTANTIATE_TEST_SUITE_P(Bytes, ALoad,
                         ::testing::Combine(::testing::Values(63, 64, 65, 4095, 4096, 4097, 262143, 262144, 262145),
                                            ::testing::Range(1, 5)),
                         [](const auto& param) {
                             return std::to_string(std::get<0>(param.param)) + "x" +
                                    std::to_string(std::get<1>(param.param)) + "readers";
                         });

class APairOfThreads : public ALoad {};

TEST_P(APairOfThreads, CommittingTwoFieldsEachIsSeenPairByPair) {
    const Tally tally = run(
        2 * frames,
        [](const std::array<std::uint64_t, 4>& s, std::uint64_t version) {
            return s[0] == s[1] && s[2] == s[3] && s[0] + s[2] == version;
        },
        [this] {
            for (std::uint64_t n = 1; n <= frames; ++n) {
                Frame frame = engine.begin_frame(0);
                fill(frame.image(), n);
                fill(frame.depth(), static_cast<float>(n));
                check(frame.commit(captured(n)), n);
            }
        },
        [this] {
            for (std::uint64_t n = 1; n <= frames; ++n) {
                Frame frame = engine.begin_frame(0);
                frame.set_intrinsics(numbered_K(n));
                frame.set_extrinsics(numbered_T(n));
                check(frame.commit(captured(n)), n);
            }
        });
    tally.expect_clean();
    EXPECT_EQ(failed.load(), 0u);
}

// The documented sequence, driven by two threads in turn: image n, then depth n, then image n + 1. A view of one instant
// holds depth n with image n or n + 1, nothing else.
TEST_P(APairOfThreads, PublishingImageAndDepthInTurnIsSeenInThatOrder) {
    std::vector<std::uint8_t> image(bytes), depth(bytes * sizeof(float));
    std::atomic<std::uint64_t> images{0}, depths{0};
    const std::uint64_t turns = std::min<std::uint64_t>(frames, 1'000);  // each costs two changes of thread
    const auto reached = [](const std::atomic<std::uint64_t>& count, std::uint64_t number) {
        return soon([&] { return count.load() >= number; });
    };
    const Tally tally = run(
        2 * turns,
        [](const std::array<std::uint64_t, 4>& s, std::uint64_t version) {
            return (s[0] == s[1] || s[0] == s[1] + 1) && s[0] + s[1] == version;
        },
        [&] {
            for (std::uint64_t n = 1; n <= turns && reached(depths, n - 1); ++n) {
                fill(std::span<std::uint8_t>(image), n);
                check(engine.update_image(0, image.data(), image.size(), captured(n)), n);
                images.store(n);
            }
        },
        [&] {
            for (std::uint64_t n = 1; n <= turns && reached(images, n); ++n) {
                fill(std::span<float>(reinterpret_cast<float*>(depth.data()), bytes), static_cast<float>(n));
                check(engine.update_depth(0, depth.data(), depth.size(), captured(n)), n);
                depths.store(n);
            }
        });
    tally.expect_clean();
    EXPECT_EQ(failed.load(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Bytes, APairOfThreads,
                         ::testing::Combine(::testing::Values(65, 4096, 65535), ::testing::Values(1, 3)),
                         [](const auto& param) {
                             return std::to_string(std::get<0>(param.param)) + "x" +
                                    std::to_string(std::get<1>(param.param)) + "readers";
                         });

// Two writers of one field or stream, which is a mistake. Payloads are large, so that they do meet.
template <class Update, class Look>
void expect_two_writers_told_apart(Update update, Look is_whole, std::uint64_t attempts, std::uint64_t& published) {
    std::atomic<std::uint64_t> succeeded{0}, busy{0}, other{0};
    std::atomic<int> writing{2};
    std::latch start(3);
    const auto writer = [&](int mark) {
        start.arrive_and_wait();
        for (std::uint64_t i = 0; i < attempts; ++i) {
            const Status status = update(mark);
            ++(status.ok() ? succeeded : status.code() == Errc::writer_busy ? busy : other);
        }
        --writing;
    };
    std::thread first(writer, 1), second(writer, 2);
    start.arrive_and_wait();
    std::uint64_t torn = 0;
    do torn += !is_whole();
    while (writing.load() > 0);
    first.join();
    second.join();
    EXPECT_EQ(torn, 0u);
    EXPECT_EQ(other.load(), 0u);
    EXPECT_EQ(succeeded.load() + busy.load(), 2 * attempts);
    ::testing::Test::RecordProperty("busy", std::to_string(busy.load()));
    published = succeeded.load();
}

TEST(TwoThreadsOnOneField, AreToldApartAndHarmNothing) {
    constexpr std::size_t kBytes = 1 << 18;
    Engine engine({camera_of_bytes(kBytes)}, {}, with_readers(1));
    Reader reader = engine.make_reader();
    const std::array<std::vector<std::uint8_t>, 3> images{
        std::vector<std::uint8_t>(kBytes), std::vector<std::uint8_t>(kBytes, 1), std::vector<std::uint8_t>(kBytes, 2)};
    std::uint64_t published = 0;
    expect_two_writers_told_apart(
        [&](int mark) { return engine.update_image(0, images[static_cast<std::size_t>(mark)].data(), kBytes); },
        [&] { return newest_number(reader).has_value(); }, load(4'000), published);
    EXPECT_EQ(reader.snapshot().camera(0).sequence(), published) << "each success is one publication";
    EXPECT_TRUE(engine.update_image(0, images[0].data(), kBytes).ok()) << "and the field is free";
}

TEST(TwoThreadsOnOneStream, AreToldApartAndHarmNothing) {
    constexpr std::size_t kValues = 4096;
    Engine engine({}, {{"arm", kValues}}, with_readers(1));
    Reader reader = engine.make_reader();
    const std::array<std::vector<float>, 3> values{std::vector<float>(kValues), std::vector<float>(kValues, 1),
                                                   std::vector<float>(kValues, 2)};
    std::uint64_t published = 0;
    expect_two_writers_told_apart(
        [&](int mark) { return engine.update_proprio(0, values[static_cast<std::size_t>(mark)].data(), kValues); },
        [&] {
            const Snapshot snapshot = reader.snapshot();
            return number_in(snapshot.proprio(0).values()).has_value();
        },
        load(40'000), published);
    EXPECT_EQ(reader.snapshot().proprio(0).sequence(), published);
    EXPECT_TRUE(engine.update_proprio(0, values[0].data(), kValues).ok());
}

TEST(ReadersThatComeAndGo, NeverSeeATornFrame) {
    Engine engine({camera_of_bytes(1000)}, {}, with_readers(2));
    const std::uint64_t rounds = load(8'000);
    std::atomic<int> reading{4};
    std::atomic<std::uint64_t> torn{0}, turned_away{0}, read{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&] {
            for (std::uint64_t i = 0; i < rounds; ++i) {
                try {
                    Reader reader = engine.make_reader();
                    for (int look = 0; look < 3; ++look) {
                        const Snapshot snapshot = reader.snapshot();
                        torn += number_in(snapshot.camera(0).image()) != snapshot.camera(0).sequence() || !snapshot.intact();
                        ++read;
                    }
                } catch (const std::runtime_error&) {
                    ++turned_away;
                    std::this_thread::yield();
                }
            }
            --reading;
        });
    std::vector<std::uint8_t> image(1000);
    std::uint64_t failed = 0, n = 0;
    while (reading.load() > 0) {
        fill(std::span<std::uint8_t>(image), ++n);
        failed += !engine.update_image(0, image.data(), image.size()).ok();
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(torn.load(), 0u);
    EXPECT_EQ(failed, 0u);
    EXPECT_GT(read.load(), 0u);
    EXPECT_EQ(read.load() + 3 * turned_away.load(), 4 * rounds * 3);
}

TEST(ManyCameras, AreEachCoherentInOneSnapshot) {
    const CameraConfig shape = camera_of_bytes(500);
    std::vector<CameraConfig> cameras(4, shape);
    for (std::size_t i = 0; i < cameras.size(); ++i) cameras[i].name += std::to_string(i);
    Engine engine(cameras, {}, with_readers(1));
    const std::uint64_t frames = load(10'000);
    std::vector<std::thread> writers;
    std::atomic<std::uint64_t> failed{0};
    for (std::size_t index = 0; index < cameras.size(); ++index)
        writers.emplace_back([&, index] {
            for (std::uint64_t n = 1; n <= frames; ++n) {
                Frame frame = engine.begin_frame(index);
                fill(frame.image(), n * 8 + index);
                fill(frame.depth(), static_cast<float>(n * 8 + index));
                failed += !frame.commit().ok();
            }
        });
    Reader reader = engine.make_reader();
    std::uint64_t wrong = 0;
    const TimePoint end = deadline();
    for (bool all_done = false; !all_done && Clock::now() < end;) {
        const Snapshot snapshot = reader.snapshot();
        all_done = true;
        for (std::size_t index = 0; index < cameras.size(); ++index) {
            const CameraView view = snapshot.camera(index);
            const std::uint64_t expected = view.sequence() == 0 ? 0 : view.sequence() * 8 + index;
            wrong += number_in(view.image()) != expected || number_in(view.depth()) != expected;
            all_done = all_done && view.sequence() == frames;
        }
        wrong += snapshot.steps() > engine.reader_step_bound();
    }
    for (std::thread& writer : writers) writer.join();
    EXPECT_EQ(wrong, 0u);
    EXPECT_EQ(failed.load(), 0u);
    EXPECT_EQ(reader.snapshot().camera(3).sequence(), frames);
}

}  // namespace
}  // namespace chiral::test
