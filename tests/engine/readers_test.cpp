// SPDX-License-Identifier: Apache-2.0
// Who reads what: readers for each source, what a reader does not look at, and the memory that both save.
#include "support.hpp"

#include <chiral/slot.hpp>

#include <gtest/gtest.h>

#include <stdexcept>

namespace chiral::test {
namespace {

using Names = std::vector<std::string>;

CameraConfig large(const char* name) { return camera(name, 480, 640); }

std::string refusal_of(Engine& engine, const ReaderScope& scope = {}) {
    try {
        static_cast<void>(engine.make_reader(scope));
    } catch (const std::exception& error) {
        return error.what();
    }
    return "(made)";
}

std::string refused(const CameraConfig& config, const EngineOptions& options) {
    try {
        Engine engine({config}, {}, options);
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return "(accepted)";
}

/// A camera of image and depth, another, a stream and a slot.
struct Robot {
    Engine engine;
    Slot<int> mode{engine, "mode"};

    explicit Robot(CameraConfig wrist = camera("wrist"), int readers = 3)
        : engine({std::move(wrist), camera("side")}, {{"arm", 1}}, [&] {
              EngineOptions options = with_readers(readers);
              options.slots = {slot_config<int>("mode")};
              return options;
          }()) {}

    void publish(std::uint64_t number) {
        for (std::size_t i = 0; i < 2; ++i) {
            Frame frame = engine.begin_frame(i);
            fill(frame.image(), number);
            fill(frame.depth(), static_cast<float>(number));
            frame.set_extrinsics(numbered_T(number));
            ASSERT_TRUE(frame.commit().ok());
        }
        const auto value = static_cast<float>(number);
        ASSERT_TRUE(engine.update_proprio(0, &value, 1).ok());
        ASSERT_TRUE(mode.update(static_cast<int>(number)).ok());
    }
};

TEST(ReadersOfASource, CostASlotOfEachFieldEachAndNoMore) {
    const auto bytes = [](CameraConfig config, std::optional<int> readers, std::optional<int> depth_readers) {
        config.readers = readers;
        config.depth_readers = depth_readers;
        return Engine({std::move(config)}, {}, with_readers(8)).arena().bytes;
    };
    const CameraConfig wrist = large("wrist");
    const std::size_t image = image_bytes(wrist), depth = depth_bytes(wrist);
    const std::size_t all = bytes(wrist, {}, {});
    const std::size_t matrices = 8 * 2 * 2 * core::kCacheLine;  // K and T of eight readers, at the most
    const std::size_t of_one = bytes(wrist, 1, {});
    EXPECT_GE(all - of_one, 7 * (image + depth));
    EXPECT_LE(all - of_one, 7 * (image + depth) + matrices);
    EXPECT_EQ(bytes(wrist, 8, 8), all) << "what counts where nothing is given";
    EXPECT_EQ(all - bytes(wrist, {}, 1), 7 * depth);
    EXPECT_EQ(all - bytes(wrist, {}, 0), 8 * depth);
}

TEST(ReadersOfASource, AreRefusedByNameWhereThereAreMoreThanDeclared) {
    CameraConfig wrist = camera("wrist");
    wrist.readers = 2;
    wrist.depth_readers = 1;
    Robot robot(wrist, 4);
    const ReaderScope no_depth{.depths = Names{"side"}};
    Reader first = robot.engine.make_reader();
    EXPECT_EQ(refusal_of(robot.engine),
              "chiral::Engine::make_reader: the depth map of camera 'wrist' has its 1 readers already; "
              "raise CameraConfig::depth_readers, or leave it out of the reader's scope");
    Reader second = robot.engine.make_reader(no_depth);
    EXPECT_EQ(refusal_of(robot.engine, no_depth),
              "chiral::Engine::make_reader: camera 'wrist' has its 2 readers already; raise "
              "CameraConfig::readers, or leave it out of the reader's scope");
    Reader third = robot.engine.make_reader({.cameras = Names{"side"}});
    Reader fourth = robot.engine.make_reader({.cameras = Names{}});
    EXPECT_NE(refusal_of(robot.engine, {.cameras = Names{}}).find("all 4 configured readers exist"), std::string::npos);
    { Reader gone = std::move(first); }
    EXPECT_EQ(refusal_of(robot.engine), "(made)") << "a refusal keeps nothing, and a seat comes back with its reader";
    EXPECT_EQ(refusal_of(robot.engine), "(made)");
}

TEST(ReadersOfASlot, AreRefusedByNameToo) {
    EngineOptions options = with_readers(2);
    options.slots = {slot_config<int>("mode"), slot_config<int>("goal")};
    options.slots[1].readers = 1;
    Engine engine({}, {}, options);
    Reader first = engine.make_reader();
    EXPECT_NE(refusal_of(engine).find("slot 'goal' has its 1 readers already; raise SlotConfig::readers"),
              std::string::npos);
    Reader second = engine.make_reader({.slots = Names{"mode"}});
}

TEST(ReadersOfASource, ThatAreMoreThanTheEnginesAreRefused) {
    CameraConfig config = camera("wrist");
    config.readers = 3;
    EXPECT_NE(refused(config, with_readers(2)).find("camera 'wrist': readers is 3, expected 0 to 2"), std::string::npos);
    config.readers = 1;
    config.depth_readers = 2;
    EXPECT_NE(refused(config, with_readers(2)).find("depth_readers is 2, expected 0 to 1"), std::string::npos);
    config.has_depth = false;
    EXPECT_NE(refused(config, with_readers(2)).find("it has no depth"), std::string::npos);
    EngineOptions options = with_readers(1);
    options.slots = {slot_config<int>("mode")};
    options.slots[0].readers = -1;
    EXPECT_THROW(Engine({}, {}, options), std::invalid_argument);
}

TEST(AScope, LeavesOutWhatItDoesNotName) {
    Robot robot;
    robot.publish(4);
    Reader reader =
        robot.engine.make_reader({.cameras = Names{"side"}, .depths = Names{}, .slots = Names{}, .proprios = Names{}});
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(snapshot.steps(), 3u) << "one camera is pinned";
    const CameraView side = snapshot.camera(1);
    EXPECT_EQ(number_in(side.image()), 4u);
    EXPECT_EQ(side.extrinsics()[3], numbered_T(4)(0, 3));
    EXPECT_TRUE(side.looked_at(Field::image));
    EXPECT_FALSE(side.looked_at(Field::depth));
    EXPECT_TRUE(side.depth().empty());
    EXPECT_EQ(side.stamp(Field::depth).sequence, 0u);
    const CameraView wrist = snapshot.camera(0);
    EXPECT_TRUE(wrist.image().empty());
    EXPECT_TRUE(wrist.depth_bytes().empty());
    EXPECT_EQ(wrist.status(), SourceStatus::never);
    EXPECT_EQ(wrist.extrinsics()[15], 0.0);
    EXPECT_EQ(wrist.intrinsics()[8], 0.0);
    EXPECT_EQ(snapshot.proprio(0).status(), SourceStatus::never);
    EXPECT_EQ(snapshot.proprio(0).how(), ProprioRead::empty);
    EXPECT_EQ(snapshot.slot(0).status(), SourceStatus::never);
    EXPECT_TRUE(snapshot.slot(0).bytes().empty());
    EXPECT_THROW(static_cast<void>(robot.mode.in(snapshot)), std::logic_error);
    EXPECT_TRUE(snapshot.intact());
}

TEST(AScope, OfNamesThatThereAreNotIsRefused) {
    Robot robot;
    EXPECT_EQ(refusal_of(robot.engine, {.cameras = Names{"wrst"}}),
              "chiral::Engine::make_reader: there is no camera 'wrst'");
    EXPECT_NE(refusal_of(robot.engine, {.depths = Names{"arm"}}).find("no camera 'arm'"), std::string::npos);
    EXPECT_NE(refusal_of(robot.engine, {.slots = Names{"arm"}}).find("no slot 'arm'"), std::string::npos);
    EXPECT_NE(refusal_of(robot.engine, {.proprios = Names{"mode"}}).find("no proprio 'mode'"), std::string::npos);
    EXPECT_EQ(refusal_of(robot.engine, {.cameras = Names{"side"}, .depths = Names{"wrist"}}), "(made)")
        << "of the cameras that it looks at";
}

// As many held snapshots as are declared, each of another moment, and a writer that goes round all slots several times.
TEST(ReadersOfASource, KeepWhatTheyHoldInTheSlotsThatThereAre) {
    CameraConfig wrist = camera("wrist");
    wrist.readers = 2;
    wrist.depth_readers = 1;
    Robot robot(wrist);
    Reader with_depth = robot.engine.make_reader();
    Reader without = robot.engine.make_reader({.depths = Names{}});
    Reader elsewhere = robot.engine.make_reader({.cameras = Names{"side"}});
    robot.publish(1);
    const Snapshot first = with_depth.snapshot();
    robot.publish(2);
    const Snapshot second = without.snapshot();
    robot.publish(3);
    const Snapshot third = elsewhere.snapshot();
    for (std::uint64_t n = 4; n < 20; ++n) robot.publish(n);
    EXPECT_EQ(number_in(first.camera(0).image()), 1u);
    EXPECT_EQ(number_in(first.camera(0).depth()), 1u);
    EXPECT_EQ(first.camera(0).stamp(Field::depth).sequence, 1u);
    EXPECT_EQ(number_in(second.camera(0).image()), 2u);
    EXPECT_EQ(number_in(third.camera(1).image()), 3u);
    EXPECT_TRUE(first.intact() && second.intact() && third.intact());
}

// The one that stands in for what a revoked writer has not given back lies behind the slots that there are.
TEST(ReadersOfASource, LeaveTheSpareSlotToRevokedWriters) {
    CameraConfig wrist = camera("wrist");
    wrist.readers = 1;
    Engine engine({wrist}, {}, with_readers(3));
    Reader reader = engine.make_reader();
    for (const float metres : {6.f, 7.f}) {  // the second lies in the first slot, next to those of the image
        Frame depth = engine.begin_frame(0);
        fill(depth.depth(), metres);
        ASSERT_TRUE(depth.commit().ok());
    }
    Frame late = engine.begin_frame(0);
    fill(late.image(), 99);
    ASSERT_TRUE(engine.revoke_writer(0, Field::image).ok());
    std::optional<Snapshot> held;  // so that of current, pinned and revoked none is another
    for (std::uint64_t n = 1; n <= 10; ++n) {
        Frame frame = engine.begin_frame(0);
        fill(frame.image(), n);
        ASSERT_TRUE(frame.commit().ok());
        if (n % 3 != 1) continue;
        held.reset();
        held.emplace(reader.snapshot());
        EXPECT_EQ(number_in(held->camera(0).image()), n);
        EXPECT_EQ(number_in(held->camera(0).depth()), 7u);
    }
    EXPECT_EQ(number_in(late.image()), 99u);
    EXPECT_EQ(late.commit().code(), Errc::revoked);
}

TEST(ReadersOfASource, AreAllThatItsWriterLooksAt) {
    CameraConfig one = camera("one");
    one.readers = 1;
    one.depth_readers = 0;
    Engine engine({one, camera("all")}, {}, with_readers(8));
    const auto steps_of = [&](std::size_t index, bool image) {
        const std::array<std::uint8_t, 60> bytes{};  // 3 x 5
        return (image ? engine.update_image(index, bytes.data(), 45) : engine.update_depth(index, bytes.data(), 60)).steps();
    };
    EXPECT_EQ(steps_of(1, true) - steps_of(0, true), 7u);
    EXPECT_EQ(steps_of(1, false) - steps_of(0, false), 8u);
}

// The same under load: a reader of everything, one without depth maps, and one of another camera beside it.
TEST(ReadersOfASource, NeverSeeATornBufferInFewerSlots) {
    CameraConfig wrist = camera("wrist");
    wrist.readers = 2;
    wrist.depth_readers = 1;
    Robot robot(wrist);
    std::atomic<bool> stop{false};
    std::atomic<int> looking{0};
    std::array<std::uint64_t, 3> wrong{};
    const std::array<ReaderScope, 3> scopes{ReaderScope{}, ReaderScope{.depths = Names{}},
                                            ReaderScope{.cameras = Names{"side"}}};
    std::vector<std::thread> threads;
    for (std::size_t r = 0; r < scopes.size(); ++r)
        threads.emplace_back([&, r] {
            Reader reader = robot.engine.make_reader(scopes[r]);
            for (bool first = true; !stop.load(); first = false) {
                const Snapshot snapshot = reader.snapshot();
                for (std::size_t i = 0; i < 2; ++i) {
                    const CameraView view = snapshot.camera(i);
                    if (view.looked_at(Field::image)) wrong[r] += number_in(view.image()) != view.sequence();
                    if (view.looked_at(Field::depth))
                        wrong[r] += number_in(view.depth()) != view.stamp(Field::depth).sequence;
                }
                if (first) ++looking;
            }
        });
    for (std::uint64_t n = 1; n <= load(20000) || looking < 3; ++n) robot.publish(n);
    stop.store(true);
    for (std::thread& thread : threads) thread.join();
    for (const std::uint64_t each : wrong) EXPECT_EQ(each, 0u);
}

}  // namespace
}  // namespace chiral::test
