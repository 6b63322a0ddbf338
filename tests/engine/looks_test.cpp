// SPDX-License-Identifier: Apache-2.0
// What a writer knows of who has looked at a slot, and how it copies into one: core/looks.hpp and streamed_copy.hpp.
#include "puppet.hpp"

#include "engine_state.hpp"
#include "streamed_copy.hpp"

#include <chiral/core/transaction.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <vector>

namespace chiral::test {
namespace {

using namespace std::chrono_literals;

/// A camera whose image is updated as Engine::update_image() does it.
struct LookedAtCamera {
    explicit LookedAtCamera(int reader_count, const core::GuestHazards<WatchedAtomics>* guest_hazards = nullptr)
        : readers(reader_count), guests(guest_hazards) {}

    int readers;
    const core::GuestHazards<WatchedAtomics>* guests;
    core::CameraCore<WatchedAtomics> core;
    core::Bell<WatchedAtomics> bell;

    struct Update {
        int slot;
        bool was_looked_at;
    };
    Update update() {
        core::Transaction<WatchedAtomics> transaction(core, core::readers_of_all(readers), guests);
        EXPECT_TRUE(transaction.open(0));
        const Update done{transaction.slot(0), transaction.was_looked_at(0)};
        transaction.collect_looks(0);
        EXPECT_EQ(transaction.commit(0, 0, bell), core::Commit::published);
        return done;
    }
    int look(int reader) {
        const core::View view = core.sync.pin(reader);
        core.sync.unpin(reader, view);
        return view.slot(0);
    }
};

TEST(ALook, IsKnownOnceToWhoFillsThatSlotAnew) {
    LookedAtCamera camera(2);
    for (int round = 0; round < 50; ++round) {
        for (int i = 0; i < 3; ++i) EXPECT_FALSE(camera.update().was_looked_at) << "nobody has, in round " << round;
        const int seen = camera.look(round % 2);
        LookedAtCamera::Update update{};
        for (int i = 0; i < 5 && (i == 0 || update.slot != seen); ++i) {
            update = camera.update();
            EXPECT_EQ(update.was_looked_at, update.slot == seen);
        }
        EXPECT_EQ(update.slot, seen) << "it came round again";
    }
}

TEST(ALook, IsKnownOfEverySlotWhereAReaderFollows) {
    LookedAtCamera camera(1);
    for (int i = 0; i < 4; ++i) camera.update(), camera.look(0);
    for (int i = 0; i < 100; ++i) {
        EXPECT_TRUE(camera.update().was_looked_at);
        camera.look(0);
    }
}

TEST(ALook, ThatGoesOnIsKnownToo) {
    LookedAtCamera camera(1);
    camera.update();
    const core::View view = camera.core.sync.pin(0);
    const int seen = view.slot(0);
    for (int i = 0; i < 10; ++i) EXPECT_NE(camera.update().slot, seen);
    camera.core.sync.unpin(0, view);
    LookedAtCamera::Update update{};
    for (int i = 0; i < 5 && update.slot != seen; ++i) update = camera.update();
    EXPECT_EQ(update.slot, seen);
    EXPECT_TRUE(update.was_looked_at);
}

TEST(ALook, OfAGuestIsKnownAndNothingThatItWritesIsMoreThanAHint) {
    using Hazard = core::Hazard<WatchedAtomics>;
    core::GuestSeats<WatchedAtomics> seats;
    std::array<Hazard::Word, 2> page;
    const core::GuestHazards<WatchedAtomics> guests{&seats, 1, 2, page.data(), page.size()};
    LookedAtCamera camera(3, &guests);  // of whom two are the guest's pins
    camera.update();
    const std::uint64_t occupant = seats.admit(0);
    for (std::uint64_t attempt = 1; attempt < 50; ++attempt) {
        Hazard::Word& hazard = page[attempt % 2];
        const core::View view = Hazard::pin(hazard, camera.core.sync.view_word(), core::guest_epoch(occupant, attempt));
        Hazard::unpin(hazard, view);
        LookedAtCamera::Update update{};
        for (int i = 0; i < 5 && (i == 0 || update.slot != view.slot(0)); ++i) update = camera.update();
        EXPECT_EQ(update.slot, view.slot(0));
        EXPECT_TRUE(update.was_looked_at);
    }
    for (std::uint64_t word = 0; word < 4096; ++word) {
        page[word % 2].store(Site::count_, word * 0x9e3779b97f4a7c15u, std::memory_order_relaxed);
        EXPECT_LT(camera.update().slot, camera.readers + 2);
    }
}

TEST(ALook, TakesNoMoreStepsThanItSays) {
    for (const int readers : {1, 7, 14}) {
        LookedAtCamera camera(readers);
        core::Transaction<WatchedAtomics> transaction(camera.core, core::readers_of_all(readers));
        ASSERT_TRUE(transaction.open(0));
        const std::uint32_t before = transaction.steps();
        const std::uint32_t operations = operations_of([&] {
            static_cast<void>(transaction.was_looked_at(0));
            transaction.collect_looks(0);
        });
        EXPECT_EQ(transaction.steps() - before, operations) << "it counts itself correctly";
        EXPECT_EQ(operations, core::Transaction<WatchedAtomics>::steps_of_looks(readers));
        transaction.abandon();
    }
}

TEST(ALook, IsAskedForByUpdatesOfManyBytesAlone) {
    for (const int readers : {1, 5}) {
        const auto steps = [&](int width) {
            CameraConfig config = camera("grey");
            config.height = 1;
            config.width = width;
            config.channels = 1;
            Engine engine({config}, {}, with_readers(readers));
            const std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width), 1);
            return engine.update_image(0, pixels.data(), pixels.size()).steps();
        };
        const int least = static_cast<int>(detail::kLeastStreamed);
        EXPECT_EQ(steps(least) - steps(least - 1), core::Transaction<WatchedAtomics>::steps_of_looks(readers));
    }
}

