// SPDX-License-Identifier: Apache-2.0
#include "look_checker.hpp"
#include "tally_record.hpp"

#include <chiral/wire.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace chiral::stress {
namespace {

// One RGB-D camera, one RGB camera and one proprio stream in memory, and a look at them.
class Scene : public ::testing::Test {
protected:
    Scene() : progress_(2, 1) {
        cameras_[0].has_depth = true;
        make_checker(Writes::frame);
        for (std::size_t i = 0; i < 2; ++i) {
            buffers_[i].image.resize(40 * 30 * 3);
            buffers_[i].depth.resize(i == 0 ? 40 * 30 * sizeof(float) : 0);
        }
        write(1);
        look_.cameras.resize(2);
        look_.proprios.resize(1);
    }

    void make_checker(Writes writes) {
        checker_ = std::make_unique<LookChecker>("reader 0", cameras_, proprios_, writes, progress_);
    }

    void write_field(std::size_t camera, std::size_t field, std::uint64_t number) {
        Buffers& to = buffers_[camera];
        switch (kFieldOrder[field]) {
            case Field::image: fill_image(to.image, number, camera); break;
            case Field::depth: fill_depth(to.depth, DType::float32, number); break;
            case Field::intrinsics: fill_matrix(to.intrinsics, number, camera); break;
            case Field::extrinsics: fill_matrix(to.extrinsics, number, camera); break;
        }
        to.sequence[field] = number;
        to.captured[field] = time_of(number);
    }

    // All sources publish frame `number`.
    void write(std::uint64_t number) {
        for (std::size_t camera = 0; camera < 2; ++camera) {
            for (std::size_t field = 0; field < kFields; ++field) write_field(camera, field, number);
            progress_.camera_published(camera, number);
        }
        fill_proprio(values_, number, 0);
        sample_ = number;
        sampled_ = time_of(number);
        progress_.proprio_published(0, number);
    }

    static std::chrono::nanoseconds time_of(std::uint64_t number) {
        return tag_time(std::chrono::seconds(1000) + std::chrono::milliseconds(number), number, {});
    }

    // One look, checked in full unless told otherwise. `floor`: the frames known before it; 0: all that are published.
    const Tally& check(std::uint64_t floor = 0, bool full = true) {
        Floor before;
        progress_.read(before);
        if (floor) before = {{floor, floor}, {floor}};
        for (std::size_t i = 0; i < 2; ++i) {
            const Buffers& b = buffers_[i];
            look_.cameras[i] = {b.image, b.depth, b.intrinsics, b.extrinsics, b.sequence, b.captured};
        }
        look_.proprios[0] = {values_, sample_, sampled_, overrun_};
        checker_->check(look_, before, full);
        return checker_->tally();
    }

    static std::string counts(const Tally& tally) {
        return fmt::format("torn {} incoherent {} backwards {} stale {}", tally.torn, tally.incoherent, tally.backwards,
                           tally.stale);
    }

