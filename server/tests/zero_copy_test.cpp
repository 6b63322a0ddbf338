// SPDX-License-Identifier: Apache-2.0
// Observations borrow their pixels from pinned slots: what that means for those who keep, copy, move and change them.
#include "support.hpp"

#include <algorithm>
#include <optional>

namespace chiral::test {
namespace {

using wire::RequestType;

// Two cameras whose every byte and metre is the number of the frame.
ServerOptions with_readers(ServerOptions options, int readers) {
    options.engine.readers = readers;
    return options;
}

class Rig : public OpenServer {
public:
    static std::vector<CameraConfig> cameras() { return {camera("a", 48, 64, 3, true), camera("b", 30, 40, 1, false)}; }
    explicit Rig(LogBook& log, int readers = 0)
        : OpenServer(cameras(), {{"q", 3}}, "127.0.0.1", 0, with_readers(quiet(log), readers)) {}
    using OpenServer::OpenServer;
    void publish(int n) {
        for (std::size_t c = 0; c < 2; ++c) {
            Frame frame = begin_frame(c);
            const auto image = frame.image();
            std::fill(image.begin(), image.end(), static_cast<std::uint8_t>(n));
            if (c == 0) {
                const auto depth = frame.depth();
                std::fill(depth.begin(), depth.end(), static_cast<float>(n));
            }
            ASSERT_TRUE(frame.commit().ok());
        }
    }
};

void expect_shows(const Observation& obs, int n) {
    for (const CameraInfo& info : obs.cameras) {
        SCOPED_TRACE(info.name);
        EXPECT_TRUE(std::all_of(info.image.begin(), info.image.end(), [&](std::uint8_t byte) { return byte == n; }));
        const ByteBuffer& depth = info.depth_data;
        for (std::size_t i = 0; i + 4 <= depth.size(); i += 4) {
            float metres = 0;
            std::memcpy(&metres, depth.data() + i, 4);
            ASSERT_EQ(metres, static_cast<float>(n));
        }
    }
}

bool all_borrowed(const Observation& obs) {
    return std::all_of(obs.cameras.begin(), obs.cameras.end(), [](const CameraInfo& info) {
        return info.image.borrowed() && (!info.has_depth || info.depth_data.borrowed());
    });
}

bool none_borrowed(const Observation& obs) {
    return std::none_of(obs.cameras.begin(), obs.cameras.end(),
                        [](const CameraInfo& info) { return info.image.borrowed() || info.depth_data.borrowed(); });
}

TEST(ZeroCopy, AnObservationPointsIntoTheSlotsThatTheSensorFilled) {
    LogBook log;
    Rig rig(log);
    std::vector<std::uint8_t> image(48 * 64 * 3, 7);
    for (int i = 0; i < 20; ++i) {
        Frame frame = rig.begin_frame(0);
        const std::uint8_t* image_slot = frame.image().data();
        const float* depth_slot = frame.depth().data();
        ASSERT_TRUE(frame.commit().ok());
        const Observation obs = rig.make_obs();
        EXPECT_TRUE(all_borrowed(obs));
        EXPECT_EQ(obs["a"].image.data(), image_slot);
        EXPECT_EQ(obs["a"].depth_data.data(), reinterpret_cast<const std::uint8_t*>(depth_slot));
    }
    EXPECT_EQ(rig.stats().copied_observations, 0u);
}

TEST(CaptureTimes, OfADriverAreThoseOfTheObservation) {
    LogBook log;
    Rig rig(log, 1);
    const TimePoint now = Clock::now();
    const std::vector<std::uint8_t> image(48 * 64 * 3, 7), depth(48 * 64 * 4);
    const std::array<float, 3> joints{1, 2, 3};
    using std::chrono::milliseconds;
    EXPECT_TRUE(rig.update_image(0, image.data(), image.size(), now - milliseconds(50)).ok());
    EXPECT_TRUE(rig.update_depth(0, depth.data(), depth.size(), now - milliseconds(40)).ok());
    EXPECT_TRUE(rig.update_intrinsics(0, Eigen::Matrix3d::Identity(), now - milliseconds(30)).ok());
    EXPECT_TRUE(rig.update_extrinsics(0, Eigen::Matrix4d::Identity(), now - milliseconds(20)).ok());
    EXPECT_TRUE(rig.update_proprio(0, joints.data(), joints.size(), now - milliseconds(10)).ok());
    Reader reader = rig.engine().make_reader();
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(snapshot.camera(0).stamp(Field::image).captured, now - milliseconds(50));
    EXPECT_EQ(snapshot.camera(0).stamp(Field::depth).captured, now - milliseconds(40));
    EXPECT_EQ(snapshot.camera(0).stamp(Field::intrinsics).captured, now - milliseconds(30));
    EXPECT_EQ(snapshot.camera(0).stamp(Field::extrinsics).captured, now - milliseconds(20));
    EXPECT_EQ(snapshot.proprio(0).captured(), now - milliseconds(10));
    EXPECT_TRUE(rig.update_image(0, image.data(), image.size()).ok());
}

TEST(ReadersOfACamera, AreTheCallersBesideThoseOfTheServer) {
    LogBook log;
    std::vector<CameraConfig> cameras = Rig::cameras();
    cameras[0].readers = 1;
    cameras[0].depth_readers = 0;
    Rig rig(cameras, {}, "127.0.0.1", 0, with_readers(quiet(log), 2));
    rig.publish(1);
    const ReaderScope no_depth{.depths = std::vector<std::string>{}};
    Reader reader = rig.engine().make_reader(no_depth);
    EXPECT_THROW(static_cast<void>(rig.engine().make_reader(no_depth)), std::runtime_error);
    Reader other = rig.engine().make_reader({.cameras = std::vector<std::string>{"b"}});
    const Snapshot held = reader.snapshot();
    rig.publish(2);
    expect_shows(rig.make_obs(), 2);
    EXPECT_EQ(held.camera(0).image()[0], 1);

    cameras[0].readers = -1;
    EXPECT_THROW(Rig(cameras, {}, "127.0.0.1", 0, quiet(log)), std::invalid_argument);
}

TEST(ZeroCopy, WhatGoesToTheSocketPointsIntoTheSlots) {
    LogBook log;
    Rig rig(log);
    rig.publish(1);
    const Observation obs = rig.make_obs();
    wire::ObservationEncoder encoder;
    encoder.encode_obs_response(obs);
    const auto payload = encoder.payload();
    ASSERT_EQ(payload.size(), 4u);  // image a, depth a, image b, q
    EXPECT_EQ(payload[0].data(), obs["a"].image.data());
    EXPECT_EQ(payload[1].data(), obs["a"].depth_data.data());
    EXPECT_EQ(payload[2].data(), obs["b"].image.data());
    EXPECT_EQ(payload[3].data(), reinterpret_cast<const std::uint8_t*>(obs.proprio("q").data.data()));
}

TEST(ZeroCopy, ACopyIsOwnedAndAMoveKeepsTheLoan) {
    LogBook log;
    Rig rig(log);
    rig.publish(1);
    Observation obs = rig.make_obs();
    const Observation copy = obs;
    EXPECT_TRUE(none_borrowed(copy));
    EXPECT_NE(copy["a"].image.data(), std::as_const(obs)["a"].image.data());
    const std::uint8_t* slot = std::as_const(obs)["a"].image.data();
    const Observation moved = std::move(obs);
    EXPECT_TRUE(all_borrowed(moved));
    EXPECT_EQ(moved["a"].image.data(), slot);
    rig.publish(2);
    rig.publish(3);
    rig.publish(4);
    expect_shows(copy, 1);
    expect_shows(moved, 1);
}

TEST(ZeroCopy, ACameraThatIsTakenOutOutlivesItsObservation) {
    LogBook log;
    Rig rig(log);
    rig.publish(1);
    CameraInfo kept;
    {
        Observation obs = rig.make_obs();
        kept = std::move(obs["a"]);
    }
    EXPECT_TRUE(kept.image.borrowed());
    for (int n = 2; n < 50; ++n) {
        rig.publish(n);
        expect_shows(rig.make_obs(), n);
    }
    EXPECT_EQ(std::as_const(kept).image[0], 1);
    EXPECT_EQ(std::as_const(kept).image[kept.image.size() - 1], 1);
    EXPECT_EQ(rig.stats().copied_observations, 0u);
}

TEST(ZeroCopy, WritingToBorrowedPixelsCopiesThemFirst) {
    LogBook log;
    Rig rig(log);
    rig.publish(1);
    Observation obs = rig.make_obs();
    obs["a"].image[0] = 99;
    EXPECT_FALSE(obs["a"].image.borrowed());
    EXPECT_TRUE(obs["a"].depth_data.borrowed());
    EXPECT_EQ(std::as_const(obs)["a"].image[0], 99);
    EXPECT_EQ(std::as_const(obs)["a"].image[1], 1);
    expect_shows(rig.make_obs(), 1);  // the slot is untouched
}

TEST(ZeroCopy, ObservationsThatTheCallerKeepsStayRightAndFurtherOnesAreCopies) {
    LogBook log;
    Rig rig(log);
    std::vector<Observation> kept;
    for (int n = 1; n <= 10; ++n) {
        rig.publish(n);
        kept.push_back(rig.make_obs());
    }
    EXPECT_TRUE(all_borrowed(kept[0]));
    EXPECT_TRUE(all_borrowed(kept[1]));
    for (std::size_t i = 2; i < kept.size(); ++i) EXPECT_TRUE(none_borrowed(kept[i])) << i;
    EXPECT_EQ(rig.stats().copied_observations, 8u);
    rig.publish(11);
    for (std::size_t i = 0; i < kept.size(); ++i) expect_shows(kept[i], static_cast<int>(i) + 1);
    kept.clear();
    EXPECT_TRUE(all_borrowed(rig.make_obs()));
    EXPECT_EQ(rig.stats().copied_observations, 8u);
}

TEST(ZeroCopy, AnObservationOutlivesItsServer) {
    LogBook log;
    std::optional<Rig> rig(log);
    rig->publish(1);
    const Observation borrowed = rig->make_obs();
    const Observation other = rig->make_obs();
    const Observation copied = rig->make_obs();
    ASSERT_TRUE(all_borrowed(borrowed));
    ASSERT_TRUE(none_borrowed(copied));
    rig.reset();
    expect_shows(borrowed, 1);
    expect_shows(other, 1);
    expect_shows(copied, 1);
}

TEST(ZeroCopy, ManyThreadsMakeAndKeepObservationsAtOnce) {
    LogBook log;
    Rig rig(log);
    rig.publish(1);
    std::atomic<bool> ended{false};
    std::thread sensor([&] {
        for (int n = 2; !ended; n = n % 250 + 1) rig.publish(n);
    });
    std::vector<std::thread> makers;
    for (int t = 0; t < 4; ++t)
        makers.emplace_back([&, t] {
            std::optional<Observation> kept;
            for (int i = 0; i < 300; ++i) {
                Observation obs = rig.make_obs();
                const int n = std::as_const(obs).cameras[0].image[0];
                const auto& image = std::as_const(obs).cameras[0].image;
                if (std::count(image.begin(), image.end(), static_cast<std::uint8_t>(n)) !=
                    static_cast<std::ptrdiff_t>(image.size()))
                    ADD_FAILURE() << "torn";
                if (i % 3 == t % 3) kept = std::move(obs);
            }
        });
    for (std::thread& maker : makers) maker.join();
    ended = true;
    sensor.join();
    EXPECT_TRUE(all_borrowed(rig.make_obs()));
}

TEST(ZeroCopy, ChangingAllButThePixelsKeepsTheLoanAndReachesTheClient) {
    bool was_borrowed = false;
    LogBook log;
    Served<HookedServer> served(
        Rig::cameras(), {{"q", 3}}, [](ServerOptions&) {},
        [&](HookedServer& server) {
            server.on_get_obs = [&] {
                Observation obs = server.make_obs(12.5);
                obs["a"].extrinsics(0, 3) = 0.75;
                obs["b"].intrinsics(1, 2) = -3.5;
                obs["b"].timestamp = 99.25;
                obs.proprio("q").data[2] = 4.5f;
                obs.extra["instruction"] = std::string("fold the towel");
                obs.extra["done"] = true;
                was_borrowed = all_borrowed(obs);
                return obs;
            };
        });
    RawClient client = served.connect();
    for (int i = 0; i < 3; ++i) {
        const Observation obs = client.ask(RequestType::obs_request).result.obs;
        EXPECT_TRUE(was_borrowed);
        EXPECT_EQ(obs.timestamp, 12.5);
        EXPECT_EQ(obs["a"].extrinsics(0, 3), 0.75);
        EXPECT_EQ(obs["b"].intrinsics(1, 2), -3.5);
        EXPECT_EQ(obs["b"].timestamp, 99.25);
        EXPECT_EQ(obs.proprio("q").data[2], 4.5f);
        EXPECT_EQ(std::get<std::string>(obs.extra.at("instruction")), "fold the towel");
        EXPECT_TRUE(std::get<bool>(obs.extra.at("done")));
    }
    // What a hook changed in one observation is not seen in the next one.
    const Observation reset = client.ask(RequestType::reset).result.obs;
    EXPECT_EQ(reset["a"].extrinsics(0, 3), 0.0);
    EXPECT_TRUE(reset.extra.empty());
    EXPECT_EQ(served->stats().copied_observations, 0u);
}

TEST(ZeroCopy, ServingACallerThatKeepsEverythingStillWorks) {
    std::vector<Observation> kept;
    Served<HookedServer> served(
        Rig::cameras(), {}, [](ServerOptions&) {},
        [&](HookedServer& server) {
            server.on_get_obs = [&] {
                kept.push_back(server.make_obs());
                return kept.back();  // a copy
            };
        });
    RawClient client = served.connect();
    for (int i = 0; i < 5; ++i) EXPECT_EQ(client.ask(RequestType::obs_request).result.obs.cameras.size(), 2u);
    EXPECT_EQ(served->stats().copied_observations, 3u);
}

}  // namespace
}  // namespace chiral::test
