// SPDX-License-Identifier: Apache-2.0
// Writers that were taken for lost, revoked, and come back (I8): a driver that hung in a vendor's library and returns. They
// are told so, publish nothing, and share neither claim nor memory with their successors.
#include "puppet.hpp"

#include <chiral/core/transaction.hpp>

#include <gtest/gtest.h>

#include <memory>

namespace chiral::test {
namespace {

class ALateWriter : public ::testing::Test {
protected:
    Engine engine{{camera("wrist")}, {}, with_readers(2)};
    Reader reader = engine.make_reader();

    static void fill_all(Frame& frame, std::uint64_t number) {
        fill(frame.image(), number);
        fill(frame.depth(), static_cast<float>(number));
        ASSERT_TRUE(frame.set_intrinsics(numbered_K(number)).ok());
        ASSERT_TRUE(frame.set_extrinsics(numbered_T(number)).ok());
    }
    void publish(std::uint64_t number) {
        Frame frame = engine.begin_frame(0);
        fill_all(frame, number);
        const Status status = frame.commit();
        ASSERT_TRUE(status.ok()) << status.message();
    }
    void expect_newest(std::uint64_t number) {
        const Snapshot snapshot = reader.snapshot();
        const CameraView view = snapshot.camera(0);
        EXPECT_EQ(number_in(view.image()), number);
        EXPECT_EQ(number_in(view.depth()), number);
        EXPECT_EQ(number_in(std::span<const double>(view.intrinsics())), number);
        EXPECT_EQ(number_in(std::span<const double>(view.extrinsics())), number);
        EXPECT_TRUE(snapshot.intact());
    }
};

TEST_F(ALateWriter, IsToldSoByItsCommitAndPublishesNothing) {
    publish(1);
    Frame late = engine.begin_frame(0);
    fill_all(late, 99);
    ASSERT_TRUE(engine.revoke_camera_writer(0).ok());
    publish(2);
    const Status status = late.commit();
    EXPECT_EQ(status.code(), Errc::revoked);
    EXPECT_NE(status.message().find("camera 'wrist'"), std::string::npos) << status.message();
    EXPECT_NE(status.message().find("revoked"), std::string::npos) << status.message();
    EXPECT_FALSE(late);
    expect_newest(2);
    EXPECT_EQ(engine.newest_frame(0), 2u) << "nobody is woken for it";
    publish(3);
    expect_newest(3);
}

TEST_F(ALateWriter, ThatIsDestroyedDoesNotDropItsSuccessorsClaim) {
    auto late = std::make_unique<Frame>(engine.begin_frame(0));
    fill_all(*late, 99);
    ASSERT_TRUE(engine.revoke_camera_writer(0).ok());
    Frame successor = engine.begin_frame(0);
    fill_all(successor, 2);
    late.reset();
    Frame third = engine.begin_frame(0);
    EXPECT_TRUE(third.image().empty());
    EXPECT_EQ(third.status().code(), Errc::writer_busy);
    ASSERT_TRUE(successor.commit().ok());
    expect_newest(2);
}

TEST_F(ALateWriter, SharesNoMemoryWithItsSuccessorsWhateverReadersHold) {
    Reader second = engine.make_reader();
    publish(1);
    Frame late = engine.begin_frame(0);
    const std::span<std::uint8_t> image = late.image();
    const std::span<float> depth = late.depth();
    ASSERT_TRUE(engine.revoke_camera_writer(0).ok());
    // Each reader holds another frame, so that every other slot is needed.
    const Snapshot older = reader.snapshot();
    publish(2);
    const Snapshot newer = second.snapshot();
    for (std::uint64_t n = 3; n < 20; ++n) {
        Frame frame = engine.begin_frame(0);
        fill_all(frame, n);
        EXPECT_NE(frame.image().data(), image.data());
        EXPECT_NE(frame.depth().data(), depth.data());
        fill(image, 99);  // the driver goes on
        fill(depth, 99.f);
        EXPECT_EQ(number_in(frame.image()), n);
        ASSERT_TRUE(frame.commit().ok());
    }
    EXPECT_EQ(number_in(older.camera(0).image()), 1u);
    EXPECT_EQ(number_in(newer.camera(0).image()), 2u);
    EXPECT_EQ(late.commit().code(), Errc::revoked);
}

TEST_F(ALateWriter, LosesOnlyTheFieldsThatAreRevoked) {
    Frame image_writer = engine.begin_frame(0);
    fill(image_writer.image(), 5);
    Frame depth_writer = engine.begin_frame(0);
    fill(depth_writer.depth(), 6.f);
    ASSERT_TRUE(engine.revoke_writer(0, Field::image).ok());
    EXPECT_TRUE(depth_writer.commit().ok());
    EXPECT_EQ(image_writer.commit().code(), Errc::revoked);
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(snapshot.camera(0).sequence(), 0u);
    EXPECT_EQ(number_in(snapshot.camera(0).depth()), 6u);
}

TEST_F(ALateWriter, OfSeveralFieldsPublishesNoneIfOneWasRevoked) {
    publish(1);
    for (const Field field : kAllFields) {
        Frame late = engine.begin_frame(0);
        fill_all(late, 99);
        ASSERT_TRUE(engine.revoke_writer(0, field).ok());
        EXPECT_EQ(late.commit().code(), Errc::revoked) << to_string(field);
        expect_newest(1);
    }
    publish(2);
    expect_newest(2);
}

TEST_F(ALateWriter, MayDiscardWhatItLostAndAskAgain) {
    Frame late = engine.begin_frame(0);
    fill(late.image(), 99);
    ASSERT_TRUE(engine.revoke_writer(0, Field::image).ok());
    late.discard(Field::image);
    fill(late.image(), 7);
    EXPECT_TRUE(late.commit().ok());
    EXPECT_EQ(newest_number(reader), 7u);
}

TEST_F(ALateWriter, HasTheOnlySpareSlotUntilItComesBack) {
    Frame first = engine.begin_frame(0);
    fill(first.image(), 1);
    ASSERT_TRUE(engine.revoke_writer(0, Field::image).ok());
    Frame second = engine.begin_frame(0);
    fill(second.image(), 2);
    const Status refused = engine.revoke_writer(0, Field::image);
    EXPECT_EQ(refused.code(), Errc::no_spare_slot);
    EXPECT_NE(refused.message().find("has not come back"), std::string::npos) << refused.message();
    ASSERT_TRUE(second.commit().ok()) << "a refused revocation takes nothing";
    Frame third = engine.begin_frame(0);
    fill(third.image(), 3);
    first.abandon();
    EXPECT_TRUE(engine.revoke_writer(0, Field::image).ok());
    EXPECT_EQ(third.commit().code(), Errc::revoked);
    EXPECT_EQ(newest_number(reader), 2u);
}

TEST_F(ALateWriter, CannotBeRevokedWhenNobodyWrites) {
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(engine.revoke_camera_writer(0).ok()) << "of no effect, as often as one likes";
    publish(1);
    expect_newest(1);
    EXPECT_EQ(engine.revoke_writer(7, Field::image).code(), Errc::unknown_camera);
}

// ---- the core, stopped between two of its steps ----

struct Core {
    core::CameraCore<WatchedAtomics> camera;
    core::Bell<WatchedAtomics> bell;
    static constexpr core::FieldReaders kReaders = core::readers_of_all(1);

