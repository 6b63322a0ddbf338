// SPDX-License-Identifier: Apache-2.0
// A client asks a server for what its policy needs, and gets that; one that asks for nothing gets what it always got.
#include "support.hpp"

#include <chiral/client.hpp>

#include <cstring>
#include <future>
#include <string>

namespace chiral::test {
namespace {

std::vector<CameraConfig> two_cameras() {
    std::vector<CameraConfig> cameras{camera("wrist", 48, 64, 3, true), camera("head", 48, 64, 3, false)};
    for (CameraConfig& config : cameras) config.intrinsics << 60, 0, 31.5, 0, 60, 23.5, 0, 0, 1;
    return cameras;
}

Want small_jpegs() {
    Want want;
    want.all = {{24, 24}, Fit::crop, ImageEncoding::jpeg, 90, ColourOrder::rgb, DepthEncoding::millimetres};
    return want;
}

class WantedObservations : public testing::Test {
protected:
    WantedObservations() {
        publish(100);
        client.connect();
    }
    void publish(std::uint8_t level) {
        const std::vector<std::uint8_t> image(48 * 64 * 3, level);
        const std::vector<float> depth(48 * 64, 1.2344f);
        for (std::size_t i : {0u, 1u}) EXPECT_TRUE(served->update_image(i, image.data(), image.size()));
        EXPECT_TRUE(
            served->update_depth(0, reinterpret_cast<const std::uint8_t*>(depth.data()), depth.size() * sizeof(float)));
    }
    std::string address(const std::string& path = "") { return "ws://127.0.0.1:" + std::to_string(served->port()) + path; }

    Served<HookedServer> served{two_cameras(), {{"joints", 3}, {"torque", 3}}};
    PolicyClient client{address()};
};

TEST_F(WantedObservations, ArePlainArraysInTheSizeThatWasAskedFor) {
    const Observation obs = client.get_obs(small_jpegs());
    for (const CameraInfo& info : obs.cameras) {
        EXPECT_EQ(info.image_shape, (std::vector<int>{24, 24, 3}));
        ASSERT_EQ(info.image.size(), 24u * 24 * 3);
        EXPECT_NEAR(info.image[0], 100, 2);
        EXPECT_DOUBLE_EQ(info.intrinsics(0, 0), 30);
        EXPECT_EQ(info.image_encoding, ImageEncoding::jpeg) << "as which it came";
    }
    ASSERT_EQ(obs["wrist"].depth_data.size(), 24u * 24 * sizeof(float));
    float metres = 0;
    std::memcpy(&metres, obs["wrist"].depth_data.data(), sizeof metres);
    EXPECT_FLOAT_EQ(metres, 1.234f);
    EXPECT_FALSE(obs["head"].has_depth);
    EXPECT_EQ(obs.proprios.size(), 2u);
}

TEST_F(WantedObservations, TakeLessOfTheNetwork) {
    const Observation whole = client.get_obs();
    const std::uint64_t before = client.stats().bytes_received;
    client.get_obs(small_jpegs());
    EXPECT_LT(10 * (client.stats().bytes_received - before), before);
}

TEST_F(WantedObservations, StandBesideThoseOfAClientThatWantsNothing) {
    client.get_obs(small_jpegs());
    const Observation plain = client.get_obs();
    EXPECT_EQ(plain["wrist"].image.size(), 48u * 64 * 3);
    EXPECT_EQ(plain["wrist"].intrinsics(0, 0), 60);
    EXPECT_EQ(plain["wrist"].version, 0u) << "which is sent to those who asked only";
}

TEST_F(WantedObservations, NameWhatIsUnchangedAndShowItAllTheSame) {
    Want want = small_jpegs();
    want.only_if_newer = true;
    EXPECT_FALSE(client.get_obs(want)["wrist"].unchanged);
    const std::uint64_t before = client.stats().bytes_received;
    const Observation same = client.get_obs(want);
    const std::uint64_t header_only = client.stats().bytes_received - before;
    EXPECT_TRUE(same["wrist"].unchanged);
    EXPECT_NEAR(same["wrist"].image[0], 100, 2);
    EXPECT_EQ(same["wrist"].depth_data.size(), 24u * 24 * sizeof(float));
    publish(200);
    const Observation newer = client.get_obs(want);
    EXPECT_FALSE(newer["wrist"].unchanged);
    EXPECT_NEAR(newer["wrist"].image[0], 200, 2);
    EXPECT_GT(client.stats().bytes_received - before, 2 * header_only);
}

TEST_F(WantedObservations, AreStreamedToo) {
    client.start_obs_stream(200, small_jpegs());
    std::shared_ptr<const Observation> obs;
    for (int i = 0; i < 5; ++i) {
        obs = client.wait_obs(obs, kDeadline);
        ASSERT_TRUE(obs);
        EXPECT_EQ((*obs)["wrist"].image.size(), 24u * 24 * 3);
    }
}

TEST_F(WantedObservations, AreForObserversToo) {
    PolicyClient observer(address("/observe"));
    observer.connect();
    EXPECT_EQ(observer.get_obs(small_jpegs())["wrist"].image.size(), 24u * 24 * 3);
}

TEST_F(WantedObservations, ShowWhatAHookHasDrawn) {
    served->on_get_obs = [&] {
        Observation obs = served->make_obs(1.5);
        obs["wrist"].image = std::vector<std::uint8_t>(48 * 64 * 3, 7);
        return obs;
    };
    const Observation obs = client.get_obs(small_jpegs());
    EXPECT_NEAR(obs["wrist"].image[0], 7, 2);
    EXPECT_NEAR(obs["head"].image[0], 100, 2);
    EXPECT_EQ(obs.timestamp, 1.5);
}

TEST_F(WantedObservations, AreCutDownToTheirBudgetWhichIsSaid) {
    Want want = small_jpegs();
    want.budget = WantBudget{1, 0, 40, 0.5, 1000};  // a byte a second: nothing fits
    const auto cut_down = [&] {
        const Observation obs = client.get_obs(want);
        return obs["wrist"].image_shape == std::vector<int>{12, 12, 3} && obs.extra.contains("chiral.want_scale") &&
               std::get<std::int64_t>(obs.extra.at("chiral.want_quality")) == 40;
    };
    EXPECT_TRUE(eventually(cut_down));
}

TEST_F(WantedObservations, DoNotDelayActions) {
    // The pool is busy for whoever asks; the action behind the request is applied all the same.
    Want large;
    large.all.size = {2000, 4000};
    large.all.image = ImageEncoding::png;
    std::promise<void> applied;
    served->on_action = [&](const Action&) { applied.set_value(); };
    auto answer = std::async(std::launch::async, [&] { return client.get_obs(large); });
    Action action;
    action.N = action.D = 1;
    action.data = {1.f};
    client.apply_action(action);
    EXPECT_EQ(applied.get_future().wait_for(kDeadline), std::future_status::ready);
    EXPECT_EQ(answer.get()["head"].image_shape, (std::vector<int>{2000, 4000, 3}));
}

TEST_F(WantedObservations, OfSizesOutOfBoundsAreRefusedBeforeTheyAreAskedFor) {
    Want want;
    want.all.size = {100000, 1};
    EXPECT_THROW(client.get_obs(want), std::invalid_argument);
    EXPECT_NO_THROW(client.get_obs(small_jpegs())) << "on the same connection";
}

}  // namespace
}  // namespace chiral::test
