// SPDX-License-Identifier: Apache-2.0
// Frame transactions: any subset of a camera's fields, filled in place, published in one step or not at all.
#include "support.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <type_traits>

namespace chiral::test {
namespace {

class AFrame : public ::testing::Test {
protected:
    Engine engine{{camera("wrist"), camera("side", 2, 2, 1, false)}, {}, options()};
    Reader reader = engine.make_reader();

    static EngineOptions options() {
        EngineOptions o = with_readers(2);
        o.now = &HandClock::now;
        return o;
    }
    void SetUp() override { HandClock::set(at_ns(1'000)); }

    static void ask(Frame& frame, Field field, std::uint64_t number) {
        switch (field) {
            case Field::image: fill(frame.image(), number); break;
            case Field::depth: fill(frame.depth(), static_cast<float>(number)); break;
            case Field::intrinsics: frame.set_intrinsics(numbered_K(number)); break;
            case Field::extrinsics: frame.set_extrinsics(numbered_T(number)); break;
        }
    }
    static std::optional<std::uint64_t> number_of(const CameraView& view, Field field) {
        switch (field) {
            case Field::image: return number_in(view.image());
            case Field::depth: return number_in(view.depth());
            case Field::intrinsics: return number_in(std::span<const double>(view.intrinsics()));
            case Field::extrinsics: return number_in(std::span<const double>(view.extrinsics()));
        }
        return std::nullopt;
    }
    std::optional<std::uint64_t> newest_number_of(Field field) {
        const Snapshot snapshot = reader.snapshot();
        return number_of(snapshot.camera(0), field);
    }
    void publish_all(std::uint64_t number) {
        Frame frame = engine.begin_frame(0);
        for (const Field field : kAllFields) ask(frame, field, number);
        ASSERT_TRUE(frame.commit().ok());
    }
    // Every field can be written: nothing was left claimed.
    void expect_all_fields_free() {
        Frame frame = engine.begin_frame(0);
        for (const Field field : kAllFields) ask(frame, field, 1);
        EXPECT_TRUE(frame.status().ok()) << frame.status().message();
    }
};

TEST_F(AFrame, HandsOutMemoryOfTheDeclaredShapes) {
    Frame frame = engine.begin_frame(0);
    EXPECT_EQ(frame.image().size(), 3u * 5 * 3);
    EXPECT_EQ(frame.depth().size(), 3u * 5);
    EXPECT_EQ(frame.image().data(), frame.image().data()) << "asking again gives the same memory";
    EXPECT_TRUE(frame);
}

TEST_F(AFrame, PublishesAnySubsetOfItsFieldsInOneStep) {
    publish_all(1);
    std::array<std::uint64_t, 4> number{1, 1, 1, 1};
    std::array<std::uint64_t, 4> sequence{1, 1, 1, 1};
    for (unsigned subset = 1; subset < 16; ++subset) {
        const std::uint64_t n = 100 + subset;
        Frame frame = engine.begin_frame(0);
        std::uint64_t first_sequence = 0;
        for (const Field field : kAllFields) {
            const auto f = static_cast<std::size_t>(field);
            if (!(subset >> f & 1)) continue;
            ask(frame, field, n);
            number[f] = n;
            ++sequence[f];
            if (first_sequence == 0) first_sequence = sequence[f];
        }
        const std::uint64_t version = reader.snapshot().camera(0).version();
        const Status status = frame.commit();
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_EQ(status.sequence(), first_sequence) << "of the first field";
        EXPECT_LE(status.steps(), engine.writer_step_bound());
        const Snapshot snapshot = reader.snapshot();
        EXPECT_EQ(snapshot.camera(0).version(), version + 1) << "one step, whatever the number of fields";
        for (const Field field : kAllFields) {
            const auto f = static_cast<std::size_t>(field);
            EXPECT_EQ(number_of(snapshot.camera(0), field), number[f]) << "subset " << subset << ", " << to_string(field);
            EXPECT_EQ(snapshot.camera(0).stamp(field).sequence, sequence[f]);
        }
    }
}

TEST_F(AFrame, StaysInvisibleUntilItsCommit) {
    publish_all(1);
    const Contents before = contents_of(reader);
    Frame frame = engine.begin_frame(0);
    for (const Field field : kAllFields) {
        ask(frame, field, 2);
        EXPECT_TRUE(contents_of(reader) == before) << "after filling " << to_string(field);
    }
    ASSERT_TRUE(frame.commit().ok());
    EXPECT_FALSE(contents_of(reader) == before);
}

TEST_F(AFrame, StampsAllItsFieldsWithOneCaptureTime) {
    Frame frame = engine.begin_frame(0);
    for (const Field field : kAllFields) ask(frame, field, 1);
    HandClock::set(at_ns(2'000));
    ASSERT_TRUE(frame.commit(at_ns(1'500)).ok());
    const Snapshot snapshot = reader.snapshot();
    for (const Field field : kAllFields) {
        EXPECT_EQ(snapshot.camera(0).stamp(field).captured, at_ns(1'500));
        EXPECT_EQ(snapshot.camera(0).stamp(field).published, at_ns(2'000));
    }
}

TEST_F(AFrame, WithoutACaptureTimeIsCapturedAtItsCommit) {
    Frame frame = engine.begin_frame(0);
    ask(frame, Field::image, 1);
    HandClock::set(at_ns(7'000));
    ASSERT_TRUE(frame.commit().ok());
    EXPECT_EQ(reader.snapshot().camera(0).captured(), at_ns(7'000));
}

TEST_F(AFrame, ThatIsDestroyedOrAbandonedPublishesNothingAndFreesItsFields) {
    publish_all(1);
    const Contents before = contents_of(reader);
    {
        Frame frame = engine.begin_frame(0);
        for (const Field field : kAllFields) ask(frame, field, 2);
    }
    EXPECT_TRUE(contents_of(reader) == before);
    expect_all_fields_free();
    Frame frame = engine.begin_frame(0);
    for (const Field field : kAllFields) ask(frame, field, 3);
    frame.abandon();
    EXPECT_TRUE(contents_of(reader) == before);
    expect_all_fields_free();
    EXPECT_EQ(engine.newest_frame(0), 1u);
}

TEST_F(AFrame, ThatWasAbandonedLeavesNoGapInTheSequence) {
    publish_all(1);
    for (int i = 0; i < 20; ++i) {
        Frame frame = engine.begin_frame(0);
        ask(frame, Field::image, 99);
    }
    Frame frame = engine.begin_frame(0);
    ask(frame, Field::image, 2);
    EXPECT_EQ(frame.commit().sequence(), 2u);
}

TEST_F(AFrame, DoesNotPublishAFieldThatWasDiscarded) {
    publish_all(1);
    Frame frame = engine.begin_frame(0);
    for (const Field field : kAllFields) ask(frame, field, 2);
    frame.discard(Field::depth);
    frame.discard(Field::depth);  // a second time is no harm
    {
        Frame other = engine.begin_frame(0);
        EXPECT_FALSE(other.depth().empty()) << "a discarded field is free at once";
    }
    ASSERT_TRUE(frame.commit().ok());
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(number_of(snapshot.camera(0), Field::image), 2u);
    EXPECT_EQ(number_of(snapshot.camera(0), Field::depth), 1u);
    EXPECT_EQ(number_of(snapshot.camera(0), Field::extrinsics), 2u);
}

TEST_F(AFrame, MayAskAgainForWhatItDiscarded) {
    Frame frame = engine.begin_frame(0);
    for (int i = 0; i < 50; ++i) {
        ask(frame, Field::image, 5);
        frame.discard(Field::image);
    }
    ask(frame, Field::image, 6);
    const Status status = frame.commit();
    ASSERT_TRUE(status.ok());
    EXPECT_EQ(status.sequence(), 1u);
    EXPECT_EQ(newest_number_of(Field::image), 6u);
}

TEST_F(AFrame, OfWhichEverythingWasDiscardedHasNothingToPublish) {
    Frame frame = engine.begin_frame(0);
    ask(frame, Field::image, 5);
    frame.discard(Field::image);
    frame.discard(Field::extrinsics);  // never asked for
    EXPECT_EQ(frame.commit().code(), Errc::nothing_filled);
}

TEST_F(AFrame, InWhichNothingWasFilledCannotBeCommitted) {
    const Contents before = contents_of(reader);
    Frame frame = engine.begin_frame(0);
    const Status status = frame.commit();
    EXPECT_EQ(status.code(), Errc::nothing_filled);
    EXPECT_NE(status.message().find("camera 'wrist'"), std::string::npos) << status.message();
    EXPECT_TRUE(contents_of(reader) == before);
    EXPECT_EQ(frame.commit().code(), Errc::closed) << "the transaction is over all the same";
}

TEST_F(AFrame, ThatIsClosedRefusesEverything) {
    for (const bool committed : {true, false}) {
        Frame frame = engine.begin_frame(0);
        ask(frame, Field::image, 1);
        if (committed) {
            ASSERT_TRUE(frame.commit().ok());
        } else {
            frame.abandon();
        }
        const Contents before = contents_of(reader);
        EXPECT_EQ(frame.commit().code(), Errc::closed);
        EXPECT_EQ(frame.commit(at_ns(1)).code(), Errc::closed);
        EXPECT_TRUE(frame.image().empty());
        EXPECT_TRUE(frame.depth().empty());
        EXPECT_EQ(frame.set_intrinsics(asymmetric_K()).code(), Errc::closed);
        EXPECT_EQ(frame.set_extrinsics(asymmetric_T()).code(), Errc::closed);
        frame.discard(Field::image);
        frame.abandon();
        EXPECT_EQ(frame.status().code(), Errc::closed);
        EXPECT_FALSE(frame.status().message().empty());
        EXPECT_TRUE(contents_of(reader) == before);
        expect_all_fields_free();
    }
}

TEST_F(AFrame, CanBeMovedAndTheNewOneCommits) {
    static_assert(!std::is_copy_constructible_v<Frame> && std::is_nothrow_move_constructible_v<Frame>);
    Frame first = engine.begin_frame(0);
    ask(first, Field::image, 5);
    Frame second = std::move(first);
    EXPECT_FALSE(first);  // NOLINT: what a moved-from frame does is the point
    EXPECT_TRUE(second);
    EXPECT_EQ(first.commit().code(), Errc::closed);  // NOLINT: what a moved-from frame does is the point
    EXPECT_TRUE(first.image().empty());
    ask(second, Field::depth, 5);
    ASSERT_TRUE(second.commit().ok());
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(number_of(snapshot.camera(0), Field::image), 5u);
    EXPECT_EQ(number_of(snapshot.camera(0), Field::depth), 5u);
}

TEST_F(AFrame, ThatIsMovedToAbandonsWhatItHeld) {
    Frame first = engine.begin_frame(0);
    ask(first, Field::image, 5);
    Frame second = engine.begin_frame(0);
    ask(second, Field::depth, 6);
    first = std::move(second);
    {
        Frame third = engine.begin_frame(0);
        EXPECT_FALSE(third.image().empty()) << "the image of the overwritten frame is free";
        EXPECT_TRUE(third.depth().empty()) << "the depth is still claimed, by the moved frame";
    }
    ASSERT_TRUE(first.commit().ok());
    EXPECT_EQ(newest_number_of(Field::depth), 6u);
    EXPECT_EQ(reader.snapshot().camera(0).sequence(), 0u);
    expect_all_fields_free();
}

TEST_F(AFrame, WithAnErrorInsidePublishesNothingOfIt) {
    publish_all(1);
    const Contents before = contents_of(reader);
    Eigen::Matrix3d K = asymmetric_K();
    K(0, 1) = std::nan("");
    Frame frame = engine.begin_frame(0);
    ask(frame, Field::image, 2);
    EXPECT_EQ(frame.set_intrinsics(K).code(), Errc::not_finite);
    EXPECT_FALSE(frame);
    ask(frame, Field::depth, 2);
    EXPECT_EQ(frame.set_intrinsics(asymmetric_K()).code(), Errc::not_finite) << "the first error stays";
    EXPECT_EQ(frame.set_extrinsics(asymmetric_T()).code(), Errc::not_finite);
    EXPECT_EQ(frame.status().code(), Errc::not_finite);
    const Status status = frame.commit();
    EXPECT_EQ(status.code(), Errc::not_finite);
    EXPECT_NE(status.message().find("camera 'wrist': intrinsics value 1"), std::string::npos) << status.message();
    EXPECT_TRUE(contents_of(reader) == before);
    expect_all_fields_free();
}

TEST_F(AFrame, AskedForDepthWithoutDepthPublishesNothing) {
    Frame frame = engine.begin_frame(1);
    ask(frame, Field::image, 2);
    EXPECT_TRUE(frame.depth().empty());
    EXPECT_EQ(frame.status().code(), Errc::no_depth);
    const Status status = frame.commit();
    EXPECT_EQ(status.code(), Errc::no_depth);
    EXPECT_NE(status.message().find("camera 'side'"), std::string::npos);
    EXPECT_EQ(reader.snapshot().camera(1).sequence(), 0u);
}

TEST_F(AFrame, OfACameraThatDoesNotExistSaysSoAtOnceAndAtItsCommit) {
    for (const std::size_t index : {std::size_t{2}, static_cast<std::size_t>(-1)}) {
        Frame frame = engine.begin_frame(index);
        EXPECT_EQ(frame.status().code(), Errc::unknown_camera);
        EXPECT_TRUE(frame.image().empty());
        EXPECT_TRUE(frame.depth().empty());
        EXPECT_EQ(frame.set_intrinsics(asymmetric_K()).code(), Errc::unknown_camera);
        EXPECT_EQ(frame.set_extrinsics(asymmetric_T() * std::nan("")).code(), Errc::unknown_camera);
        frame.discard(Field::image);
        EXPECT_EQ(frame.commit().code(), Errc::unknown_camera);
    }
}

TEST_F(AFrame, KeepsAnotherFrameFromTheFieldsItHoldsAndNoOther) {
    Frame first = engine.begin_frame(0);
    ask(first, Field::image, 5);
    ask(first, Field::intrinsics, 5);
    {
        Frame second = engine.begin_frame(0);
        EXPECT_TRUE(second.image().empty());
        EXPECT_EQ(second.status().code(), Errc::writer_busy);
        const std::string message = second.status().message();
        EXPECT_NE(message.find("camera 'wrist': image is being written"), std::string::npos) << message;
        EXPECT_EQ(second.commit().code(), Errc::writer_busy);
    }
    EXPECT_EQ(engine.update_intrinsics(0, asymmetric_K()).code(), Errc::writer_busy);
    Frame third = engine.begin_frame(0);
    ask(third, Field::depth, 7);
    ask(third, Field::extrinsics, 7);
    EXPECT_TRUE(third.commit().ok()) << "other fields go on";
    Frame other_camera = engine.begin_frame(1);
    ask(other_camera, Field::image, 8);
    EXPECT_TRUE(other_camera.commit().ok()) << "and other cameras";
    ASSERT_TRUE(first.commit().ok()) << "the frame that was there first is not harmed";
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(number_of(snapshot.camera(0), Field::image), 5u);
    EXPECT_EQ(number_of(snapshot.camera(0), Field::intrinsics), 5u);
    EXPECT_EQ(number_of(snapshot.camera(0), Field::depth), 7u);
    EXPECT_EQ(snapshot.camera(0).stamp(Field::intrinsics).sequence, 1u);
}

TEST_F(AFrame, RefusedOneFieldFreesTheOthersItHeld) {
    Frame holder = engine.begin_frame(0);
    ask(holder, Field::extrinsics, 1);
    {
        Frame frame = engine.begin_frame(0);
        ask(frame, Field::image, 2);
        EXPECT_EQ(frame.set_extrinsics(asymmetric_T()).code(), Errc::writer_busy);
        EXPECT_EQ(frame.commit().code(), Errc::writer_busy);
    }
    EXPECT_EQ(reader.snapshot().camera(0).sequence(), 0u) << "its image was not published";
    EXPECT_TRUE(holder.commit().ok());
    expect_all_fields_free();
}

TEST_F(AFrame, ThatOverlapsOthersOnOtherFieldsCommitsInAnyOrder) {
    for (std::uint64_t n = 1; n <= 100; ++n) {
        Frame a = engine.begin_frame(0);
        Frame b = engine.begin_frame(0);
        ask(a, Field::image, n);
        ask(b, Field::depth, n);
        ask(a, Field::intrinsics, n);
        ask(b, Field::extrinsics, n);
        ASSERT_TRUE((n % 2 ? a : b).commit().ok());
        ASSERT_TRUE((n % 2 ? b : a).commit().ok());
        const Snapshot snapshot = reader.snapshot();
        for (const Field field : kAllFields) ASSERT_EQ(number_of(snapshot.camera(0), field), n) << to_string(field);
        ASSERT_EQ(snapshot.camera(0).version(), 2 * n);
    }
}

TEST_F(AFrame, WithoutAnImageIsNotANewFrameForThoseWhoWait) {
    Frame frame = engine.begin_frame(0);
    ask(frame, Field::depth, 1);
    ask(frame, Field::intrinsics, 1);
    ASSERT_TRUE(frame.commit().ok());
    EXPECT_EQ(engine.newest_frame(0), 0u);
    EXPECT_FALSE(engine.wait_frame(0, 0, HandClock::now()));
}

TEST_F(AFrame, NeverHandsOutMemoryThatAReaderHolds) {
    publish_all(1);
    Reader second = engine.make_reader();
    const Snapshot older = reader.snapshot();
    publish_all(2);
    const Snapshot newer = second.snapshot();
    for (int i = 0; i < 20; ++i) {
        Frame frame = engine.begin_frame(0);
        EXPECT_NE(frame.image().data(), older.camera(0).image().data());
        EXPECT_NE(frame.image().data(), newer.camera(0).image().data());
        EXPECT_NE(frame.depth().data(), older.camera(0).depth().data());
        EXPECT_NE(frame.depth().data(), newer.camera(0).depth().data());
        if (i % 2) {
            ASSERT_TRUE(frame.commit().ok());
        }
    }
    EXPECT_EQ(number_of(older.camera(0), Field::image), 1u);
    EXPECT_EQ(number_of(newer.camera(0), Field::image), 2u);
}

}  // namespace
}  // namespace chiral::test
