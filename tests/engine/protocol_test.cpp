// SPDX-License-Identifier: Apache-2.0
// CameraSync in chosen interleavings: threads are stopped just before one of their atomic operations, and others go on.
//
// tests/model searches all interleavings of small programs under the weak memory model; here are the ones that the protocol
// was designed against, by name, with loads that a model checker cannot run.
#include "puppet.hpp"

#include <chiral/core/camera_sync.hpp>
#include <chiral/core/reader_seats.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace chiral::test {
namespace {

using core::kFields;
using core::View;

/// The synchronisation of a camera with a number in place of each payload. Numbers are plain memory, as payloads are:
/// ThreadSanitizer sees a writer that touches what a reader may read.
struct NumberedCamera {
    core::CameraSync<WatchedAtomics> sync;
    std::array<std::array<std::uint64_t, 16>, kFields> slots{};
    std::array<std::uint64_t, kFields> last{};
    int readers;

    explicit NumberedCamera(int reader_count) : readers(reader_count) {}

    /// One publication of `fields`; every one of them gets the next number. Returns the most steps a field took.
    std::uint32_t publish(std::initializer_list<int> fields) {
        core::ViewDelta delta;
        std::uint32_t most_steps = 0;
        for (const int field : fields) {
            const core::FreeSlot free = sync.choose_slot(field, readers);
            EXPECT_LT(free.slot, readers + 2);
            EXPECT_NE(free.slot, free.current);
            slots[field][free.slot] = ++last[field];
            delta.move(field, free.current, free.slot);
            most_steps = std::max(most_steps, free.steps);
        }
        sync.publish(delta);
        return most_steps;
    }
    std::uint64_t number(View view, int field) const { return slots[field][view.slot(field)]; }
};

constexpr std::initializer_list<int> kEveryField = {0, 1, 2, 3};

/// A reader that pins, and what it saw at that moment.
struct PinningReader {
    NumberedCamera& camera;
    int seat;
    View view;
    std::array<std::uint64_t, kFields> seen{};