    struct Buffers {
        std::vector<std::uint8_t> image;
        std::vector<std::uint8_t> depth;
        std::array<double, 9> intrinsics{};
        std::array<double, 16> extrinsics{};
        std::array<std::uint64_t, kFields> sequence{};
        std::array<std::chrono::nanoseconds, kFields> captured{};
    };
    std::vector<CameraConfig> cameras_{{"left", 30, 40}, {"right", 30, 40}};
    std::vector<ProprioConfig> proprios_{{"arm", 7}};
    std::array<Buffers, 2> buffers_;
    std::array<float, 7> values_{};
    std::uint64_t sample_{0};
    std::chrono::nanoseconds sampled_{0};
    bool overrun_{false};
    Progress progress_;
    Look look_;
    std::unique_ptr<LookChecker> checker_;
};

constexpr const char* kClean = "torn 0 incoherent 0 backwards 0 stale 0";

TEST_F(Scene, FramesInOrderAreClean) {
    for (std::uint64_t number = 1; number < 2100; ++number) {
        write(number);
        EXPECT_EQ(counts(check(0, number % 2 == 0)), kClean);
        EXPECT_EQ(counts(check(0, number % 2 == 1)), kClean) << "the same frame again";
    }
    EXPECT_EQ(checker_->tally().missed_cameras, (std::vector<std::uint64_t>{0, 0}));
}

TEST_F(Scene, FramesThatWereNotSeenAreCounted) {
    check();
    write(5);
    EXPECT_EQ(counts(check()), kClean);
    EXPECT_EQ(checker_->tally().missed_cameras, (std::vector<std::uint64_t>{3, 3}));
    EXPECT_EQ(checker_->tally().missed_proprios, (std::vector<std::uint64_t>{3}));
}

TEST_F(Scene, OneWrongByteIsTorn) {
    buffers_[0].image[1234] ^= 0x80;
    EXPECT_EQ(counts(check()), "torn 1 incoherent 0 backwards 0 stale 0");
    ASSERT_EQ(checker_->tally().examples.size(), 1u);
    EXPECT_EQ(
        checker_->tally().examples[0],
        "reader 0, look 1: camera 'left': image is torn: it begins with frame 1, but at byte 1234 of 3600 no frame lies "
        "there");
}

TEST_F(Scene, OneWrongByteIsFoundBySamplingInTheEnd) {
    check();
    buffers_[0].image[1234] ^= 0x80;
    while (checker_->tally().looks < 1000) check(0, false);
    EXPECT_GT(checker_->tally().torn, 0u);
    EXPECT_LT(checker_->tally().torn, 1000u);
}

TEST_F(Scene, AnImageOfTwoFramesIsTornAndBothAreNamed) {
    write(6);
    const auto older = buffers_[1].image;
    write(7);
    std::copy(older.begin() + 800, older.end(), buffers_[1].image.begin() + 800);
    check();
    ASSERT_EQ(checker_->tally().torn, 1u);
    EXPECT_NE(checker_->tally().examples[0].find("it begins with frame 7, but at byte 800 of 3600 frame 6 lies there"),
              std::string::npos)
        << checker_->tally().examples[0];
}

TEST_F(Scene, OneWrongDepthIsTorn) {
    fill_depth(std::span(buffers_[0].depth).last(sizeof(float)), DType::float32, 0);
    EXPECT_EQ(counts(check()), "torn 1 incoherent 0 backwards 0 stale 0");
}

TEST_F(Scene, OneWrongElementOfKOrTIsTorn) {
    buffers_[0].intrinsics[8] += 1.0;
    buffers_[1].extrinsics[15] = 0.0;
    EXPECT_EQ(counts(check(0, false)), "torn 2 incoherent 0 backwards 0 stale 0");
}

TEST_F(Scene, OneWrongProprioValueIsTorn) {
    values_[6] += 1.f;
    EXPECT_EQ(counts(check(0, false)), "torn 1 incoherent 0 backwards 0 stale 0");
}

TEST_F(Scene, ABufferOfAnotherCameraIsTorn) {
    std::swap(buffers_[0].image, buffers_[1].image);
    EXPECT_EQ(counts(check()), "torn 2 incoherent 0 backwards 0 stale 0");
}

TEST_F(Scene, AFrameThatNobodyWroteYetIsTorn) {
    for (std::size_t field = 0; field < kFields; ++field) write_field(0, field, 3);  // known is 1, so 2 may be on its way
    EXPECT_EQ(counts(check()), "torn 4 incoherent 0 backwards 0 stale 0");
}

TEST_F(Scene, ABufferOfTheWrongSizeIsTorn) {
    buffers_[0].image.pop_back();
    EXPECT_EQ(counts(check()), "torn 1 incoherent 0 backwards 0 stale 0");
}

TEST_F(Scene, EachFieldOfAnotherFrameIsIncoherent) {
    write(6);
    const auto other = buffers_;
    for (std::size_t field = 0; field < kFields; ++field) {
        write(7);
        make_checker(Writes::frame);
        write_field(0, field, 6);
        EXPECT_EQ(counts(check(6)), "torn 0 incoherent 1 backwards 0 stale 0") << to_string(kFieldOrder[field]);
    }
}

TEST_F(Scene, AStampOrCaptureTimeOfAnotherFrameIsIncoherent) {
    write(7);
    for (std::size_t field = 0; field < kFields; ++field) {
        make_checker(Writes::frame);
        buffers_[0].sequence[field] = 6;
        EXPECT_EQ(counts(check()), "torn 0 incoherent 1 backwards 0 stale 0") << to_string(kFieldOrder[field]);
        buffers_[0].sequence[field] = 7;
        make_checker(Writes::frame);
        buffers_[1].captured[field] = time_of(6);
        EXPECT_EQ(counts(check()), field == 1 ? kClean : "torn 0 incoherent 1 backwards 0 stale 0")
            << to_string(kFieldOrder[field]) << " (the second camera has no depth)";
        buffers_[1].captured[field] = time_of(7);
    }
    make_checker(Writes::frame);
    sample_ = 6;
    EXPECT_EQ(counts(check()), "torn 0 incoherent 1 backwards 0 stale 0");
}

TEST_F(Scene, FieldByFieldPassesThroughTheStatesThatExisted) {
    make_checker(Writes::fields);
    for (std::uint64_t number = 2; number < 5; ++number) {
        for (std::size_t field = 0; field < kFields; ++field) {
            write_field(0, field, number);
            EXPECT_EQ(counts(check(1)), kClean) << "field " << field << " of frame " << number;
        }
        progress_.camera_published(0, number);
    }
    EXPECT_EQ(checker_->tally().mixed, 9u) << "the states between two frames, three a frame";
}

TEST_F(Scene, FieldByFieldFindsAStateThatNeverWas) {
    make_checker(Writes::fields);
    write(7);
    write_field(0, 0, 8);
    write_field(0, 2, 8);  // K before depth
    EXPECT_EQ(counts(check(1)), "torn 0 incoherent 1 backwards 0 stale 0");
    make_checker(Writes::fields);
    write(7);
    write_field(0, 3, 5);  // two frames behind
    EXPECT_EQ(counts(check(1)), "torn 0 incoherent 1 backwards 0 stale 0");
}

TEST_F(Scene, AnOlderFrameThanBeforeIsBackwards) {
    write(7);
    check();
    write(6);
    EXPECT_EQ(counts(check(6)), "torn 0 incoherent 0 backwards 3 stale 0") << "two cameras and a stream";
}

TEST_F(Scene, AnEarlierCaptureTimeThanBeforeIsBackwards) {
    write(7);
    check();
    buffers_[0].captured[0] -= std::chrono::milliseconds(1);
    sampled_ -= std::chrono::milliseconds(1);
    EXPECT_EQ(counts(check()), "torn 0 incoherent 0 backwards 2 stale 0");
}

TEST_F(Scene, AnOlderFrameThanWasKnownBeforeTheLookIsStale) {
    write(7);
    EXPECT_EQ(counts(check(8)), "torn 0 incoherent 0 backwards 0 stale 3");
    EXPECT_EQ(counts(check(7)), "torn 0 incoherent 0 backwards 0 stale 3") << "the one known before may be shown";
}

TEST_F(Scene, ContentThatStandsStillWhileFramesArePublishedIsFrozenAndNamed) {
    write(5);
    check();
    check(5 + kFrozenAfter);
    EXPECT_EQ(checker_->tally().frozen, 0u) << "only stale so far";
    EXPECT_EQ(check(6 + kFrozenAfter).frozen, 3u);
    EXPECT_EQ(check(20 + kFrozenAfter).frozen, 6u);
    EXPECT_EQ(checker_->tally().frozen_sources,
              (std::vector<std::string>{"camera 'left'", "camera 'right'", "proprio 'arm'"}));
}

TEST_F(Scene, OldContentThatChangesIsStaleAndNotFrozen) {
    for (std::uint64_t number = 1; number < 5; ++number) {
        write(number);
        EXPECT_EQ(check(number + 2 * kFrozenAfter).frozen, 0u);
    }
}

TEST_F(Scene, ACaptureTimeMayGoBackByAStepOfTheClockWhereOneIsMade) {
    checker_->allow_clock_steps(std::chrono::minutes(10));
    write(5);
    check();
    write(6);
    for (Buffers& buffers : buffers_) buffers.captured.fill(time_of(6) - std::chrono::minutes(5));
    EXPECT_EQ(check().backwards, 2u) << "too little for a step";
    write(7);
    for (Buffers& buffers : buffers_) buffers.captured.fill(time_of(7) - std::chrono::minutes(16));
    EXPECT_EQ(check().backwards, 2u);
    EXPECT_EQ(checker_->tally().incoherent, 0u);
}

TEST_F(Scene, AnOverrunThatTheEngineAdmitsIsCountedApart) {
    values_[3] = 0.f;
    overrun_ = true;
    EXPECT_EQ(counts(check()), kClean);
    EXPECT_EQ(checker_->tally().overruns, 1u);
}

TEST_F(Scene, AMissingCameraIsIncoherent) {
    Floor floor;
    progress_.read(floor);
    checker_->check(Look{}, floor, true);
    EXPECT_EQ(counts(checker_->tally()), "torn 0 incoherent 1 backwards 0 stale 0");
}

TEST_F(Scene, OnlyTheFirstViolationsAreDescribed) {
    buffers_[0].image[0] ^= 1;
    for (int i = 0; i < 100; ++i) check();
    EXPECT_EQ(checker_->tally().torn, 100u);
    EXPECT_EQ(checker_->tally().examples.size(), 5u);
}

// As many sources as a client takes, and texts of any length.
TEST(ATallyRecord, KeepsEveryCountAndTheFirstTexts) {
    const std::size_t sources = wire::Limits{}.max_cameras;
    Tally tally;
    tally.looks = 7;
    tally.overruns = 9;
    for (std::size_t i = 0; i < sources; ++i) {
        tally.missed_cameras.push_back(i + 1);
        tally.missed_proprios.push_back(2 * i + 1);
    }
    tally.examples = {"a sentence", std::string(10'000, 'x')};
    TallyRecord record;
    record.store(tally);
    const Tally loaded = record.load();
    EXPECT_EQ(loaded.looks, tally.looks);
    EXPECT_EQ(loaded.overruns, tally.overruns);
    EXPECT_EQ(loaded.missed_cameras, tally.missed_cameras);
    EXPECT_EQ(loaded.missed_proprios, tally.missed_proprios);
    ASSERT_EQ(loaded.examples.size(), 2u);
    EXPECT_EQ(loaded.examples[0], "a sentence");
    EXPECT_FALSE(loaded.examples[1].empty());
    EXPECT_TRUE(tally.examples[1].starts_with(loaded.examples[1]));
}

}  // namespace
}  // namespace chiral::stress
