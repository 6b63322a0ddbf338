// SPDX-License-Identifier: Apache-2.0
// The update_* calls: what they publish, what they refuse, and that a refusal changes nothing.
#include "support.hpp"

#include <chiral/slot.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <limits>

namespace chiral::test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class AnUpdate : public ::testing::Test {
protected:
    // wrist: 3 x 5 x 3 with depth; side: 2 x 2 x 1 without.
    Engine engine{{camera("wrist"), camera("side", 2, 2, 1, false)}, {{"arm", 7}, {"grip", 1}}, with_readers(2)};
    Reader reader = engine.make_reader();
    std::vector<std::uint8_t> image = counting_bytes(45);
    std::vector<std::uint8_t> side_image = counting_bytes(4);
    std::vector<float> depth = counting_floats(15);
    std::vector<float> arm = counting_floats(7);

    static std::vector<std::uint8_t> counting_bytes(std::size_t size) {
        std::vector<std::uint8_t> bytes(size);
        for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i + 1);
        return bytes;
    }
    static std::vector<float> counting_floats(std::size_t size) {
        std::vector<float> values(size);
        for (std::size_t i = 0; i < size; ++i) values[i] = 0.5f * static_cast<float>(i + 1);
        return values;
    }
    Status update_depth(std::size_t index, const std::vector<float>& values) {
        const std::vector<std::uint8_t> bytes = bytes_from(values);
        return engine.update_depth(index, bytes.data(), bytes.size());
    }
    // Everything published once, so that an error has something to destroy.
    void publish_all() {
        ASSERT_TRUE(engine.update_image(0, image.data(), image.size()).ok());
        ASSERT_TRUE(update_depth(0, depth).ok());
        ASSERT_TRUE(engine.update_intrinsics(0, asymmetric_K()).ok());
        ASSERT_TRUE(engine.update_extrinsics(0, asymmetric_T()).ok());
        ASSERT_TRUE(engine.update_image(1, side_image.data(), side_image.size()).ok());
        ASSERT_TRUE(engine.update_proprio(0, arm.data(), arm.size()).ok());
    }
    // The call is refused with `code`, says `parts`, and leaves every buffer as it was.
    void expect_refused(const std::function<Status()>& call, Errc code, std::initializer_list<const char*> parts) {
        publish_all();
        const Contents before = contents_of(reader);
        const Status status = call();
        EXPECT_FALSE(status.ok());
        EXPECT_FALSE(static_cast<bool>(status));
        EXPECT_EQ(status.code(), code) << status.message();
        for (const char* part : parts)
            EXPECT_NE(status.message().find(part), std::string::npos) << "'" << part << "' is not in: " << status.message();
        EXPECT_TRUE(contents_of(reader) == before) << "something was published";
        // Nothing is left claimed either.
        publish_all();
    }
};

TEST_F(AnUpdate, OfAnImageIsReadBackByteForByte) {
    ASSERT_TRUE(engine.update_image(0, image.data(), image.size()).ok());
    const Snapshot snapshot = reader.snapshot();
    EXPECT_TRUE(std::ranges::equal(snapshot.camera(0).image(), image));
}

TEST_F(AnUpdate, OfADepthMapIsReadBackBitForBit) {
    depth[0] = kNaN;  // no return: depth maps hold NaN and infinity as sensors send them
    depth[1] = kInfinity;
    depth[2] = -0.f;
    ASSERT_TRUE(update_depth(0, depth).ok());
    const Snapshot snapshot = reader.snapshot();
    ASSERT_EQ(snapshot.camera(0).depth().size(), depth.size());
    EXPECT_EQ(std::memcmp(snapshot.camera(0).depth().data(), depth.data(), depth.size() * sizeof(float)), 0);
}

TEST_F(AnUpdate, OfIntrinsicsLiesInTheSlotByRows) {
    ASSERT_TRUE(engine.update_intrinsics(0, asymmetric_K()).ok());
    const Snapshot snapshot = reader.snapshot();
    const double expected[] = {11, 12, 13, 21, 22, 23, 31, 32, 33};
    EXPECT_TRUE(std::equal(std::begin(expected), std::end(expected), snapshot.camera(0).intrinsics().begin()));
}