TEST(AStreamedCopy, IsTheSameAsAnyOther) {
    std::vector<std::uint8_t> from(20000);
    std::iota(from.begin(), from.end(), std::uint8_t{1});
    struct alignas(64) Line {
        std::uint8_t bytes[64];
    };
    for (const std::size_t offset : {0, 1, 7, 16, 63})
        for (const std::size_t bytes : {0, 1, 63, 64, 65, 127, 128, 4096, 8191, 8192, 8193, 16384 + 33}) {
            std::vector<Line> lines(from.size() / sizeof(Line) + 1);
            auto* const to = reinterpret_cast<std::uint8_t*>(lines.data());
            detail::copy_streamed(to, from.data() + offset, bytes);
            EXPECT_TRUE(std::equal(to, to + bytes, from.data() + offset)) << bytes << " bytes from " << offset;
            EXPECT_TRUE(std::all_of(to + bytes, to + lines.size() * sizeof(Line), [](std::uint8_t b) { return b == 0; }))
                << "nothing behind " << bytes << " bytes";
        }
}

TEST(TheChoiceOfACopy, IsTheOneThatWasQuickerAndBothAreTriedNowAndThen) {
    detail::CopyChoice choice;
    Duration plain = 100us, streamed = 10us;
    int streams = 0;
    const auto copies = [&](int count) {
        streams = 0;
        for (int i = 0; i < count; ++i) {
            const bool one = choice.prefers_streamed();
            streams += one;
            choice.took(one, one ? streamed : plain, 65536);
        }
        return streams;
    };
    constexpr int kFirst = detail::CopyChoice::kFirst;
    EXPECT_EQ(copies(2 * kFirst), kFirst) << "as many of each to begin with";
    constexpr int kMany = 10 * detail::CopyChoice::kTryOther;
    EXPECT_EQ(copies(kMany), kMany - 10);
    plain = 5us;  // the readers' thread has come to the writer's core
    copies(50 * detail::CopyChoice::kTryOther);
    EXPECT_EQ(copies(kMany), 10);
    plain = 100us;  // and has gone again
    EXPECT_GT(copies(100), 80) << "at once: it is the one in use that has become slow";
}

