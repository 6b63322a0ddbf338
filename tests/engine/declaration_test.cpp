// SPDX-License-Identifier: Apache-2.0
// What an engine accepts as a declaration, and what its buffers hold before anything was published.
#include "support.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <system_error>

namespace chiral::test {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string refusal(const std::vector<CameraConfig>& cameras, const std::vector<ProprioConfig>& proprios,
                    const EngineOptions& options = {}) {
    try {
        Engine engine(cameras, proprios, options);
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return "(accepted)";
}

void expect_parts(const std::string& message, std::initializer_list<const char*> parts) {
    for (const char* part : parts)
        EXPECT_NE(message.find(part), std::string::npos) << "'" << part << "' is not in: " << message;
}

TEST(ADeclaration, OfACameraWithoutANameIsRefused) {
    expect_parts(refusal({camera("front"), camera("")}, {}), {"camera 1", "name is empty"});
}

TEST(ADeclaration, OfTwoCamerasWithOneNameIsRefused) {
    expect_parts(refusal({camera("front"), camera("front")}, {}), {"camera 1", "'front'", "taken"});
}

TEST(ADeclaration, OfACameraWithAnImpossibleShapeIsRefusedWithTheValueAndTheRange) {
    expect_parts(refusal({camera("wrist", 0, 4)}, {}), {"camera 'wrist'", "height is 0", "expected 1 to 65536"});
    expect_parts(refusal({camera("wrist", -3, 4)}, {}), {"camera 'wrist'", "height is -3", "expected 1 to 65536"});
    expect_parts(refusal({camera("wrist", 65537, 4)}, {}), {"camera 'wrist'", "height is 65537", "expected 1 to 65536"});
    expect_parts(refusal({camera("wrist", 4, 0)}, {}), {"camera 'wrist'", "width is 0", "expected 1 to 65536"});
    expect_parts(refusal({camera("wrist", 4, 65537)}, {}), {"camera 'wrist'", "width is 65537", "expected 1 to 65536"});
    expect_parts(refusal({camera("wrist", 4, 4, 0)}, {}), {"camera 'wrist'", "channels is 0", "expected 1 to 64"});
    expect_parts(refusal({camera("wrist", 4, 4, 65)}, {}), {"camera 'wrist'", "channels is 65", "expected 1 to 64"});
}

TEST(ADeclaration, OfNumbersThatMeanNothingIsRefused) {
    ProprioConfig arm{"arm", 2};
    arm.element_names = {"shoulder"};
    expect_parts(refusal({}, {arm}), {"proprio 'arm'", "element_names has 1 names, expected 2 or none"});
    arm.element_names = {"shoulder", "elbow"};
    arm.expected_hz = -1;
    expect_parts(refusal({}, {arm}), {"proprio 'arm'", "expected_hz is -1"});
    CameraConfig deep = camera("deep");
    deep.expected_hz = kInfinity;
    expect_parts(refusal({deep}, {}), {"camera 'deep'", "expected_hz is inf"});
    deep = camera("deep");
    for (const double unit : {-0.001, kNaN}) {
        deep.depth_unit = unit;
        expect_parts(refusal({deep}, {}), {"camera 'deep'", "depth_unit is"});
    }
    CameraConfig flat = camera("flat");
    flat.two_dimensional = true;
    expect_parts(refusal({flat}, {}), {"camera 'flat'", "two_dimensional with channels 3, expected channels 1"});
}

TEST(ADeclaration, OfEncodedImagesThatMakesNoSenseIsRefused) {
    CameraConfig uvc = camera("uvc");
    uvc.max_encoded_bytes = 10;
    expect_parts(refusal({uvc}, {}), {"camera 'uvc'", "max_encoded_bytes is 10, but its images are not encoded"});
    uvc.encoding = FrameEncoding::jpeg;
    expect_parts(refusal({uvc}, {}), {"(accepted)"});
    uvc.max_encoded_bytes = (std::size_t{1} << 30) + 1;
    expect_parts(refusal({uvc}, {}), {"camera 'uvc'", "max_encoded_bytes is 1073741825, expected at most 1073741824"});
    uvc.max_encoded_bytes = 10;
    uvc.image_dtype = DType::uint16;
    expect_parts(refusal({uvc}, {}), {"camera 'uvc'", "encoded images of uint16 with 3 channels"});
}

TEST(ADeclaration, WithNonFiniteInitialMatricesIsRefused) {
    CameraConfig config = camera("wrist");
    config.intrinsics(1, 2) = kNaN;
    expect_parts(refusal({config}, {}), {"camera 'wrist'", "intrinsics", "NaN or infinity"});
    config = camera("wrist");
    config.extrinsics(3, 3) = -kInfinity;
    expect_parts(refusal({config}, {}), {"camera 'wrist'", "extrinsics", "NaN or infinity"});
}

TEST(ADeclaration, OfAStreamThatMakesNoSenseIsRefused) {
    expect_parts(refusal({}, {{"", 7}}), {"proprio 0", "name is empty"});
    expect_parts(refusal({}, {{"arm", 7}, {"arm", 2}}), {"proprio 1", "'arm'", "taken"});
    expect_parts(refusal({}, {{"arm", 0}}), {"proprio 'arm'", "size is 0", "expected 1 to 4096"});
    expect_parts(refusal({}, {{"arm", -1}}), {"proprio 'arm'", "size is -1", "expected 1 to 4096"});
    expect_parts(refusal({}, {{"arm", 4097}}), {"proprio 'arm'", "size is 4097", "expected 1 to 4096"});
}

TEST(ADeclaration, OfTooFewOrTooManyReadersIsRefused) {
    for (const int readers : {-1, 0, 15}) {
        EngineOptions options;
        options.readers = readers;
        expect_parts(refusal({camera()}, {}, options),
                     {"options", ("readers is " + std::to_string(readers)).c_str(), "expected 1 to 14"});
    }
}

TEST(ADeclaration, OfAnImpossibleProprioHistoryIsRefused) {
    // The last three overflow the size of the ring, each in its own way; -1 is an easy slip.
    for (const std::size_t history :
         {std::size_t{0}, std::size_t{1}, static_cast<std::size_t>(-1), std::size_t{1} << 60, std::size_t{1} << 32}) {
        EngineOptions options;
        options.proprio_history = history;
        expect_parts(refusal({}, {{"arm", 6}}, options),
                     {"options", ("proprio_history is " + std::to_string(history)).c_str(), "expected 2 to 1048576"});
    }
}

TEST(ADeclaration, AtTheLimitsIsAccepted) {
    EngineOptions options;
    options.readers = 14;
    options.proprio_history = 2;
    Engine engine({camera("tall", 65536, 1, 1, false), camera("wide", 1, 65536, 1, false), camera("deep", 1, 1, 64)},
                  {{"one", 1}, {"many", 4096}}, options);
    std::vector<Reader> readers;
    for (int i = 0; i < 14; ++i) readers.push_back(engine.make_reader());
    EXPECT_EQ(engine.cameras().size(), 3u);
    EXPECT_EQ(engine.proprios().size(), 2u);
    EXPECT_EQ(engine.options().readers, 14);
}

TEST(ADeclaration, MayLeaveOutCamerasOrStreamsOrBoth) {
    Engine nothing({}, {});
    Reader reader = nothing.make_reader();
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(snapshot.cameras(), 0u);
    EXPECT_EQ(snapshot.proprios(), 0u);
    EXPECT_TRUE(snapshot.intact());
}

TEST(ADeclaration, MayNameACameraAndAStreamAlike) { EXPECT_NO_THROW(Engine({camera("arm")}, {{"arm", 6}})); }

TEST(ADeclaration, OfMoreMemoryThanThereIsThrowsASystemErrorThatTellsHowMuch) {
    int overcommit = 1;
    std::ifstream("/proc/sys/vm/overcommit_memory") >> overcommit;
    if (overcommit == 1) GTEST_SKIP() << "this kernel promises any amount of memory";
    EngineOptions options;
    options.readers = 14;
    try {
        Engine engine({camera("vast", 65536, 65536, 64)}, {}, options);  // about 4.7 TB
        FAIL() << "accepted";
    } catch (const std::system_error& error) {
        EXPECT_EQ(error.code(), std::errc::not_enough_memory);
        expect_parts(error.what(), {"chiral::Engine", "bytes for the buffers"});
    }
}

TEST(BeforeTheFirstUpdate, TheInitialMatricesAreVisibleByRows) {
    CameraConfig config = camera("wrist");
    config.intrinsics = asymmetric_K();
    config.extrinsics = asymmetric_T();
    Engine engine({config, camera("side")}, {});
    Reader reader = engine.make_reader();
    const Snapshot snapshot = reader.snapshot();
    const CameraView view = snapshot.camera(0);
    const double K[] = {11, 12, 13, 21, 22, 23, 31, 32, 33};
    const double T[] = {11, 12, 13, 14, 21, 22, 23, 24, 31, 32, 33, 34, 41, 42, 43, 44};
    EXPECT_TRUE(std::equal(view.intrinsics().begin(), view.intrinsics().end(), K));
    EXPECT_TRUE(std::equal(view.extrinsics().begin(), view.extrinsics().end(), T));
    // The other camera has the default: identity.
    EXPECT_EQ(snapshot.camera(1).intrinsics()[0], 1.0);
    EXPECT_EQ(snapshot.camera(1).intrinsics()[1], 0.0);
    EXPECT_EQ(snapshot.camera(1).extrinsics()[15], 1.0);
}

TEST(BeforeTheFirstUpdate, ImagesAndDepthsAreZeroAndEverythingIsNumberedZero) {
    Engine engine({camera("wrist", 7, 9, 3, true)}, {{"arm", 3}});
    Reader reader = engine.make_reader();
    const Snapshot snapshot = reader.snapshot();
    const CameraView view = snapshot.camera(0);
    ASSERT_EQ(view.image().size(), 7u * 9 * 3);
    ASSERT_EQ(view.depth().size(), 7u * 9);
    EXPECT_EQ(number_in(view.image()), 0u);
    EXPECT_EQ(number_in(view.depth()), 0u);
    for (const Field field : kAllFields) EXPECT_EQ(view.stamp(field).sequence, 0u) << to_string(field);
    EXPECT_EQ(view.version(), 0u);
    EXPECT_EQ(engine.newest_frame(0), 0u);
    EXPECT_EQ(snapshot.proprio(0).how(), ProprioRead::empty);
    EXPECT_EQ(number_in(snapshot.proprio(0).values()), 0u);
}

TEST(BeforeTheFirstUpdate, EverySourceIsNever) {
    Engine engine({camera()}, {{"arm", 3}});
    Reader reader = engine.make_reader();
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(snapshot.camera(0).status(), SourceStatus::never);
    EXPECT_EQ(snapshot.proprio(0).status(), SourceStatus::never);
}

TEST(BeforeTheFirstUpdate, TheMatricesAloneDoNotMakeACameraFresh) {
    Engine engine({camera()}, {});
    ASSERT_TRUE(engine.update_intrinsics(0, asymmetric_K()).ok());
    Reader reader = engine.make_reader();
    EXPECT_EQ(reader.snapshot().camera(0).status(), SourceStatus::never);
}

TEST(AnEngine, KeepsItsOwnCopyOfTheDeclarations) {
    std::vector<CameraConfig> cameras{camera("wrist")};
    Engine engine(cameras, {{"arm", 2}});
    cameras[0].name = "changed";
    EXPECT_EQ(engine.cameras()[0].name, "wrist");
    Reader reader = engine.make_reader();
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(snapshot.camera(0).config().name, "wrist");
    EXPECT_EQ(snapshot.proprio(0).config().name, "arm");
    EXPECT_EQ(snapshot.proprio(0).config().size, 2);
}

// ---- the number of readers ----

TEST(AReader, OneMoreThanConfiguredIsAClearError) {
    for (const int count : {1, 2, 14}) {
        Engine engine({camera()}, {}, with_readers(count));
        std::vector<Reader> readers;
        for (int i = 0; i < count; ++i) readers.push_back(engine.make_reader());
        try {
            static_cast<void>(engine.make_reader());
            FAIL() << "a reader too many";
        } catch (const std::runtime_error& error) {
            expect_parts(error.what(),
                         {("all " + std::to_string(count) + " configured readers").c_str(), "EngineOptions::readers", "14"});
        }
    }
}

TEST(AReader, FreesItsPlaceWhenItIsDropped) {
    Engine engine({camera()}, {}, with_readers(2));
    Reader stays = engine.make_reader();
    for (int i = 0; i < 100; ++i) {
        Reader reader = engine.make_reader();
        EXPECT_NE(reader.index(), stays.index());
        Snapshot snapshot = reader.snapshot();
        EXPECT_THROW((void)engine.make_reader(), std::runtime_error);
    }
}

TEST(AReader, KeepsItsPlaceWhenItIsMoved) {
    Engine engine({camera()}, {}, with_readers(2));
    Reader first = engine.make_reader();
    const int seat = first.index();
    Reader moved = std::move(first);
    EXPECT_EQ(moved.index(), seat);
    Reader second = engine.make_reader();
    EXPECT_THROW((void)engine.make_reader(), std::runtime_error);
    second = std::move(moved);  // frees the place of the reader that was there
    EXPECT_EQ(second.index(), seat);
    EXPECT_NO_THROW((void)engine.make_reader());
}

TEST(AReader, OfAReusedPlaceBeginsAnew) {
    Engine engine({camera()}, {});
    const std::vector<std::uint8_t> image(45, 1);
    {
        Reader reader = engine.make_reader();
        static_cast<void>(reader.snapshot());
        EXPECT_TRUE(engine.update_image(0, image.data(), image.size()).ok());
    }
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(engine.update_image(0, image.data(), image.size()).ok());
    Reader reader = engine.make_reader();
    EXPECT_EQ(reader.snapshot().camera(0).missed(), 0u) << "a new reader has missed nothing yet";
}

}  // namespace
}  // namespace chiral::test