TEST_F(AnUpdate, OfExtrinsicsLiesInTheSlotByRows) {
    ASSERT_TRUE(engine.update_extrinsics(0, asymmetric_T()).ok());
    const Snapshot snapshot = reader.snapshot();
    const double expected[] = {11, 12, 13, 14, 21, 22, 23, 24, 31, 32, 33, 34, 41, 42, 43, 44};
    EXPECT_TRUE(std::equal(std::begin(expected), std::end(expected), snapshot.camera(0).extrinsics().begin()));
}

TEST_F(AnUpdate, OfAProprioSampleIsReadBack) {
    const float grip = -3.25f;
    ASSERT_TRUE(engine.update_proprio(0, arm.data(), arm.size()).ok());
    ASSERT_TRUE(engine.update_proprio(1, &grip, 1).ok());
    const Snapshot snapshot = reader.snapshot();
    EXPECT_TRUE(std::ranges::equal(snapshot.proprio(0).values(), arm));
    EXPECT_EQ(snapshot.proprio(1).values()[0], grip);
    EXPECT_EQ(snapshot.proprio(0).how(), ProprioRead::latest);
}

TEST_F(AnUpdate, ChangesItsOwnFieldOnly) {
    publish_all();
    const Contents before = contents_of(reader);
    image[7] = 99;
    ASSERT_TRUE(engine.update_image(0, image.data(), image.size()).ok());
    Contents after = contents_of(reader);
    EXPECT_EQ(after.cameras[0].image[7], 99);
    EXPECT_EQ(after.cameras[0].sequences, (std::array<std::uint64_t, 4>{2, 1, 1, 1}));
    EXPECT_EQ(after.cameras[0].version, before.cameras[0].version + 1);
    EXPECT_EQ(after.cameras[0].depth, before.cameras[0].depth);
    EXPECT_EQ(after.cameras[0].intrinsics, before.cameras[0].intrinsics);
    EXPECT_EQ(after.cameras[0].extrinsics, before.cameras[0].extrinsics);
    EXPECT_TRUE(after.cameras[1] == before.cameras[1]);
    EXPECT_EQ(after.proprios, before.proprios);
}

TEST_F(AnUpdate, CountsEachFieldFromOne) {
    for (std::uint64_t n = 1; n <= 10; ++n) {
        EXPECT_EQ(engine.update_image(0, image.data(), image.size()).sequence(), n);
        EXPECT_EQ(engine.newest_frame(0), n);
        EXPECT_EQ(engine.update_proprio(0, arm.data(), arm.size()).sequence(), n);
        if (n % 2 == 0) {
            EXPECT_EQ(engine.update_intrinsics(0, asymmetric_K()).sequence(), n / 2);
        }
    }
    EXPECT_EQ(engine.newest_frame(1), 0u);
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(snapshot.camera(0).sequence(), 10u);
    EXPECT_EQ(snapshot.camera(0).stamp(Field::intrinsics).sequence, 5u);
    EXPECT_EQ(snapshot.camera(0).stamp(Field::depth).sequence, 0u);
    EXPECT_EQ(snapshot.camera(0).version(), 15u);
    EXPECT_EQ(snapshot.proprio(0).sequence(), 10u);
}

TEST_F(AnUpdate, TakesAtMostTheStepsThatTheEngineNames) {
    for (int i = 0; i < 100; ++i) {
        EXPECT_LE(engine.update_image(0, image.data(), image.size()).steps(), engine.writer_step_bound());
        EXPECT_LE(update_depth(0, depth).steps(), engine.writer_step_bound());
        EXPECT_LE(engine.update_intrinsics(0, asymmetric_K()).steps(), engine.writer_step_bound());
        EXPECT_LE(engine.update_extrinsics(0, asymmetric_T()).steps(), engine.writer_step_bound());
        EXPECT_LE(engine.update_proprio(0, arm.data(), arm.size()).steps(), engine.writer_step_bound());
    }
}

TEST_F(AnUpdate, DoesNotTouchTheCallersBuffer) {
    const std::vector<std::uint8_t> before = image;
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(engine.update_image(0, image.data(), image.size()).ok());
    EXPECT_EQ(image, before);
}

TEST_F(AnUpdate, SaysOkWhenItSucceeded) {
    const Status status = engine.update_image(0, image.data(), image.size());
    EXPECT_EQ(status.code(), Errc::ok);
    EXPECT_TRUE(static_cast<bool>(status));
    EXPECT_EQ(status.message(), "ok");
}

