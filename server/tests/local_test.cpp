// SPDX-License-Identifier: Apache-2.0
// Clients on the same machine: the same calls as over a network, and pixels that stay where they are.
#include "local_support.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <thread>

namespace chiral::test {
namespace {

constexpr int kHeight = 48, kWidth = 64;
constexpr std::size_t kPixels = std::size_t{kHeight} * kWidth * 3;

std::vector<CameraConfig> cameras() { return {camera("wrist", kHeight, kWidth, 3, true)}; }

/// A server at a socket of its own, with one camera and one stream.
struct Fixture {
    explicit Fixture(const std::function<void(ServerOptions&)>& adjust = [](ServerOptions&) {})
        : server(cameras(), {{"arm", 7}}, "127.0.0.1", 0, adjusted(adjust)) {
        server.serve();
    }
    ~Fixture() {
        server.stop();
        server.wait();
    }
    ServerOptions adjusted(const std::function<void(ServerOptions&)>& adjust) {
        ServerOptions options = local_options(log, folder);
        adjust(options);
        return options;
    }
    void publish(std::uint8_t value) {
        const std::vector<std::uint8_t> pixels(kPixels, value);
        const std::vector<float> depth(kPixels / 3, value);
        Frame frame = server.begin_frame(0);
        std::copy(pixels.begin(), pixels.end(), frame.image().begin());
        std::copy(depth.begin(), depth.end(), frame.depth().begin());
        EXPECT_TRUE(frame.commit().ok());
        const std::array<float, 7> joints{static_cast<float>(value), 1, 2, 3, 4, 5, 6};
        EXPECT_TRUE(server.update_proprio(0, joints.data(), joints.size()).ok());
    }
    std::string uri(const std::string& query = {}) const { return local_uri(folder, query); }

    OwnFolder folder;
    LogBook log;
    HookedServer server;
};

void expect_shows(const Observation& obs, std::uint8_t value) {
    const CameraInfo& wrist = obs["wrist"];
    ASSERT_EQ(wrist.image.size(), kPixels);
    EXPECT_TRUE(std::all_of(wrist.image.begin(), wrist.image.end(), [=](std::uint8_t p) { return p == value; }));
    ASSERT_EQ(wrist.depth_data.size(), kPixels / 3 * sizeof(float));
    float depth = 0;
    std::memcpy(&depth, wrist.depth_data.data(), sizeof depth);
    EXPECT_EQ(depth, value);
    EXPECT_EQ(obs.proprio("arm").data.front(), value);
}

TEST(Local, TheSameCallsWorkAsOverANetwork) {
    Fixture robot;
    Watched<std::vector<float>> applied;
    robot.server.on_action = [&](const Action& action) { applied.set(action.data); };
    robot.server.on_metadata = [] { return InfoMap{{"robot", "arm"}}; };
    robot.publish(3);
    PolicyClient client(robot.uri());
    client.connect();
    EXPECT_EQ(client.get_metadata().at("robot"), "arm");
    auto [first, info] = client.reset();
    expect_shows(first, 3);
    first = {};
    robot.publish(4);
    expect_shows(client.get_obs(), 4);
    Action action;
    action.data = {1, 2};
    action.N = 1;
    action.D = 2;
    client.apply_action(action);
    EXPECT_TRUE(applied.wait([](const auto& data) { return data == std::vector<float>{1, 2}; }));
    expect_shows(client.step(action).obs, 4);
    client.close();
    EXPECT_TRUE(robot.server.control.wait([](const auto& seen) { return seen.size() >= 4; }));
    EXPECT_EQ(robot.server.control.get().back(), "disconnect: closed by the client");
    EXPECT_EQ(robot.server.stats().copied_observations, 0u);
}

TEST(Local, PixelsAreLentAndStayWhatTheyWereWhileTheSensorGoesOn) {
    Fixture robot;
    robot.publish(1);
    PolicyClient client(robot.uri());
    client.connect();
    const Observation held = client.get_obs();
    EXPECT_TRUE(held["wrist"].image.borrowed());
    EXPECT_TRUE(held["wrist"].depth_data.borrowed());
    for (int i = 2; i < 200; ++i) robot.publish(static_cast<std::uint8_t>(i));
    expect_shows(held, 1);
    EXPECT_LT(robot.server.stats().bytes_sent, kPixels);
    EXPECT_EQ(robot.server.stats().copied_observations, 0u);
}

TEST(Local, ThirdObservationIsRefusedUntilOneIsGivenBack) {
    Fixture robot;
    robot.publish(1);
    PolicyClient client(robot.uri());
    client.connect();
    std::optional<Observation> first = client.get_obs();
    Observation second = client.get_obs();
    EXPECT_THROW(client.get_obs(), LoanError);
    EXPECT_TRUE(client.connected());
    EXPECT_NO_THROW(client.get_metadata());
    robot.publish(2);
    client.get_obs(second);  // which gives back what it held
    expect_shows(second, 2);
    first.reset();
    expect_shows(client.get_obs(), 2);
    EXPECT_EQ(robot.server.stats().copied_observations, 0u);
    EXPECT_EQ(robot.server.stats().protocol_errors, 0u);
}

TEST(Local, WhoAsksForMoreThanItMayHoldIsClosed) {
    Fixture robot;
    robot.publish(1);
    RawLocal client(robot.folder);
    client.hello();
    for (int i = 0; i < 3; ++i) client.ask(wire::RequestType::obs_request);
    EXPECT_NE(client.goodbye().find("while holding all that may be held"), std::string::npos);
    EXPECT_TRUE(eventually([&] { return robot.server.stats().protocol_errors == 1; }));
    client.hang_up();
    RawLocal next(robot.folder);  // its loans have ended with it
    EXPECT_NO_THROW(next.hello());
}

TEST(Local, WhatAHookMadeItselfGoesAlong) {
    Fixture robot;
    robot.publish(1);
    constexpr std::size_t large = 700'000;  // of more than one packet, and of more than the socket holds
    robot.server.on_get_obs = [&] {
        Observation obs = robot.server.make_obs();
        CameraInfo drawn;
        drawn.name = "drawn";
        drawn.image.assign(large, std::uint8_t{9});
        drawn.image_shape = {700, 1000, 1};
        drawn.image_dtype = "uint8";
        obs.cameras.push_back(std::move(drawn));
        return obs;
    };
    PolicyClient client(robot.uri());
    client.connect();
    const Observation obs = client.get_obs();
    expect_shows(obs, 1);
    const ByteBuffer& drawn = obs["drawn"].image;
    ASSERT_EQ(drawn.size(), large);
    EXPECT_TRUE(std::all_of(drawn.begin(), drawn.end(), [](std::uint8_t p) { return p == 9; }));
    EXPECT_GT(robot.server.stats().bytes_sent, large);
}

TEST(Local, OneIsInControlWhateverItCameThrough) {
    Fixture robot([](ServerOptions& options) { options.allow_takeover = true; });
    robot.publish(1);
    PolicyClient network("ws://127.0.0.1:" + std::to_string(robot.server.port()));
    network.connect();
    PolicyClient local(robot.uri());
    EXPECT_THROW(local.connect(), ConnectionError);
    PolicyClient taking(robot.uri("?takeover=1"));
    taking.connect();
    EXPECT_THROW(network.get_obs(), ConnectionError);
    expect_shows(taking.get_obs(), 1);
    PolicyClient back("ws://127.0.0.1:" + std::to_string(robot.server.port()) + "/?takeover=1");
    back.connect();
    EXPECT_THROW(taking.get_obs(), ConnectionError);
    expect_shows(back.get_obs(), 1);
    back.close();
    // Each is gone before the next one comes, whichever thread told of it.
    const std::vector<std::string> expected{"connect", "disconnect: another client has taken over",
                                            "connect", "disconnect: another client has taken over",
                                            "connect", "disconnect: closed by the client (1000)"};
    EXPECT_TRUE(robot.server.control.wait([&](const auto& seen) { return seen.size() >= expected.size(); }));
    const std::vector<std::string> seen = robot.server.control.get();
    for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i].starts_with("connect"), i % 2 == 0) << seen[i];
}

