// SPDX-License-Identifier: Apache-2.0
// Clients on the same machine: the same calls as over a network, and pixels that stay where they are.
#include "local_robot.hpp"

#include <barrier>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>

namespace chiral::test {
namespace {

TEST(Local, TheSameCallsWorkAsOverANetwork) {
    LocalRobot robot;
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
    LocalRobot robot;
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
    LocalRobot robot;
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
    LocalRobot robot;
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
    LocalRobot robot;
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

TEST(Local, WhatIsWantedComesBesideWhatIsLent) {
    LocalRobot robot;
    robot.publish(9);
    PolicyClient client(robot.uri());
    client.connect();
    Want want;
    want.all.size = {12, 16};
    want.all.image = ImageEncoding::png;
    const Observation small = client.get_obs(want);
    EXPECT_EQ(small["wrist"].image_shape, (std::vector<int>{12, 16, 3}));
    EXPECT_EQ(small["wrist"].image[0], 9);
    want = {};
    want.all.depth = DepthEncoding::millimetres;
    const Observation mixed = client.get_obs(want);  // the image stays where it is, the depth is made
    EXPECT_EQ(mixed["wrist"].image.size(), kPixels);
    float depth = 0;
    std::memcpy(&depth, mixed["wrist"].depth_data.data(), sizeof depth);
    EXPECT_EQ(depth, 9);
    expect_shows(client.get_obs(), 9);
}

TEST(Local, OneIsInControlWhateverItCameThrough) {
    LocalRobot robot([](ServerOptions& options) { options.allow_takeover = true; });
    robot.publish(1);
    // Each is met, and has left before the next one is met, whichever threads told of it.
    std::vector<std::string> expected;
    const auto expect_met = [&](const std::string& what) {
        expected.push_back(what);
        ASSERT_TRUE(robot.server.control.wait([&](const auto& seen) { return seen.size() >= expected.size(); })) << what;
        EXPECT_EQ(robot.server.control.get(), expected);
    };
    const auto expect_replaced = [&] {
        expected.push_back("disconnect: another client has taken over");
        expect_met("connect");
    };
    PolicyClient network("ws://127.0.0.1:" + std::to_string(robot.server.port()));
    network.connect();
    expect_met("connect");
    PolicyClient local(robot.uri());
    EXPECT_THROW(local.connect(), ConnectionError);
    PolicyClient taking(robot.uri("?takeover=1"));
    taking.connect();
    EXPECT_THROW(network.get_obs(), ConnectionError);
    expect_shows(taking.get_obs(), 1);
    expect_replaced();
    PolicyClient back("ws://127.0.0.1:" + std::to_string(robot.server.port()) + "/?takeover=1");
    back.connect();
    EXPECT_THROW(taking.get_obs(), ConnectionError);
    expect_shows(back.get_obs(), 1);
    expect_replaced();
    back.close();
    expect_met("disconnect: closed by the client (1000)");
}

TEST(Local, ObserversLookBesideTheClientInControl) {
    LocalRobot robot;
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

TEST(Local, ClientsThatHangUpLeaveNothingBehind) {
    LocalRobot robot;
    robot.publish(1);
    for (int i = 0; i < 50; ++i) {
        std::optional<RawLocal> client;
        ASSERT_TRUE(eventually([&] {
            try {
                client.emplace(robot.folder);
                client->hello();
                return true;
            } catch (const std::runtime_error&) {  // the one before is still leaving
                return false;
            }
        }));
        client->ask(wire::RequestType::obs_request);
        client->ask(wire::RequestType::obs_request);
        if (i % 2 == 0) {
            EXPECT_TRUE(client->next());
        }
    }
    const auto last = robot.connect();
    const Observation one = last->get_obs();
    const Observation two = last->get_obs();
    expect_shows(two, 1);
    EXPECT_EQ(robot.server.stats().copied_observations, 0u) << "a pin was left behind";
}

TEST(Local, StreamStaysFreshWhileThePolicyHoldsAnObservation) {
    LocalRobot robot;
    robot.publish(1);
    PolicyClient client(robot.uri());
    client.connect();
    client.start_obs_stream(500);
    const auto held = client.wait_obs(nullptr, kDeadline);
    ASSERT_NE(held, nullptr);
    for (std::uint8_t value = 2; value < 6; ++value) {
        robot.publish(value);
        // Looks without keeping: what the stream shows must not be as old as what is held.
        ASSERT_TRUE(eventually([&] {
            const auto latest = client.latest_obs();
            return latest != nullptr && (*latest)["wrist"].image[0] == value;
        }));
    }
    expect_shows(*held, 1);
    EXPECT_EQ(robot.server.stats().copied_observations, 0u);
    client.stop_obs_stream();
}

TEST(Local, StreamSkipsItsPeriodsWhileThePolicyHoldsAllThatIsLent) {
    LocalRobot robot;
    robot.publish(1);
    PolicyClient client(robot.uri());
    client.connect();
    std::optional<Observation> one = client.get_obs(), two = client.get_obs();
    client.start_obs_stream(500);
    EXPECT_EQ(client.wait_obs(nullptr, std::chrono::milliseconds(20)), nullptr);
    two.reset();
    const auto streamed = client.wait_obs(nullptr, kDeadline);
    ASSERT_NE(streamed, nullptr);
    expect_shows(*streamed, 1);
}

TEST(Local, ActionsThatWaitedInTheSocketAreAsOldAsTheyAre) {
    Gate gate;
    LocalRobot robot([](ServerOptions& options) {
        options.max_queued_actions = 2;
        options.max_action_delay = std::chrono::milliseconds(100);
    });
    const OpensAtEnd opens(gate);
    robot.server.on_action = [&](const Action&) { gate.pass(); };
    RawLocal client(robot.folder);
    client.hello();
    Action action;
    action.data = {1};
    action.N = action.D = 1;
    client.apply(action);
    ASSERT_TRUE(gate.reached());
    constexpr std::uint64_t behind = 8;  // most of which are not read before the gate opens; the system holds ten
    for (std::uint64_t i = 0; i < behind; ++i) client.apply(action);
    const TimePoint old_enough = Clock::now() + std::chrono::milliseconds(300);
    ASSERT_TRUE(eventually([&] { return Clock::now() > old_enough; }));
    gate.open();
    EXPECT_TRUE(eventually([&] { return robot.server.stats().actions_late == behind; }))
        << robot.server.stats().actions_late << " of " << behind << " were found late";
    EXPECT_EQ(robot.server.stats().actions_applied, 1u);
}

TEST(Local, WhatIsHeldStaysReadableWhenTheServerIsStartedAnew) {
    OwnFolder folder;
    LogBook log;
    const auto serve = [&](std::uint8_t value) {
        auto server = std::make_unique<HookedServer>(one_camera(), std::vector<ProprioConfig>{{"arm", 7}}, "127.0.0.1", 0,
                                                     local_options(log, folder));
        const std::vector<std::uint8_t> pixels(kPixels, value);
        EXPECT_TRUE(server->update_image(0, pixels.data(), pixels.size()).ok());
        server->serve();
        return server;
    };
    auto server = serve(1);
    PolicyClient client(local_uri(folder));
    client.connect();
    const Observation held = client.get_obs();
    server->stop();
    server->wait();
    server.reset();
    server = serve(2);
    ASSERT_TRUE(eventually([&] { return !client.connected(); }));
    client.connect();
    EXPECT_EQ(client.get_obs()["wrist"].image[0], 2);
    EXPECT_EQ(held["wrist"].image[0], 1);
    server->stop();
    server->wait();
}

TEST(Local, WaitingForAFrameEndsWithTheNextImage) {
    LocalRobot robot;
    robot.publish(1);
    PolicyClient client(robot.uri());
    client.connect();
    EXPECT_EQ(client.wait_frame("wrist", 0, kDeadline), 1u) << "what is there already is not waited for";
    Observation obs;
    for (std::uint8_t value = 2; value < 30; ++value) {
        std::thread sensor([&] { robot.publish(value); });
        EXPECT_EQ(client.wait_frame("wrist", value - 1u, kDeadline), value);
        sensor.join();
        client.get_obs(obs);
        expect_shows(obs, value);
    }
    EXPECT_EQ(client.wait_frame("wrist", 29, std::chrono::milliseconds(5)), 0u) << "there is no 30th";
    robot.publish(30);  // which the wish that nobody waits for any more brings
    EXPECT_EQ(client.wait_frame("wrist", 30, std::chrono::milliseconds(20)), 0u);
    EXPECT_THROW(client.wait_frame("nose", 0, kDeadline), std::out_of_range);
    std::thread ending([&] { robot.server.stop(); });
    EXPECT_THROW(client.wait_frame("wrist", 30, kDeadline), ConnectionError);
    ending.join();
}

TEST(Local, AnAnswerThatComesLateIsNotTakenForThatToALaterWish) {
    LocalRobot robot;
    robot.publish(1);
    PolicyClient client(robot.uri());
    client.connect();
    for (std::uint8_t value = 2; value < 150; ++value) {
        EXPECT_EQ(client.wait_frame("wrist", value - 1u, Duration::zero()), 0u);
        robot.publish(value);  // which that wish brings, now or while another one is under way
        EXPECT_THROW(client.wait_frame("nose", 0, kDeadline), std::out_of_range);
    }
}

TEST(Local, NobodyTellsOfFramesOverANetwork) {
    LocalRobot robot;
    PolicyClient client("ws://127.0.0.1:" + std::to_string(robot.server.port()));
    client.connect();
    EXPECT_THROW(client.wait_frame("wrist", 0, kDeadline), std::logic_error);
}

TEST(Local, AnotherVersionIsToldSo) {
    LocalRobot robot;
    RawLocal client(robot.folder);
    client.say(net::PacketKind::hello, "version=99\nwants=control\n");
    ASSERT_TRUE(client.next());
    EXPECT_EQ(client.packet().kind(), net::PacketKind::refusal);
    EXPECT_EQ(client.packet().text(), "this server speaks version " + std::to_string(net::kLocalVersion) +
                                          " of the local transport, the client version 99");
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
        HookedServer server(one_camera(), {}, "127.0.0.1", 0, local_options(log, folder));
        server.serve();
        HookedServer second(one_camera(), {}, "127.0.0.1", 0, local_options(log, folder));
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

TEST(Local, OfServersThatBeginAtOnceOneListensAndNoneTakesAwayItsFile) {
    constexpr int rounds = 20, together = 4;
    OwnFolder folder;
    LogBook log;
    ServerOptions options = local_options(log, folder);
    options.access.local.only = true;
    std::vector<std::unique_ptr<HookedServer>> servers;
    for (int i = 0; i < together; ++i)
        servers.push_back(
            std::make_unique<HookedServer>(one_camera(), std::vector<ProprioConfig>{}, "127.0.0.1", 0, options));
    for (int round = 0; round < rounds; ++round) {
        {
            const net::Descriptor dead = net::open_packet_socket();
            ASSERT_TRUE(net::bind_packet_socket(dead.get(), folder.socket()));
        }
        std::vector<HookedServer*> listening;
        std::mutex mutex;
        std::barrier begin(together);
        std::vector<std::thread> threads;
        for (const auto& server : servers)
            threads.emplace_back([&, server = server.get()] {
                begin.arrive_and_wait();
                try {
                    server->serve();
                    const std::lock_guard lock(mutex);
                    listening.push_back(server);
                } catch (const std::system_error& error) {
                    EXPECT_EQ(error.code(), std::errc::address_in_use) << error.what();
                }
            });
        for (std::thread& thread : threads) thread.join();
        EXPECT_EQ(listening.size(), 1u) << "round " << round;
        EXPECT_NO_THROW(RawLocal(folder).hello());
        for (HookedServer* server : listening) {
            server->stop();
            server->wait();
        }
        ASSERT_TRUE(folder.empty());
    }
}

TEST(Local, AServerStartsThoughSomebodyKeepsTheLockOfItsFolder) {
    net::Descriptor kept;
    const LocalRobot robot([&](const ServerOptions& options) {
        const std::filesystem::path folder = std::filesystem::path(options.local_socket).parent_path();
        kept = net::Descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        ASSERT_EQ(::flock(kept.get(), LOCK_EX), 0);
    });
    RawLocal(robot.folder).hello();
}

TEST(Local, AServerThatEndsLeavesTheFileOfAnother) {
    OwnFolder folder;
    LogBook log;
    HookedServer server(one_camera(), {}, "127.0.0.1", 0, local_options(log, folder));
    server.serve();
    std::filesystem::remove(folder.socket());
    const net::Descriptor other = net::open_packet_socket();
    ASSERT_TRUE(net::bind_packet_socket(other.get(), folder.socket()));
    server.stop();
    server.wait();
    EXPECT_TRUE(std::filesystem::exists(folder.socket()));
    std::filesystem::remove(folder.socket());
}

}  // namespace
}  // namespace chiral::test