TEST(TheChoiceOfACopy, IsNotMadeByOneInWhichTheCoreWasTakenAway) {
    detail::CopyChoice choice;
    // Neither of the first, nor later.
    choice.took(false, 20ms, 65536);
    for (std::uint32_t n = 0; n < detail::CopyChoice::kFirst; ++n) {
        choice.took(true, 30us, 65536);
        choice.took(false, 10us, 65536);
    }
    EXPECT_FALSE(choice.prefers_streamed());
    choice.took(false, 20ms, 65536);
    EXPECT_FALSE(choice.prefers_streamed());
}

TEST(TheChoiceOfACopy, LearnsNothingFromAClockThatStands) {
    detail::CopyChoice choice;
    for (int n = 0; n < 100; ++n) {
        ASSERT_FALSE(choice.prefers_streamed());
        choice.took(false, Duration::zero(), 65536);
    }
}

TEST(TheChoiceOfACopy, LiesInTheEnginesMemoryALineForEach) {
    const detail::EngineState state({camera("first"), camera("second")}, {}, with_readers(1));
    const auto place = [&](std::size_t camera, int field) {
        return reinterpret_cast<const std::byte*>(&state.copy_choice(camera, field)) - state.arena.base();
    };
    std::vector<std::ptrdiff_t> places{place(0, 0), place(0, 1), place(1, 0), place(1, 1)};
    std::ranges::sort(places);
    EXPECT_GE(places.front(), 0);
    EXPECT_LT(places.back(), static_cast<std::ptrdiff_t>(state.layout.bytes));
    for (std::size_t i = 1; i < places.size(); ++i) EXPECT_GE(places[i] - places[i - 1], 64);
}

std::atomic<int> clock_readings{0};
TimePoint counted_clock() noexcept {
    ++clock_readings;
    return Clock::now();
}

TEST(AnUpdateThatReadersFollow, TimesItsCopyWhereItHasAChoice) {
    const auto readings_of_an_update = [](std::size_t bytes, bool followed) {
        CameraConfig config = camera("grey");
        config.height = 1;
        config.width = static_cast<int>(bytes);
        config.channels = 1;
        EngineOptions options = with_readers(1);
        options.now = counted_clock;
        Engine engine({config}, {}, options);
        Reader reader = engine.make_reader();
        const std::vector<std::uint8_t> pixels(bytes, 1);
        int readings = 0;
        // Until each slot has been filled, and looked at.
        for (int n = 0; n < 3 * core::kMaxSlots; ++n) {
            clock_readings = 0;
            EXPECT_TRUE(engine.update_image(0, pixels.data(), bytes).ok());
            readings = clock_readings;
            if (followed) static_cast<void>(reader.snapshot());
        }
        return readings;
    };
    constexpr std::size_t large = detail::kLeastStreamed, small = large - 1;
    const int untimed = readings_of_an_update(large, false);
    EXPECT_EQ(readings_of_an_update(large, true), untimed + 2) << "before the copy and after it";
    EXPECT_EQ(readings_of_an_update(small, true), untimed);
}

TEST(AnUpdateThatReadersFollow, IsWholeHoweverItIsCopied) {
    for (const std::size_t bytes : {detail::kLeastStreamed - 1, detail::kLeastStreamed, detail::kLeastStreamed + 65}) {
        CameraConfig config = camera("grey");
        config.height = 1;
        config.width = static_cast<int>(bytes);
        config.channels = 1;
        Engine engine({config}, {}, with_readers(1));
        Reader reader = engine.make_reader();
        std::vector<std::uint8_t> pixels(bytes);
        for (std::size_t n = 1; n < 3 * detail::CopyChoice::kTryOther; ++n) {
            std::fill(pixels.begin(), pixels.end(), static_cast<std::uint8_t>(n));
            pixels[n % bytes] = 0;
            ASSERT_TRUE(engine.update_image(0, pixels.data(), bytes).ok());
            const Snapshot snapshot = reader.snapshot();
            ASSERT_TRUE(std::ranges::equal(snapshot.camera(0).image(), pixels));
        }
    }
}

}  // namespace
}  // namespace chiral::test
