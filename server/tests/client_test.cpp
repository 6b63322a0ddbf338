// SPDX-License-Identifier: Apache-2.0
// PolicyClient's requests and actions over a connection that works. Connecting, hostile servers and streams: see the
// other client tests.
#include "client_scripted_server.hpp"

#include <future>
#include <limits>
#include <set>

namespace chiral::test {
namespace {

using wire::RequestType;

TEST(ClientRequests, BringWhatTheServerSends) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    EXPECT_EQ(client.get_metadata(), (InfoMap{{"robot", "arm"}}));
    const auto [first, info] = client.reset();
    expect_sample(first, 0);
    EXPECT_EQ(info, (InfoMap{{"episode", "3"}}));
    expect_sample(client.get_obs(), 1);
    expect_sample(client.get_obs(), 2);
    const StepResult result = client.step(sample_action());
    expect_sample(result.obs, 0);
    EXPECT_EQ(result.reward, 0.5f);
    EXPECT_FALSE(result.terminated);
    EXPECT_TRUE(result.truncated);
    EXPECT_EQ(result.info, (InfoMap{{"k", "v"}}));
}

TEST(ClientRequests, AreTheBytesOfTheOriginalAndItsAnswersAreUnderstood) {
    ScriptedServer server([](Peer& peer) {
        peer.accept();
        EXPECT_EQ(peer.receive(), golden_frame("client_metadata"));
        peer.send(golden_frame("server_metadata_response"));
        EXPECT_EQ(peer.receive(), golden_frame("client_reset"));
        peer.send(golden_frame("server_reset_response"));
        EXPECT_EQ(peer.receive(), golden_frame("client_obs_request"));
        peer.send(golden_frame("server_obs_response"));
        peer.expect_request(RequestType::action);
        peer.send(golden_frame("server_step_response_legacy"));
        peer.wait_for_close();
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    EXPECT_EQ(client.get_metadata().at("action_shape"), "[1,7]");
    const auto [first, info] = client.reset();
    EXPECT_EQ(info.at("episode"), "3");
    EXPECT_EQ(first["wrist_cam"].timestamp, 12.25);
    const Observation obs = client.get_obs();
    EXPECT_EQ(obs.timestamp, 0.05);
    EXPECT_EQ(obs["head_cam"].image_shape, (std::vector<int>{3, 5, 3}));
    EXPECT_EQ(obs["wrist_cam"].image[0], 0xf0);
    const StepResult result = client.step(sample_action());
    EXPECT_EQ(result.reward, 0.5f);
    EXPECT_TRUE(result.terminated);
    EXPECT_EQ(result.info.at("k"), "v");
}

TEST(ClientRequests, ReuseTheMemoryOfTheObservationTheyFill) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    Observation obs;
    client.get_obs(obs);
    const auto own = [&] { return std::vector<const void*>{obs.proprios[0].data.data(), obs.cameras.data()}; };
    const auto before = own();
    // One message is borrowed from while the next one is received.
    std::set<const void*> messages;
    for (int seed = 2; seed <= 20; ++seed) {
        client.get_obs(obs);
        expect_sample(obs, seed);
        EXPECT_EQ(own(), before);
        for (const CameraInfo& camera : obs.cameras) {
            EXPECT_TRUE(camera.image.borrowed());
            EXPECT_EQ(camera.depth_data.borrowed(), camera.has_depth);
        }
        messages.insert(std::as_const(obs.cameras[0].image).data());
    }
    EXPECT_EQ(messages.size(), 2u);
    StepResult result;
    result.obs = std::move(obs);
    client.step(sample_action(), result);
    expect_sample(result.obs, 0);
}

TEST(ClientObservations, ThatAreKeptStayWhatTheyAreWhateverComesLaterAndOutliveTheClient) {
    std::vector<Observation> kept;
    CameraInfo camera;
    {
        RobotServer robot;
        PolicyClient client(robot.uri(), quiet_options());
        client.connect();
        for (int seed = 1; seed <= 20; ++seed) kept.push_back(client.get_obs());
        Observation obs;
        for (int seed = 21; seed <= 40; ++seed) client.get_obs(obs);
        camera = std::move(obs.cameras[0]);
    }
    for (int seed = 1; seed <= 20; ++seed) expect_sample(kept[static_cast<std::size_t>(seed - 1)], seed);
    EXPECT_TRUE(camera.image == sample_observation(40).cameras[0].image);
}

TEST(ClientObservations, OwnTheirPixelsWhenTheyAreCopiedOrChanged) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    Observation obs = client.get_obs();
    const Observation copy = obs;
    EXPECT_FALSE(copy.cameras[0].image.borrowed());
    obs.cameras[0].image[0] = 99;
    EXPECT_FALSE(obs.cameras[0].image.borrowed());
    EXPECT_TRUE(obs.cameras[1].image.borrowed());
    expect_sample(copy, 1);
    client.get_obs(obs);
    expect_sample(obs, 2);
    expect_sample(copy, 1);
}

// Where the payload begins depends on the header, whose length is anybody's guess.
TEST(ClientObservations, HaveTheirDepthWhereFloatsMayBeWhateverTheLengthOfTheHeader) {
    ScriptedServer server([](Peer& peer) {
        peer.accept();
        for (int seed = 1;; ++seed) {
            peer.expect_request(wire::RequestType::obs_request);
            Observation obs = sample_observation(seed);
            obs.extra["text"] = std::string(static_cast<std::size_t>(seed * 7 % 23), 'x');
            peer.send(obs_response(obs));
        }
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    Observation obs;
    for (int seed = 1; seed <= 60; ++seed) {
        client.get_obs(obs);
        expect_sample(obs, seed);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(std::as_const(obs.cameras[0].depth_data).data()) % alignof(float), 0u)
            << seed;
    }
}

TEST(ClientRequests, FromManyThreadsAreOutstandingOneAtATimeAndEachGetsAnAnswer) {
    constexpr int threads = 4, each = 25;
    std::atomic<int> overlapping{0};
    Robot robot;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        for (;;) {
            const wire::Request request = peer.receive_request();
            overlapping += peer.more_to_receive();
            robot.answer(peer, request);
        }
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    std::mutex mutex;
    std::set<double> seen;
    std::vector<std::thread> askers;
    for (int i = 0; i < threads; ++i)
        askers.emplace_back([&] {
            for (int j = 0; j < each; ++j) {
                const Observation obs = client.get_obs();
                std::lock_guard lock(mutex);
                seen.insert(obs.timestamp);
            }
        });
    for (std::thread& asker : askers) asker.join();
    EXPECT_EQ(seen.size(), std::size_t{threads * each}) << "an answer was lost or given twice";
    EXPECT_EQ(overlapping, 0);
}

// A thread that has just had its turn, as that of a fast stream, goes behind those who wait already.
TEST(ClientRequests, WaitForAResetAndAStepAsLongAsTheyTakeUnlessTold) {
    Happening set;
    ScriptedServer server([&](Peer& peer) {  // answers a reset and a step when it is told to
        peer.accept();
        while (const auto request = peer.receive_request_if_any()) {
            set.wait();
            peer.send(request->type == wire::RequestType::reset ? reset_response(0) : step_response(0));
        }
    });
    ClientOptions options = quiet_options();
    options.request_timeout = 200ms;
    {
        PolicyClient client(server.uri(), options);
        client.connect();
        auto calls = std::async(std::launch::async, [&] {
            client.reset();
            client.step(sample_action());
        });
        EXPECT_EQ(calls.wait_for(3 * options.request_timeout), std::future_status::timeout);
        set.happen();
        EXPECT_NO_THROW(calls.get());
    }

    ScriptedServer silent([](Peer& peer) {
        peer.accept();
        peer.expect_request(wire::RequestType::reset);
        peer.wait_for_close();
    });
    options = quiet_options();
    options.reset_timeout = 50ms;
    PolicyClient hasty(silent.uri(), options);
    hasty.connect();
    expect_throw<ConnectionError>([&] { hasty.reset(); }, {"has not answered reset for 0.05 s"});
}

TEST(ClientRequests, AreServedInTheOrderInWhichTheyCame) {
    constexpr int each = 300;
    std::vector<RequestType> order;
    Robot robot;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        for (;;) {
            const wire::Request request = peer.receive_request();
            order.push_back(request.type);
            robot.answer(peer, request);
        }
    });
    {
        PolicyClient client(server.uri(), quiet_options());
        client.connect();
        auto observing = std::async(std::launch::async, [&] {
            for (int i = 0; i < each; ++i) client.get_obs();
        });
        for (int i = 0; i < each; ++i) client.get_metadata();
        observing.get();
    }
    ASSERT_EQ(order.size(), std::size_t{2 * each});
    int changes = 0;
    for (std::size_t i = 1; i < order.size(); ++i) changes += order[i] != order[i - 1];
    // Without turns, whoever has just been served is first again: a handful of changes. With them, a busy machine may still let
    // one thread run alone for a while.
    EXPECT_GT(changes, each / 10) << "of " << 2 * each - 1 << " if the two threads alternate from the first to the last";
}