// ---- refused ----

TEST_F(AnUpdate, OfAnImageOfAnotherSizeIsRefused) {
    const std::vector<std::uint8_t> bytes(100);
    const auto with = [&](std::size_t size) { return [&, size] { return engine.update_image(0, bytes.data(), size); }; };
    expect_refused(with(44), Errc::wrong_size, {"camera 'wrist'", "image", "44", "45"});
    expect_refused(with(46), Errc::wrong_size, {"camera 'wrist'", "image", "46", "45"});
    expect_refused(with(0), Errc::wrong_size, {"camera 'wrist'", "image has 0 bytes", "expected 45"});
}

TEST_F(AnUpdate, OfADepthMapOfAnotherSizeIsRefused) {
    const std::vector<std::uint8_t> bytes(100);
    const auto with = [&](std::size_t size) { return [&, size] { return engine.update_depth(0, bytes.data(), size); }; };
    expect_refused(with(59), Errc::wrong_size, {"camera 'wrist'", "depth", "59", "60"});
    expect_refused(with(61), Errc::wrong_size, {"camera 'wrist'", "depth", "61", "60"});
    expect_refused(with(15), Errc::wrong_size, {"camera 'wrist'", "depth", "15", "60"});
}

TEST_F(AnUpdate, OfAProprioSampleOfAnotherSizeIsRefused) {
    const std::vector<float> values(100);
    const auto with = [&](std::size_t size) { return [&, size] { return engine.update_proprio(0, values.data(), size); }; };
    expect_refused(with(6), Errc::wrong_size, {"proprio 'arm'", "6", "7"});
    expect_refused(with(8), Errc::wrong_size, {"proprio 'arm'", "8", "7"});
    expect_refused(with(0), Errc::wrong_size, {"proprio 'arm'", "0", "7"});
}

TEST_F(AnUpdate, OfANullBufferIsRefused) {
    expect_refused([&] { return engine.update_image(0, nullptr, 45); }, Errc::wrong_size, {"camera 'wrist'", "image", "45"});
    expect_refused([&] { return engine.update_depth(0, nullptr, 60); }, Errc::wrong_size, {"camera 'wrist'", "depth", "60"});
    expect_refused([&] { return engine.update_proprio(0, nullptr, 7); }, Errc::wrong_size, {"proprio 'arm'", "7"});
}

TEST_F(AnUpdate, OfASourceThatDoesNotExistIsRefused) {
    const std::size_t far = std::numeric_limits<std::size_t>::max();
    const auto cameras = {"camera index 2", "2 cameras"};
    expect_refused([&] { return engine.update_image(2, image.data(), image.size()); }, Errc::unknown_camera, cameras);
    expect_refused([&] { return update_depth(2, depth); }, Errc::unknown_camera, cameras);
    expect_refused([&] { return engine.update_intrinsics(2, asymmetric_K()); }, Errc::unknown_camera, cameras);
    expect_refused([&] { return engine.update_extrinsics(2, asymmetric_T()); }, Errc::unknown_camera, cameras);
    expect_refused([&] { return engine.update_image(far, image.data(), image.size()); }, Errc::unknown_camera,
                   {"2 cameras"});
    expect_refused([&] { return engine.update_proprio(2, arm.data(), 7); }, Errc::unknown_proprio,
                   {"proprio index 2", "2 streams"});
    expect_refused([&] { return engine.revoke_camera_writer(2); }, Errc::unknown_camera, cameras);
    expect_refused([&] { return engine.revoke_proprio_writer(2); }, Errc::unknown_proprio, {"proprio index 2"});
}

TEST_F(AnUpdate, OfDepthWithoutDepthIsRefused) {
    const std::vector<std::uint8_t> bytes(16);
    expect_refused([&] { return engine.update_depth(1, bytes.data(), bytes.size()); }, Errc::no_depth,
                   {"camera 'side'", "depth", "has_depth = false"});
    expect_refused([&] { return engine.update_depth(1, nullptr, 0); }, Errc::no_depth, {"camera 'side'"});
}