    bool update(int field) {
        core::Transaction<WatchedAtomics> transaction(camera, kReaders);
        if (transaction.open(field)) return transaction.commit(0, 0, bell) == core::Commit::published;
        transaction.abandon();
        return false;
    }
};

TEST(AWriterRevokedBetweenAnyTwoSteps, EitherPublishesOrIsTold) {
    for (const Site site : {Site::claim_look, Site::quarantine_load, Site::own_view_load, Site::claim_take, Site::guard_open,
                            Site::guard_close, Site::claim_close, Site::publish_view_add, Site::news_store,
                            Site::bell_waiters_load, Site::claim_drop}) {
        Core core;
        ASSERT_TRUE(core.update(1));
        bool opened = false;
        core::Commit commit{};
        Puppet late([&] {
            core::Transaction<WatchedAtomics> transaction(core.camera, Core::kReaders);
            opened = transaction.open(1);
            if (opened) commit = transaction.commit(0, 0, core.bell);
            else transaction.abandon();
        });
        ASSERT_TRUE(late.run_until(site));
        const core::Revocation revocation = core.camera.claims.revoke(1);
        const bool superseded = core.update(1);
        late.finish();
        SCOPED_TRACE("site " + std::to_string(static_cast<int>(site)));
        switch (site) {
            case Site::claim_look: EXPECT_TRUE(opened && commit == core::Commit::published); break;
            case Site::quarantine_load:
            case Site::own_view_load:
            case Site::claim_take: EXPECT_FALSE(opened) << "somebody else wrote meanwhile"; break;
            case Site::publish_view_add:
            case Site::news_store:
            case Site::bell_waiters_load:
            case Site::claim_drop:
                EXPECT_EQ(revocation, core::Revocation::publishing);
                EXPECT_FALSE(superseded);
                EXPECT_EQ(commit, core::Commit::published);
                break;
            default:
                EXPECT_EQ(revocation, core::Revocation::done);
                EXPECT_TRUE(superseded);
                EXPECT_EQ(commit, core::Commit::revoked);
        }
        for (int i = 0; i < 10; ++i) EXPECT_TRUE(core.update(1));
    }
}

TEST(ATransaction, TakesNoMoreStepsThanItSays) {
    for (const int readers : {1, 7, 14}) {
        core::CameraCore<WatchedAtomics> camera;
        core::Bell<WatchedAtomics> bell;
        core::Transaction<WatchedAtomics> transaction(camera, core::readers_of_all(readers));
        const std::uint32_t operations = operations_of([&] {
            for (int f = 0; f < core::kFields; ++f) ASSERT_TRUE(transaction.open(f));
            ASSERT_EQ(transaction.commit(0, 0, bell), core::Commit::published);
        });
        EXPECT_EQ(transaction.steps(), operations) << "it counts itself correctly";
        EXPECT_LE(operations, core::kFields * core::Transaction<WatchedAtomics>::steps_per_field(readers) +
                                  core::Transaction<WatchedAtomics>::kCommitSteps);
    }
}

TEST(AWriterThatDiesAnywhere, CanBeBuriedAndItsFieldTakenOver) {
    for (const Site site : {Site::guard_open, Site::claim_close, Site::publish_view_add, Site::claim_drop}) {
        Core core;
        // Stopped for as long as anybody looks; it goes on when this round is over and its camera no longer matters.
        Puppet dying([&] { core.update(1); });
        ASSERT_TRUE(dying.run_until(site));
        EXPECT_FALSE(core.update(1));
        EXPECT_EQ(core.camera.claims.bury(1), core::Revocation::done);
        const std::uint64_t published = site == Site::claim_drop ? 1 : 0;
        for (std::uint64_t i = 1; i <= 20; ++i) {
            ASSERT_TRUE(core.update(1));
            const core::View view = core.camera.sync.pin(0);
            EXPECT_EQ(core.camera.stamps[1][view.slot(1)].sequence(), published + i);
            core.camera.sync.unpin(0, view);
        }
    }
}

}  // namespace
}  // namespace chiral::test