TEST(ClientRequests, SurviveFragmentsAndPings) {
    ScriptedServer server([](Peer& peer) {
        peer.accept();
        peer.ping();
        peer.expect_request(RequestType::obs_request);
        const ByteVector message = obs_response(7);
        const wire::Bytes bytes = message;
        peer.send_fragment(false, bytes.first(1));
        peer.send_fragment(false, bytes.subspan(1, 99));
        peer.ping();
        peer.send_fragment(false, {});
        peer.send_fragment(true, bytes.subspan(100));
        peer.expect_request(RequestType::metadata);
        EXPECT_EQ(peer.pongs(), 2);
        peer.send(metadata_response({}));
        peer.wait_for_close();
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    expect_sample(client.get_obs(), 7);
    EXPECT_TRUE(client.get_metadata().empty());
}

TEST(ClientRequests, CarryLargeObservationsUnchanged) {
    const Observation large = sample_observation(9, 1080, 1920);
    const ByteVector message = obs_response(large);
    ASSERT_GT(message.size(), 20'000'000u);
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        for (;;) {
            peer.expect_request(RequestType::obs_request);
            peer.send(message);
        }
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    Observation obs;
    for (int i = 0; i < 3; ++i) {
        client.get_obs(obs);
        for (std::size_t k = 0; k < 2; ++k) {
            EXPECT_TRUE(obs.cameras[k].image == large.cameras[k].image);
            EXPECT_TRUE(obs.cameras[k].depth_data == large.cameras[k].depth_data);
        }
    }
    EXPECT_EQ(client.stats().bytes_received, 3 * message.size());
}

TEST(ClientRequests, AreCounted) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    EXPECT_EQ(client.stats().observations, 0u);
    client.get_metadata();
    client.reset();
    client.get_obs();
    client.step(sample_action());
    client.apply_action(sample_action());
    EXPECT_TRUE(eventually([&] { return client.stats().actions_sent == 2; }));
    const ClientStats stats = client.stats();
    EXPECT_EQ(stats.observations, 3u);
    EXPECT_EQ(stats.bytes_received, metadata_response({{"robot", "arm"}}).size() + reset_response(0).size() +
                                        obs_response(1).size() + step_response(0).size());
    EXPECT_GT(stats.last_round_trip, 0.0);
    EXPECT_LT(stats.last_round_trip, 20.0);
}

TEST(ClientActions, ArriveInOrderAndAsTheyAre) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    constexpr int count = 500;
    for (int i = 0; i < count; ++i) client.apply_action(sample_action(static_cast<float>(i)));
    Action chunk;
    chunk.N = 2;
    chunk.D = 2;
    chunk.data = {1.f, 2.f, 3.f, 4.f};
    client.apply_action(chunk);
    ASSERT_TRUE(robot.action.wait(count + 1));
    const std::vector<Action> actions = robot.actions();
    for (int i = 0; i < count; ++i) {
        const Action& action = actions[static_cast<std::size_t>(i)];
        EXPECT_EQ(action.data, sample_action(static_cast<float>(i)).data);
        EXPECT_EQ(action.N, 1);
        EXPECT_EQ(action.D, 3);
    }
    EXPECT_EQ(actions.back().data, chunk.data);
    EXPECT_EQ(actions.back().N, 2);
}