TEST_F(AnUpdate, OfNonFiniteIntrinsicsIsRefusedWithTheFirstBadElement) {
    for (const double bad : {std::nan(""), static_cast<double>(kInfinity), -static_cast<double>(kInfinity)}) {
        Eigen::Matrix3d K = asymmetric_K();
        K(1, 2) = bad;
        K(2, 2) = bad;
        expect_refused([&] { return engine.update_intrinsics(0, K); }, Errc::not_finite,
                       {"camera 'wrist'", "intrinsics", "value 5", "finite"});
    }
}

TEST_F(AnUpdate, OfNonFiniteExtrinsicsIsRefusedWithTheFirstBadElement) {
    Eigen::Matrix4d T = asymmetric_T();
    T(2, 1) = std::nan("");
    expect_refused([&] { return engine.update_extrinsics(0, T); }, Errc::not_finite,
                   {"camera 'wrist'", "extrinsics", "value 9", "finite"});
}

TEST_F(AnUpdate, OfANonFiniteProprioSampleIsRefusedWithTheFirstBadElement) {
    for (const float bad : {kNaN, kInfinity, -kInfinity}) {
        std::vector<float> values = arm;
        values[6] = bad;
        expect_refused([&] { return engine.update_proprio(0, values.data(), values.size()); }, Errc::not_finite,
                       {"proprio 'arm'", "value 6", "finite"});
    }
}

TEST_F(AnUpdate, ReportsGotAndExpectedAsNumbersToo) {
    const Status status = engine.update_image(0, image.data(), 12);
    EXPECT_EQ(status.got(), 12u);
    EXPECT_EQ(status.expected(), 45u);
    EXPECT_EQ(status.message(), "camera 'wrist': image has 12 bytes, expected 45");
}

TEST_F(AnUpdate, ThatFailedDoesNotUseUpASequenceNumber) {
    EXPECT_EQ(engine.update_image(0, image.data(), image.size()).sequence(), 1u);
    EXPECT_FALSE(engine.update_image(0, image.data(), 1).ok());
    Eigen::Matrix3d K = asymmetric_K();
    K(0, 0) = std::nan("");
    EXPECT_FALSE(engine.update_intrinsics(0, K).ok());
    EXPECT_EQ(engine.update_image(0, image.data(), image.size()).sequence(), 2u);
    EXPECT_EQ(engine.update_intrinsics(0, asymmetric_K()).sequence(), 1u);
}

// ---- capture times ----