TEST(Local, ObserversLookBesideTheClientInControl) {
    Fixture robot;
    robot.publish(1);
    PolicyClient client(robot.uri());
    client.connect();
    PolicyClient observer(robot.uri("?observe=1"));
    observer.connect();
    const Observation first = observer.get_obs();
    robot.publish(2);
    const Observation second = observer.get_obs();
    expect_shows(first, 1);
    expect_shows(second, 2);
    EXPECT_THROW(observer.get_obs(), LoanError);
    expect_shows(client.get_obs(), 2);
    PolicyClient another(robot.uri("?observe=1"));
    EXPECT_THROW(another.connect(), ConnectionError) << "there is one seat";
    EXPECT_EQ(robot.server.stats().copied_observations, 0u);
}

TEST(Local, ClientsOfManyKindsOfDeathLeaveNothingBehind) {
    Fixture robot;
    robot.publish(1);
    for (int i = 0; i < 50; ++i) {
        RawLocal client(robot.folder);
        ASSERT_TRUE(eventually([&] {
            try {
                client = RawLocal(robot.folder);
                client.hello();
                return true;
            } catch (const std::runtime_error&) {  // the one before is still leaving
                return false;
            }
        }));
        client.ask(wire::RequestType::obs_request);
        client.ask(wire::RequestType::obs_request);
        if (i % 2 == 0) {
            EXPECT_TRUE(client.next());
        }
        client.hang_up();
    }
    PolicyClient last(robot.uri());
    ASSERT_TRUE(eventually([&] {
        try {
            last.connect();
            return true;
        } catch (const ConnectionError&) {
            return false;
        }
    }));
    const Observation one = last.get_obs();
    const Observation two = last.get_obs();
    expect_shows(two, 1);
    EXPECT_EQ(robot.server.stats().copied_observations, 0u) << "a pin was left behind";
}

TEST(Local, AnotherVersionIsToldSo) {
    Fixture robot;
    RawLocal client(robot.folder);
    client.say(net::PacketKind::hello, "version=99\nwants=control\n");
    ASSERT_TRUE(client.next());
    EXPECT_EQ(client.packet().kind(), net::PacketKind::refusal);
    EXPECT_EQ(client.packet().text(), "this server speaks version 1 of the local transport, the client version 99");
    EXPECT_FALSE(client.next());
}

TEST(Local, SocketFileOfADeadServerIsReplacedAndThatOfALivingOneIsNot) {
    OwnFolder folder;
    {  // what stays of a process that was killed
        const net::Descriptor dead = net::open_packet_socket();
        ASSERT_TRUE(net::bind_packet_socket(dead.get(), folder.socket()));
    }
    LogBook log;
    {
        HookedServer server(cameras(), {}, "127.0.0.1", 0, local_options(log, folder));
        server.serve();
        HookedServer second(cameras(), {}, "127.0.0.1", 0, local_options(log, folder));
        EXPECT_THROW(second.serve(), std::system_error);
        PolicyClient client(local_uri(folder));
        client.connect();
        const auto mode = std::filesystem::status(folder.socket()).permissions();
        EXPECT_EQ(mode & std::filesystem::perms::mask, std::filesystem::perms(0660));
        server.stop();
        server.wait();
    }
    EXPECT_TRUE(folder.empty()) << "a server that ends in order leaves nothing";
}

}  // namespace
}  // namespace chiral::test