TEST(ClientActions, OfOneStepAreSentAsPythonClientsDo) {
    ScriptedServer server([](Peer& peer) {
        peer.accept();
        const ByteVector message = peer.receive();
        const std::string header(message.begin(), message.end());
        EXPECT_NE(header.find(std::string("shape\x91\x03")), std::string::npos) << "expected shape [3]";
        peer.wait_for_close();
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    client.apply_action(sample_action());
}

TEST(ClientActions, CarryTheCaptureTimesOfWhatTheCallerSawLast) {
    using Times = std::map<std::string, double>;
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    const auto times_of = [&](const Action& action) {
        const int before = robot.action.times();
        client.apply_action(action);
        EXPECT_TRUE(robot.action.wait(before + 1));
        return robot.actions().back().obs_timestamps;
    };
    EXPECT_EQ(times_of(sample_action()), Times{}) << "nothing seen yet";
    client.reset();
    EXPECT_EQ(times_of(sample_action()), (Times{{"wrist", 100.25}, {"head", 100.5}}));
    client.get_obs();
    EXPECT_EQ(times_of(sample_action()), (Times{{"wrist", 101.25}, {"head", 101.5}}));
    client.step(sample_action());
    EXPECT_EQ(times_of(sample_action()), (Times{{"wrist", 100.25}, {"head", 100.5}}));
    EXPECT_EQ(robot.actions()[3].obs_timestamps, (Times{{"wrist", 101.25}, {"head", 101.5}})) << "of the step";
    Action own = sample_action();
    own.obs_timestamps = {{"wrist", 7.0}};
    EXPECT_EQ(times_of(own), (Times{{"wrist", 7.0}}));
}

TEST(ClientActions, LeaveOutCaptureTimesOfCamerasThatAreGoneOrHaveNone) {
    int answers = 0;
    Robot robot;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        for (;;) {
            const wire::Request request = peer.receive_request();
            if (request.type != RequestType::obs_request) {
                robot.answer(peer, request);
                continue;
            }
            Observation obs = sample_observation(1);
            obs.cameras[0].timestamp = std::numeric_limits<double>::quiet_NaN();
            if (++answers > 1) obs.cameras[1].name = "other";
            peer.send(obs_response(obs));
        }
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    client.get_obs();
    client.apply_action(sample_action());
    client.get_obs();
    client.apply_action(sample_action());
    ASSERT_TRUE(robot.action.wait(2));
    EXPECT_EQ(robot.actions()[0].obs_timestamps, (std::map<std::string, double>{{"head", 101.5}}));
    EXPECT_EQ(robot.actions()[1].obs_timestamps, (std::map<std::string, double>{{"other", 101.5}}));
}

TEST(ClientActions, AreSentWhileAnAnswerIsOutstanding) {
    Happening asked;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        peer.expect_request(RequestType::obs_request);
        asked.happen();
        peer.expect_request(RequestType::apply_action);  // before the answer
        peer.send(obs_response(5));
        peer.wait_for_close();
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    auto obs = std::async(std::launch::async, [&] { return client.get_obs(); });
    ASSERT_TRUE(asked.wait());
    client.apply_action(sample_action());
    expect_sample(obs.get(), 5);
}

TEST(ClientActions, ThatMakeNoSenseAreRefusedBeforeTheyAreSent) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    const auto refused = [&](Action action, std::initializer_list<const char*> parts) {
        expect_throw<std::invalid_argument>([&] { client.apply_action(action); }, parts);
        expect_throw<std::invalid_argument>([&] { client.put_action(action); }, parts);
        expect_throw<std::invalid_argument>([&] { client.step(action); }, parts);
    };
    Action action = sample_action();
    action.N = 2;
    refused(action, {"3 elements", "[2, 3] needs 6"});
    action = sample_action();
    action.D = 0;
    refused(action, {"[1, 0]", "expected positive"});
    action.N = -1;
    action.D = -3;
    refused(action, {"[-1, -3]", "expected positive"});
    action = sample_action(std::numeric_limits<float>::quiet_NaN());
    refused(action, {"element 0 is nan", "expected a finite number"});
    action = sample_action();
    action.data[2] = std::numeric_limits<float>::infinity();
    refused(action, {"element 2 is inf", "expected a finite number"});
    action = sample_action();
    action.obs_timestamps["wrist"] = std::numeric_limits<double>::quiet_NaN();
    refused(action, {"wrist", "nan", "expected a finite number"});

    client.get_obs();  // the connection is as it was
    EXPECT_TRUE(robot.actions().empty());
    EXPECT_EQ(client.queued_actions(), 0u);
    EXPECT_EQ(client.stats().actions_sent, 0u);
}

TEST(ClientActions, WaitWhileTheServerDoesNotReadAndFailAtTheDeadline) {
    Happening done;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        done.wait();
    });
    ClientOptions options = quiet_options();
    options.request_timeout = 100ms;
    PolicyClient client(server.uri(), options);
    client.connect();
    Action action;  // small, so that all of them are waiting before the kernel gives the connection up, after three seconds
    action.N = 1;
    action.D = 1 << 14;
    action.data.resize(1 << 14);
    expect_throw<ConnectionError>(
        [&] {
            for (int i = 0; i < 10'000; ++i) client.apply_action(action);
        },
        {"has not read for 0.1 s", "64 messages wait"});
    EXPECT_FALSE(client.connected());
    done.happen();
}

TEST(ClientActions, GoOnWhenTheServerReadsAgain) {
    Happening go_on;
    Robot robot;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        EXPECT_TRUE(go_on.wait());
        for (;;) robot.answer(peer, peer.receive_request());
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    constexpr int count = 160;  // more than the ring and the socket hold
    std::atomic<int> sent{0};
    auto sender = std::async(std::launch::async, [&] {
        Action action;
        action.N = 1;
        action.D = 1 << 16;
        action.data.resize(1 << 16);
        for (; sent < count; ++sent) {
            action.data[0] = static_cast<float>(sent);
            client.apply_action(action);
        }
    });
    ASSERT_TRUE(eventually([&] { return sent >= 64; }));
    go_on.happen();
    sender.get();
    ASSERT_TRUE(robot.action.wait(count));
    const std::vector<Action> actions = robot.actions();
    for (int i = 0; i < count; ++i) EXPECT_EQ(actions[static_cast<std::size_t>(i)].data[0], static_cast<float>(i));
}

}  // namespace
}  // namespace chiral::test