    void pin() {
        view = camera.sync.pin(seat);
        for (int f = 0; f < kFields; ++f) seen[f] = camera.number(view, f);
    }
    bool unchanged() const {
        for (int f = 0; f < kFields; ++f)
            if (camera.number(view, f) != seen[f]) return false;
        return true;
    }
};

TEST(APin, InterruptedAnywhereByAnyNumberOfUpdatesIsOfOneInstantAndStaysUntouched) {
    for (const int readers : {1, 2, 3})
        for (const Site site : {Site::pin_pending_store, Site::pin_view_load, Site::pin_cas})
            for (int updates = 0; updates <= 2 * (readers + 2) + 1; ++updates) {
                NumberedCamera camera(readers);
                for (int i = 0; i < 3; ++i) camera.publish(kEveryField);
                PinningReader reader{camera, readers - 1, {}, {}};
                Puppet puppet([&] { reader.pin(); });
                ASSERT_TRUE(puppet.run_until(site));
                for (int i = 0; i < updates; ++i) camera.publish(kEveryField);
                puppet.finish();
                SCOPED_TRACE("site " + std::to_string(static_cast<int>(site)) + ", updates " + std::to_string(updates));
                ASSERT_GE(reader.view.version(), 3u);
                ASSERT_LE(reader.view.version(), 3u + static_cast<unsigned>(updates));
                for (int f = 0; f < kFields; ++f)
                    ASSERT_EQ(reader.seen[f], reader.view.version()) << "all fields are those of the pinned version";
                for (int i = 0; i < 50; ++i) {
                    camera.publish(kEveryField);
                    ASSERT_TRUE(reader.unchanged()) << "update " << i;
                }
            }
}

TEST(APin, OfFieldsThatArePublishedApartIsOfOneInstant) {
    for (const Site site : {Site::pin_pending_store, Site::pin_view_load, Site::pin_cas})
        for (int updates = 0; updates < 40; ++updates) {
            NumberedCamera camera(2);
            PinningReader reader{camera, 1, {}, {}};
            Puppet puppet([&] { reader.pin(); });
            ASSERT_TRUE(puppet.run_until(site));
            for (int i = 0; i < updates; ++i) camera.publish({(i * 7 + i / 3) % kFields});
            puppet.finish();
            std::uint64_t sum = 0;
            for (int f = 0; f < kFields; ++f) sum += reader.seen[f];
            ASSERT_EQ(sum, reader.view.version()) << "as many publications as the version says";
            for (int i = 0; i < 40; ++i) camera.publish({i % kFields});
            ASSERT_TRUE(reader.unchanged());
        }
}

TEST(AReaderStoppedWhilePending, DoesNotKeepAMillionUpdatesFromSucceedingWithinTheirStepBound) {
    for (const Site site : {Site::pin_view_load, Site::pin_cas}) {
        constexpr int kReaders = 2;
        NumberedCamera camera(kReaders);
        camera.publish(kEveryField);
        PinningReader stopped{camera, 0, {}, {}};
        Puppet puppet([&] { stopped.pin(); });
        ASSERT_TRUE(puppet.run_until(site));
        const std::uint64_t updates = load(1'000'000);
        std::uint32_t most_steps = 0;
        for (std::uint64_t i = 0; i < updates; ++i) most_steps = std::max(most_steps, camera.publish({0}));
        EXPECT_LE(most_steps, 1u + 3 * kReaders);
        puppet.finish();
        EXPECT_TRUE(stopped.unchanged()) << "it wakes up holding what a writer had pinned for it";
        EXPECT_EQ(stopped.view.version(), 1u) << "by the first writer that met it";
        camera.publish(kEveryField);
        EXPECT_TRUE(stopped.unchanged());
    }
}

TEST(AReaderStoppedWhilePending, IsHelpedOnceAndIsThenAPinLikeAnyOther) {
    NumberedCamera camera(1);
    PinningReader stopped{camera, 0, {}, {}};
    Puppet puppet([&] { stopped.pin(); });
    ASSERT_TRUE(puppet.run_until(Site::pin_cas));
    EXPECT_EQ(camera.publish({0}), 4u) << "view, hazard, and two steps of help";
    EXPECT_EQ(camera.publish({0}), 2u) << "view and hazard";
    puppet.finish();
}

// A helper is stopped between its two steps. The reader finishes, lets go and pins again: the old view that the helper still
// holds must not become the new pin, for a writer that looked in between fills a slot of it. (A tag that is the same in
// every attempt lets it.)
TEST(AHelperThatWakesUpLate, CannotInstallItsOldViewIntoALaterPin) {
    NumberedCamera camera(1);
    camera.publish(kEveryField);
    PinningReader first{camera, 0, {}, {}};
    PinningReader second{camera, 0, {}, {}};
    Puppet reader([&] {
        first.pin();
        camera.sync.unpin(0, first.view);
        second.pin();
    });
    Puppet helper([&] { camera.publish({0}); });
    Puppet filler([&] { camera.publish({1}); });
    ASSERT_TRUE(reader.run_until(Site::pin_view_load)) << "pending";
    ASSERT_TRUE(helper.run_until(Site::help_cas)) << "holds version 1";
    ASSERT_TRUE(reader.run_until(Site::pin_pending_store)) << "has let go: nothing is pinned or pending";
    camera.publish({1});
    ASSERT_TRUE(filler.run_until(Site::publish_view_add)) << "has filled the slot of version 1 anew";
    ASSERT_TRUE(reader.run_until(Site::pin_cas)) << "pending again";
    helper.finish();
    reader.finish();
    EXPECT_EQ(second.view.version(), 2u) << "what was current when it looked";
    EXPECT_EQ(second.seen[1], 2u);
    filler.finish();
    for (int i = 0; i < 20; ++i) {
        camera.publish({0});
        camera.publish({1});
        ASSERT_TRUE(second.unchanged()) << i;
    }
}

// The writer looked before the reader was pending and publishes after the reader loaded the view, so the reader's view is
// one behind in this field. The writer then comes to help and loses against the reader's own CAS: what beat it is not what
// it would have installed, and must not be filled.
TEST(AHelperThatLosesItsRace, RespectsThePinThatBeatIt) {
    for (int between = 0; between < 6; ++between) {
        NumberedCamera camera(1);
        camera.publish(kEveryField);
        PinningReader pinning{camera, 0, {}, {}};
        Puppet reader([&] { pinning.pin(); });
        Puppet writer([&] {
            for (int i = 0; i < 10; ++i) camera.publish({0});
        });
        ASSERT_TRUE(writer.run_until(Site::publish_view_add));
        ASSERT_TRUE(reader.run_until(Site::pin_cas)) << "holds version 1";
        ASSERT_TRUE(writer.run_until(Site::help_cas)) << "has published version 2";
        for (int i = 0; i < between; ++i) camera.publish({2});
        reader.finish();
        EXPECT_EQ(pinning.seen[0], between == 0 ? 1u : 2u) << "others may have helped in between";
        writer.finish();
        EXPECT_TRUE(pinning.unchanged()) << between;
    }
}

TEST(AHelperThatLosesItsRace, IsNotConfusedByAReaderThatLetGo) {
    NumberedCamera camera(1);
    camera.publish(kEveryField);
    PinningReader pinning{camera, 0, {}, {}};
    Puppet reader([&] {
        pinning.pin();
        camera.sync.unpin(0, pinning.view);
    });
    Puppet writer([&] { camera.publish({0}); });
    ASSERT_TRUE(reader.run_until(Site::pin_view_load));
    ASSERT_TRUE(writer.run_until(Site::help_cas));
    reader.finish();
    writer.finish();
    EXPECT_EQ(camera.number(camera.sync.pin(0), 0), 2u);
}

TEST(AWriterStoppedAnywhere, NeverFillsASlotThatWasPinnedMeanwhile) {
    for (const Site site : {Site::own_view_load, Site::scan_hazard_load, Site::publish_view_add})
        for (int others = 0; others < 6; ++others) {
            NumberedCamera camera(2);
            camera.publish(kEveryField);
            PinningReader before{camera, 0, {}, {}};
            PinningReader during{camera, 1, {}, {}};
            before.pin();
            Puppet writer([&] { camera.publish({0}); });
            ASSERT_TRUE(writer.run_until(site));
            for (int i = 0; i < others; ++i) camera.publish({1 + i % 3});
            during.pin();
            for (int i = 0; i < others; ++i) camera.publish({1 + i % 3});
            writer.finish();
            ASSERT_TRUE(before.unchanged());
            ASSERT_TRUE(during.unchanged());
            for (int i = 0; i < 20; ++i) {
                camera.publish(kEveryField);
                ASSERT_TRUE(before.unchanged());
                ASSERT_TRUE(during.unchanged());
            }
        }
}

TEST(EveryCallOfTheProtocol, TakesNoMoreOperationsThanItSays) {
    for (const int readers : {1, 2, 7, 14}) {
        NumberedCamera camera(readers);
        View view;
        EXPECT_EQ(operations_of([&] { view = camera.sync.pin(0); }), core::CameraSync<WatchedAtomics>::kPinSteps);
        EXPECT_EQ(operations_of([&] { camera.sync.unpin(0, view); }), 1u);
        // All readers pending at once: the most work that a writer can meet.
        std::vector<std::unique_ptr<Puppet>> pending;
        for (int r = 0; r < readers; ++r) {
            pending.push_back(std::make_unique<Puppet>([&camera, r] { camera.sync.pin(r); }));
            ASSERT_TRUE(pending.back()->run_until(Site::pin_view_load));
        }
        core::FreeSlot free{};
        const std::uint32_t operations = operations_of([&] { free = camera.sync.choose_slot(0, readers); });
        EXPECT_EQ(operations, free.steps) << "it counts itself correctly";
        EXPECT_EQ(operations, 1u + 3 * static_cast<unsigned>(readers));
        EXPECT_EQ(operations_of([&] { camera.sync.publish(core::ViewDelta{}); }), 1u);
    }
}

TEST(TheView, CarriesTheSlotsOfAllFieldsWhateverTheyMoveFromAndTo) {
    // Neighbouring fields share a word: an add that borrows from the next field must be undone by its own version carry.
    constexpr int kVersionShift = core::kSlotBits * kFields;
    for (int field = 0; field < kFields; ++field)
        for (int from = 0; from < core::kMaxSlots; ++from)
            for (int to = 0; to < core::kMaxSlots; ++to) {
                core::ViewDelta away, back;
                std::uint64_t bits = std::uint64_t{0x1234} << kVersionShift;
                core::ViewDelta place;
                for (int f = 0; f < kFields; ++f) place.move(f, 0, f == field ? from : 15 - f);
                bits += place.bits();
                away.move(field, from, to);
                View view{bits + away.bits()};
                for (int f = 0; f < kFields; ++f) ASSERT_EQ(view.slot(f), f == field ? to : 15 - f);
                ASSERT_EQ(view.version(), 0x1236u);
                back.move(field, to, from);
                ASSERT_EQ(view.bits + back.bits(), bits + (std::uint64_t{2} << kVersionShift));
            }
}

TEST(TheSeatsOfReaders, AreEachHeldByOneThreadAtATime) {
    constexpr int kSeats = 3;
    core::ReaderSeats<WatchedAtomics> seats;
    std::array<int, core::kMaxReaders> holder{};  // plain memory: two holders of a seat are a data race
    std::atomic<std::uint64_t> taken{0}, doubled{0};
    std::vector<std::thread> threads;
    const std::uint64_t rounds = load(40'000);
    for (int t = 1; t <= 4; ++t)
        threads.emplace_back([&, t] {
            for (std::uint64_t i = 0; i < rounds; ++i) {
                const int seat = seats.take(kSeats);
                if (seat < 0) continue;
                ++taken;
                holder[seat] = t;
                if (seat >= kSeats || holder[seat] != t) ++doubled;
                seats.drop(seat);
            }
        });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(doubled.load(), 0u);
    EXPECT_GT(taken.load(), 0u);
    for (int i = 0; i < kSeats; ++i) EXPECT_GE(seats.take(kSeats), 0) << "all are free in the end";
    EXPECT_EQ(seats.take(kSeats), -1);
}

}  // namespace
}  // namespace chiral::test