TEST(AnUpdateWithAClock, StampsTheCaptureTimeThatItIsGivenAndThePublishTimeItself) {
    EngineOptions options;
    options.now = &HandClock::now;
    Engine engine({camera()}, {{"arm", 1}}, options);
    Reader reader = engine.make_reader();
    const std::vector<std::uint8_t> image(45), depth(60);
    const float arm = 1;
    HandClock::set(at_ns(5'000));
    ASSERT_TRUE(engine.update_image(0, image.data(), image.size(), at_ns(1'000)).ok());
    ASSERT_TRUE(engine.update_depth(0, depth.data(), depth.size(), at_ns(2'000)).ok());
    ASSERT_TRUE(engine.update_intrinsics(0, asymmetric_K(), at_ns(3'000)).ok());
    ASSERT_TRUE(engine.update_extrinsics(0, asymmetric_T(), at_ns(-4'000)).ok());
    ASSERT_TRUE(engine.update_proprio(0, &arm, 1, at_ns(4'500)).ok());
    const Snapshot snapshot = reader.snapshot();
    const std::int64_t captured[] = {1'000, 2'000, 3'000, -4'000};
    for (const Field field : kAllFields) {
        const Stamp stamp = snapshot.camera(0).stamp(field);
        EXPECT_EQ(stamp.captured, at_ns(captured[static_cast<std::size_t>(field)])) << to_string(field);
        EXPECT_EQ(stamp.published, at_ns(5'000)) << to_string(field);
    }
    EXPECT_EQ(snapshot.proprio(0).captured(), at_ns(4'500));
    EXPECT_EQ(snapshot.proprio(0).stamp().published, at_ns(5'000));
}

TEST(AnUpdateWithAClock, IsCapturedAtTheCallWhenNoTimeIsGiven) {
    EngineOptions options;
    options.now = &HandClock::now;
    Engine engine({camera()}, {{"arm", 1}}, options);
    Reader reader = engine.make_reader();
    const std::vector<std::uint8_t> image(45), depth(60);
    const float arm = 1;
    HandClock::set(at_ns(10));
    EXPECT_TRUE(engine.update_image(0, image.data(), image.size()).ok());
    HandClock::set(at_ns(20));
    EXPECT_TRUE(engine.update_depth(0, depth.data(), depth.size()).ok());
    HandClock::set(at_ns(30));
    EXPECT_TRUE(engine.update_intrinsics(0, asymmetric_K()).ok());
    HandClock::set(at_ns(40));
    EXPECT_TRUE(engine.update_extrinsics(0, asymmetric_T()).ok());
    EXPECT_TRUE(engine.update_proprio(0, &arm, 1).ok());
    HandClock::set(at_ns(99));
    const Snapshot snapshot = reader.snapshot();
    for (const Field field : kAllFields)
        EXPECT_EQ(snapshot.camera(0).stamp(field).captured, at_ns(10 * (static_cast<int>(field) + 1)));
    EXPECT_EQ(snapshot.proprio(0).captured(), at_ns(40));
}

TEST(AnUpdateWithAClock, UsesTheSteadyClockByDefault) {
    Engine engine({camera()}, {});
    Reader reader = engine.make_reader();
    const std::vector<std::uint8_t> image(45);
    const TimePoint before = Clock::now();
    EXPECT_TRUE(engine.update_image(0, image.data(), image.size()).ok());
    const Snapshot snapshot = reader.snapshot();
    const TimePoint after = Clock::now();
    const Stamp stamp = snapshot.camera(0).stamp(Field::image);
    EXPECT_LE(before, stamp.captured);
    EXPECT_LE(stamp.captured, stamp.published);
    EXPECT_LE(stamp.published, snapshot.time());
    EXPECT_LE(snapshot.time(), after);
}

// ---- the clock ----

std::atomic<std::int64_t> readings{0};
TimePoint counted_now() noexcept { return at_ns(1000 + readings.fetch_add(1)); }

TEST(TheClock, IsReadOnceForAnUpdate) {
    EngineOptions options;
    options.now = &counted_now;
    options.slots = {slot_config<int>("mode")};
    Engine engine({camera()}, {{"arm", 1}}, options);
    Slot<int> mode(engine, "mode");
    const std::array<std::uint8_t, 60> bytes{};
    const float value = 0;
    const auto readings_of = [](auto update) {
        const std::int64_t before = readings.load();
        EXPECT_TRUE(update().ok());
        return readings.load() - before;
    };
    EXPECT_EQ(readings_of([&] { return engine.update_image(0, bytes.data(), 45); }), 1);
    EXPECT_EQ(readings_of([&] { return engine.update_image(0, ImageView{bytes.data()}); }), 1);
    EXPECT_EQ(readings_of([&] { return engine.update_depth(0, bytes.data(), 60); }), 1);
    EXPECT_EQ(readings_of([&] { return engine.update_intrinsics(0, asymmetric_K()); }), 1);
    EXPECT_EQ(readings_of([&] { return engine.update_extrinsics(0, Eigen::Matrix4d::Identity()); }), 1);
    EXPECT_EQ(readings_of([&] { return engine.update_proprio(0, &value, 1); }), 1);
    EXPECT_EQ(readings_of([&] { return mode.update(1); }), 1);
    EXPECT_EQ(readings_of([&] { return engine.update_image(0, bytes.data(), 45, at_ns(5)); }), 1) << "of publication";
}

TEST(TheClock, IsReadOnceForABatchOfFrames) {
    EngineOptions options;
    options.now = &counted_now;
    Engine engine({camera("a"), camera("b"), camera("c")}, {}, options);
    Reader reader = engine.make_reader();
    std::vector<Frame> frames;
    for (std::size_t i = 0; i < 3; ++i) {
        frames.push_back(engine.begin_frame(i));
        fill(frames.back().image(), i);
    }
    const std::int64_t before = readings.load();
    const TimePoint published = engine.now();
    for (std::size_t i = 0; i < 3; ++i) ASSERT_TRUE(frames[i].commit(at_ns(static_cast<std::int64_t>(i)), published).ok());
    EXPECT_EQ(readings.load() - before, 1);
    const Snapshot snapshot = reader.snapshot();
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(snapshot.camera(i).stamp(Field::image).published, published);
        EXPECT_EQ(snapshot.camera(i).captured(), at_ns(static_cast<std::int64_t>(i)));
    }
}

}  // namespace
}  // namespace chiral::test
