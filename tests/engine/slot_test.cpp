// SPDX-License-Identifier: Apache-2.0
// Slot<T>: values of the user's own type, with the guarantees of an image.
#include "support.hpp"

#include <chiral/slot.hpp>

#include <gtest/gtest.h>

#include <stdexcept>

namespace chiral::test {
namespace {

struct Touch {
    std::uint64_t number{0};
    float pressure[61]{};
    char odd{0};
};

Touch numbered(std::uint64_t number) {
    Touch touch;
    touch.number = number;
    std::ranges::fill(touch.pressure, static_cast<float>(number % 4096));
    touch.odd = static_cast<char>(number % 100);
    return touch;
}

bool is_whole(const Touch& touch) {
    for (const float each : touch.pressure)
        if (each != static_cast<float>(touch.number % 4096)) return false;
    return touch.odd == static_cast<char>(touch.number % 100);
}

EngineOptions with_slots(std::vector<SlotConfig> slots, int readers = 2) {
    EngineOptions options = with_readers(readers);
    options.slots = std::move(slots);
    return options;
}

std::string refusal(EngineOptions options) {
    try {
        Engine engine({}, {}, std::move(options));
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return "nothing was refused";
}

TEST(ASlot, IsZeroAtFirstAndThenWhatWasUpdated) {
    Engine engine({camera()}, {}, with_slots({slot_config<int>("mode"), slot_config<Touch>("touch")}));
    Slot<Touch> touch(engine, "touch");
    Reader reader = engine.make_reader();
    {
        const Snapshot before = reader.snapshot();
        ASSERT_EQ(before.slots(), 2u);
        EXPECT_EQ(touch.in(before).number, 0u);
        EXPECT_EQ(touch.view(before).sequence(), 0u);
        EXPECT_EQ(touch.view(before).status(), SourceStatus::never);
    }
    const Status status = touch.update(numbered(7), at_ns(55));
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(status.sequence(), 1u);
    EXPECT_LE(status.steps(), engine.writer_step_bound());
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(touch.in(snapshot).number, 7u);
    EXPECT_TRUE(is_whole(touch.in(snapshot)));
    EXPECT_EQ(touch.view(snapshot).captured(), at_ns(55));
    EXPECT_EQ(snapshot.slot(0).sequence(), 0u) << "the other one";
    EXPECT_LE(snapshot.steps(), engine.reader_step_bound());
}

TEST(ASlot, IsPinnedLikeAnImage) {
    Engine engine({}, {}, with_slots({slot_config<Touch>("touch")}));
    Slot<Touch> touch(engine, "touch");
    Reader reader = engine.make_reader();
    ASSERT_TRUE(touch.update(numbered(1)).ok());
    const Snapshot held = reader.snapshot();
    const Touch* const pinned = &touch.in(held);
    for (std::uint64_t n = 2; n < 100; ++n) ASSERT_TRUE(touch.update(numbered(n)).ok());
    EXPECT_EQ(pinned->number, 1u);
    EXPECT_TRUE(is_whole(*pinned));
    EXPECT_TRUE(held.intact());
}

TEST(ASlot, IsNeverTornUnderLoad) {
    Engine engine({}, {}, with_slots({slot_config<Touch>("touch")}));
    Slot<Touch> touch(engine, "touch");
    std::atomic<bool> stop{false};
    std::atomic<int> looking{0};
    std::array<std::uint64_t, 2> wrong{};
    std::vector<std::thread> threads;
    for (std::size_t r = 0; r < 2; ++r)
        threads.emplace_back([&, r] {
            Reader reader = engine.make_reader();
            std::uint64_t last = 0;
            while (!stop.load()) {
                const Snapshot snapshot = reader.snapshot();
                const Touch& seen = touch.in(snapshot);
                wrong[r] += !is_whole(seen) || seen.number < last || touch.view(snapshot).sequence() != seen.number;
                if (last == 0 && seen.number > 0) ++looking;
                last = seen.number;
            }
        });
    for (std::uint64_t n = 1; n <= load(40000) || looking < 2; ++n)
        if (!touch.update(numbered(n)).ok()) ++wrong[0];
    stop.store(true);
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong[0] + wrong[1], 0u);
}

TEST(ASlot, KnowsWhatAReaderMissedAndWhenItIsStale) {
    EngineOptions options = with_slots({slot_config<Touch>("touch")});
    options.slots[0].stale_after = std::chrono::hours(1);
    Engine engine({}, {}, options);
    Slot<Touch> touch(engine, "touch");
    Reader reader = engine.make_reader();
    ASSERT_TRUE(touch.update(numbered(1)).ok());
    { const Snapshot first = reader.snapshot(); }
    for (std::uint64_t n = 2; n <= 5; ++n) ASSERT_TRUE(touch.update(numbered(n)).ok());
    {
        const Snapshot second = reader.snapshot();
        EXPECT_EQ(touch.view(second).missed(), 3u);
        EXPECT_EQ(touch.view(second).status(), SourceStatus::fresh);
    }
    ASSERT_TRUE(touch.update(numbered(6), engine.now() - std::chrono::minutes(30)).ok());
    {
        const Snapshot half_an_hour = reader.snapshot();
        EXPECT_EQ(touch.view(half_an_hour).status(), SourceStatus::fresh) << "by its own limit, not by that of streams";
    }
    ASSERT_TRUE(touch.update(numbered(7), engine.now() - std::chrono::hours(2)).ok());
    const Snapshot third = reader.snapshot();
    EXPECT_EQ(touch.view(third).status(), SourceStatus::stale);
}

TEST(ASlot, IsFrozenAfterAsManyEqualValuesAsItSays) {
    EngineOptions options = with_slots({slot_config<int>("beat"), slot_config<int>("mode")});
    options.slots[0].frozen_after = 3;
    for (SlotConfig& slot : options.slots) slot.stale_after = std::chrono::hours(1);
    Engine engine({}, {}, options);
    Slot<int> beat(engine, "beat"), mode(engine, "mode");
    Reader reader = engine.make_reader();
    std::vector<SourceStatus> seen;
    for (int i = 0; i < 8; ++i) {
        ASSERT_TRUE(beat.update(1).ok() && mode.update(1).ok());
        const Snapshot snapshot = reader.snapshot();
        seen.push_back(beat.view(snapshot).status());
        EXPECT_EQ(mode.view(snapshot).status(), SourceStatus::fresh) << "a mode may stay what it is";
    }
    EXPECT_EQ(seen.front(), SourceStatus::fresh);
    EXPECT_EQ(seen.back(), SourceStatus::frozen);
    ASSERT_TRUE(beat.update(2).ok());
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(beat.view(snapshot).status(), SourceStatus::fresh);
}

TEST(ASlotOfAnotherTypeOrName, IsRefused) {
    Engine engine({}, {}, with_slots({slot_config<Touch>("touch")}));
    EXPECT_THROW(Slot<int>(engine, "touch"), std::invalid_argument);
    EXPECT_THROW(Slot<Touch>(engine, "tuoch"), std::invalid_argument);
    struct SameSize {
        char bytes[sizeof(Touch)];
    };
    EXPECT_THROW(Slot<SameSize>(engine, "touch"), std::invalid_argument);
    const Status unknown = engine.update_slot(3, "", 1);
    EXPECT_EQ(unknown.message(), "slot index 3 does not exist: there are 1 slots, numbered from 0");
    const Status size = engine.update_slot(0, "", 1);
    EXPECT_EQ(size.message(), "slot 'touch': slot has 1 bytes, expected " + std::to_string(sizeof(Touch)));
}

TEST(ADeclarationOfSlots, ThatMakesNoSenseIsRefusedByName) {
    EXPECT_NE(refusal(with_slots({slot_config<int>("")})).find("the name is empty"), std::string::npos);
    EXPECT_NE(refusal(with_slots({slot_config<int>("a"), slot_config<char>("a")})).find("taken"), std::string::npos);
    EXPECT_NE(refusal(with_slots({slot_config<Touch>("touch", DType::float32, {4, 4})}))
                  .find("slot 'touch': its shape of float32 takes 64 bytes"),
              std::string::npos);
    EXPECT_NE(refusal(with_slots({slot_config<int>("a", DType::int32, {-1})})).find("positive"), std::string::npos);
    EXPECT_EQ(refusal(with_slots({slot_config<int>("a", DType::int32, {1})})), "nothing was refused");
}

TEST(ASlotsWriter, ThatHangsIsRevoked) {
    Engine engine({}, {}, with_slots({slot_config<Touch>("touch")}));
    EXPECT_TRUE(engine.revoke_slot_writer(0).ok()) << "nobody holds it";
    EXPECT_EQ(engine.revoke_slot_writer(1).code(), Errc::unknown_slot);
}

}  // namespace
}  // namespace chiral::test
