// SPDX-License-Identifier: Apache-2.0
// The observation stream and the action dispatch: what they deliver, at which rate, and how they end.
#include "client/observation_pool.hpp"
#include "client/paced_thread.hpp"
#include "client/streams.hpp"
#include "client_scripted_server.hpp"

#include <cmath>
#include <future>
#include <limits>
#include <set>

namespace chiral::test {
namespace {

class LogBook {
public:
    std::function<void(const std::string&)> sink() {
        return [this](const std::string& line) {
            {
                std::lock_guard lock(mutex_);
                lines_.push_back(line);
            }
            written.happen();
        };
    }
    std::vector<std::string> lines() {
        std::lock_guard lock(mutex_);
        return lines_;
    }
    Happening written;

private:
    std::mutex mutex_;
    std::vector<std::string> lines_;
};

// ---- observations ----

TEST(ObservationStream, KeepsTheLatestObservationFresh) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    EXPECT_EQ(client.latest_obs(), nullptr);
    client.start_obs_stream(1000);
    std::shared_ptr<const Observation> obs;
    double last = 0.0;
    for (int i = 0; i < 20; ++i) {
        const std::shared_ptr<const Observation> next = client.wait_obs(obs, patience);
        ASSERT_NE(next, nullptr);
        EXPECT_NE(next, obs);
        EXPECT_GT(next->timestamp, last);
        last = next->timestamp;
        expect_sample(*next, static_cast<int>(std::lround(next->timestamp / 0.05)));
        obs = next;
    }
    const std::shared_ptr<const Observation> latest = client.latest_obs();
    ASSERT_NE(latest, nullptr);
    EXPECT_GE(latest->timestamp, last);
    client.stop_obs_stream();
    const std::uint64_t count = client.stats().observations;
    EXPECT_GE(count, 20u);
    client.get_obs();
    EXPECT_EQ(client.stats().observations, count + 1) << "it has not stopped";
}

TEST(ObservationStream, WaitingEndsAtTheTimeoutAndWhenItIsStopped) {
    Happening asked;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        peer.expect_request(wire::RequestType::obs_request);
        asked.happen();
        peer.wait_for_close();
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    EXPECT_EQ(client.wait_obs(nullptr, Duration::max()), nullptr) << "no stream runs";
    client.start_obs_stream(100);
    ASSERT_TRUE(asked.wait());
    EXPECT_EQ(client.wait_obs(nullptr, 1ms), nullptr);
    auto waiting = std::async(std::launch::async, [&] { return client.wait_obs(nullptr, Duration::max()); });
    client.close();
    EXPECT_EQ(waiting.get(), nullptr);
}

TEST(ObservationStream, StartsOnlyOnceAndOnlyAtRatesThatMakeSense) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    for (const double hz :
         {0.0, -1.0, 10000.1, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
        expect_throw<std::invalid_argument>([&] { client.start_obs_stream(hz); }, {"Hz", "expected more than 0"});
        expect_throw<std::invalid_argument>([&] { client.start_action_dispatch(hz); }, {"Hz", "expected more than 0"});
    }
    client.start_obs_stream(1e-300);  // practically once
    client.start_action_dispatch(10000);
    ASSERT_NE(client.wait_obs(nullptr, patience), nullptr);
    expect_throw<std::logic_error>([&] { client.start_obs_stream(10); }, {"observation stream runs already"});
    expect_throw<std::logic_error>([&] { client.start_action_dispatch(10); }, {"action dispatch runs already"});
    EXPECT_NE(client.latest_obs(), nullptr) << "what the refused start must not have touched";
    for (int i = 0; i < 3; ++i) {
        client.stop_obs_stream();
        client.stop_action_dispatch();
    }
    client.start_obs_stream(10);
    client.start_action_dispatch(10);
}

TEST(ObservationStream, StartsWithoutTheObservationsOfTheOneBefore) {
    Happening answer_on;
    int answers = 0;
    Robot robot;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        for (;;) {
            const wire::Request request = peer.receive_request();
            if (++answers == 2) answer_on.wait();
            robot.answer(peer, request);
        }
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    client.start_obs_stream(1e-3);
    const auto first = client.wait_obs(nullptr, patience);
    ASSERT_NE(first, nullptr);
    client.stop_obs_stream();
    EXPECT_EQ(client.latest_obs(), first) << "stays until the next stream";
    client.start_obs_stream(1e-3);
    EXPECT_EQ(client.latest_obs(), nullptr);
    answer_on.happen();
    EXPECT_NE(client.wait_obs(nullptr, patience), first);
}

TEST(ObservationStream, RemembersTheErrorThatEndedItUntilItIsStartedAgain) {
    int connections = 0;
    Robot robot;
    ScriptedServer server([&](Peer& peer) {
        if (++connections > 1) return robot.serve(peer);
        peer.accept();
        for (int i = 0; i < 3; ++i) robot.answer(peer, peer.receive_request());
        peer.close(1011, "get_obs: camera wrist is gone");
    });
    LogBook log;
    ClientOptions options = quiet_options();
    options.log = log.sink();
    PolicyClient client(server.uri(), options);
    client.connect();
    client.start_obs_stream(1000);
    const auto fails = [&](auto call) {
        expect_throw<ConnectionError>(call, {"the observation stream ended", "1011", "camera wrist is gone"});
    };
    fails([&] {
        for (std::shared_ptr<const Observation> obs;;) obs = client.wait_obs(obs, patience);
    });
    fails([&] { client.latest_obs(); });
    fails([&] { client.latest_obs(); });
    ASSERT_TRUE(log.written.wait());
    ASSERT_EQ(log.lines().size(), 1u);
    EXPECT_NE(log.lines()[0].find("the observation stream ended"), std::string::npos) << log.lines()[0];
    EXPECT_NE(log.lines()[0].find("camera wrist is gone"), std::string::npos) << log.lines()[0];

    client.connect();
    client.start_obs_stream(1000);
    EXPECT_NE(client.wait_obs(nullptr, patience), nullptr);
}

TEST(ObservationStream, EndsQuietlyWhenTheClientIsClosed) {
    RobotServer robot;
    LogBook log;
    ClientOptions options = quiet_options();
    options.log = log.sink();
    PolicyClient client(robot.uri(), options);
    for (int round = 0; round < 10; ++round) {
        client.connect();
        client.start_obs_stream(10000);
        client.start_action_dispatch(10000);
        ASSERT_NE(client.wait_obs(nullptr, patience), nullptr);
        client.put_action(sample_action());
        client.close();
        EXPECT_NO_THROW(client.latest_obs());
    }
    EXPECT_TRUE(log.lines().empty()) << log.lines().front();
}

TEST(ObservationStream, ALogThatThrowsIsSurvived) {
    ScriptedServer server([](Peer& peer) { peer.accept(); });
    ClientOptions options = quiet_options();
    options.log = [](const std::string&) { throw std::runtime_error("disk full"); };
    PolicyClient client(server.uri(), options);
    client.connect();
    client.start_obs_stream(1000);
    expect_throw<ConnectionError>([&] { client.wait_obs(nullptr, patience); }, {"the observation stream ended"});
    client.stop_obs_stream();
}

TEST(ObservationStream, ReusesObservationsThatNobodyHolds) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    client.start_obs_stream(10000);
    std::set<const void*> pixels;
    std::shared_ptr<const Observation> obs;
    for (int i = 0; i < 200; ++i) {
        obs = client.wait_obs(obs, patience);
        ASSERT_NE(obs, nullptr);
        pixels.insert(obs->cameras[0].image.data());
    }
    EXPECT_LE(pixels.size(), 4u) << "one held here, one latest, one being filled, one in passing";
}

TEST(ObservationStream, DoesNotChangeObservationsThatSomebodyHolds) {
    RobotServer robot;
    std::vector<std::shared_ptr<const Observation>> held;
    {
        PolicyClient client(robot.uri(), quiet_options());
        client.connect();
        client.start_obs_stream(10000);
        while (held.size() < 3 * client::ObservationPool::kept) {
            held.push_back(client.wait_obs(held.empty() ? nullptr : held.back(), patience));
            ASSERT_NE(held.back(), nullptr);
        }
    }
    for (const auto& obs : held) expect_sample(*obs, static_cast<int>(std::lround(obs->timestamp / 0.05)));
}

// Readers come and go on other threads while the stream refills: ThreadSanitizer sees it if the two ever meet.
TEST(ObservationStream, StreamedObservationsAreReused) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    client.start_obs_stream(10000);
    std::vector<std::thread> readers;
    for (int i = 0; i < 2; ++i)
        readers.emplace_back([&] {
            std::shared_ptr<const Observation> obs;
            for (int reads = 0; reads < 200; ++reads) {
                obs = client.wait_obs(obs, patience);
                ASSERT_NE(obs, nullptr);
                const ByteBuffer& image = obs->cameras[0].image;
                for (const std::uint8_t pixel : image) ASSERT_EQ(pixel, image[0]);
            }
        });
    for (std::thread& reader : readers) reader.join();
}

TEST(ObservationPool, LendsASlotAgainOnlyWhenItsLastUserHasGone) {
    client::ObservationPool pool;
    std::shared_ptr<Observation> first = pool.take();
    const Observation* address = first.get();
    first->timestamp = 7.0;
    std::shared_ptr<const Observation> copy = first;
    first.reset();
    EXPECT_NE(pool.take().get(), address);
    std::weak_ptr<const Observation> weak = copy;
    copy.reset();
    EXPECT_TRUE(weak.expired());
    EXPECT_NE(pool.take().get(), address) << "a weak pointer still uses the memory of the control block";
    weak.reset();
    first = pool.take();
    EXPECT_EQ(first.get(), address);
    EXPECT_EQ(first->timestamp, 7.0) << "with its memory";
}

TEST(ObservationPool, KeepsOnlySoManyAndMayGoBeforeThem) {
    std::vector<std::shared_ptr<Observation>> taken;
    {
        client::ObservationPool pool;
        std::set<const Observation*> addresses;
        for (std::size_t i = 0; i < 3 * client::ObservationPool::kept; ++i) {
            taken.push_back(pool.take());
            addresses.insert(taken.back().get());
        }
        EXPECT_EQ(addresses.size(), taken.size());
        taken.resize(2);
        EXPECT_EQ(pool.take().use_count(), 1);
    }
    taken[0]->timestamp = 1.0;
    taken[1]->cameras.resize(1);
}

// ---- actions ----

TEST(ActionDispatch, SendsQueuedActionsInOrder) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    constexpr int count = 50;
    for (int i = 0; i < count / 2; ++i) EXPECT_TRUE(client.put_action(sample_action(static_cast<float>(i))));
    EXPECT_EQ(client.queued_actions(), std::size_t{count / 2});
    client.start_action_dispatch(5000);
    for (int i = count / 2; i < count; ++i) EXPECT_TRUE(client.put_action(sample_action(static_cast<float>(i))));
    ASSERT_TRUE(robot.action.wait(count));
    EXPECT_TRUE(eventually([&] { return client.queued_actions() == 0; }));
    const std::vector<Action> actions = robot.actions();
    for (int i = 0; i < count; ++i) EXPECT_EQ(actions[static_cast<std::size_t>(i)].data[0], static_cast<float>(i));
}

// Who waits until all is sent, and then closes the client, would otherwise cut off the last one.
TEST(ActionDispatch, CountsTheOneThatIsBeingSent) {
    client::ActionDispatch dispatch(2, {});
    Happening sending, on;
    dispatch.start(1000, [&](client::ActionDispatch::Message&) {
        sending.happen();
        on.wait();
    });
    dispatch.put({1});
    ASSERT_TRUE(sending.wait());
    EXPECT_EQ(dispatch.size(), 1u);
    EXPECT_TRUE(dispatch.put({2}) && dispatch.put({3})) << "its place in the queue is free";
    EXPECT_EQ(dispatch.size(), 3u);
    dispatch.clear();
    EXPECT_EQ(dispatch.size(), 1u) << "is sent, whatever becomes of the queue";
    on.happen();
    EXPECT_TRUE(eventually([&] { return dispatch.size() == 0; }));
    dispatch.stop();
}

TEST(ActionDispatch, CountsNoMoreWhatCouldNotBeSent) {
    client::ActionDispatch dispatch(2, [](const std::string&) {});
    dispatch.start(1000, [](client::ActionDispatch::Message&) { throw ConnectionError("gone"); });
    dispatch.put({1});
    EXPECT_TRUE(eventually([&] { return dispatch.size() == 0; }));
    dispatch.stop();
}

TEST(ActionDispatch, RefusesMoreThanItsLimitAndKeepsWhatItHas) {
    RobotServer robot;
    ClientOptions options = quiet_options();
    options.max_queued_actions = 3;
    PolicyClient client(robot.uri(), options);
    client.connect();
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(client.put_action(sample_action(static_cast<float>(i))));
    EXPECT_FALSE(client.put_action(sample_action(3.f)));
    EXPECT_EQ(client.queued_actions(), 3u);
    client.start_action_dispatch(1000);
    ASSERT_TRUE(robot.action.wait(3));
    EXPECT_TRUE(client.put_action(sample_action(4.f)));
    ASSERT_TRUE(robot.action.wait(4));
    EXPECT_EQ(robot.actions()[3].data[0], 4.f);
}

TEST(ActionDispatch, KeepsWhatIsQueuedWhenItStopsAndDropsItWhenTheClientCloses) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    client.start_action_dispatch(1000);
    client.stop_action_dispatch();
    client.put_action(sample_action(1.f));
    EXPECT_EQ(client.queued_actions(), 1u);
    client.start_action_dispatch(1000);
    ASSERT_TRUE(robot.action.wait(1));
    client.stop_action_dispatch();

    client.put_action(sample_action(2.f));
    client.close();
    EXPECT_EQ(client.queued_actions(), 0u);
    client.connect();
    client.start_action_dispatch(1000);
    client.put_action(sample_action(3.f));
    ASSERT_TRUE(robot.action.wait(2));
    EXPECT_EQ(robot.actions()[1].data[0], 3.f);
}

TEST(ActionDispatch, MayBeFilledBeforeConnecting) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    EXPECT_TRUE(client.put_action(sample_action(5.f)));
    client.connect();
    client.start_action_dispatch(1000);
    ASSERT_TRUE(robot.action.wait());
    EXPECT_EQ(robot.actions()[0].data[0], 5.f);
}

TEST(ActionDispatch, SendsTheCaptureTimesOfWhatWasSeenWhenTheActionWasPut) {
    using Times = std::map<std::string, double>;
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    client.start_obs_stream(1e-3);
    ASSERT_NE(client.wait_obs(nullptr, patience), nullptr);  // sample 1
    client.put_action(sample_action());
    client.get_obs();  // sample 2
    client.put_action(sample_action());
    Action own = sample_action();
    own.obs_timestamps = {{"wrist", 7.0}};
    client.put_action(own);
    client.start_action_dispatch(1000);
    ASSERT_TRUE(robot.action.wait(3));
    EXPECT_EQ(robot.actions()[0].obs_timestamps, (Times{{"wrist", 101.25}, {"head", 101.5}}));
    EXPECT_EQ(robot.actions()[1].obs_timestamps, (Times{{"wrist", 102.25}, {"head", 102.5}}));
    EXPECT_EQ(robot.actions()[2].obs_timestamps, (Times{{"wrist", 7.0}}));
}

TEST(ActionDispatch, RemembersTheErrorThatEndedIt) {
    ScriptedServer server([](Peer& peer) {
        peer.accept();
        peer.expect_request(wire::RequestType::apply_action);
        peer.close(1007, "apply_action: no such joint");
    });
    LogBook log;
    ClientOptions options = quiet_options();
    options.log = log.sink();
    PolicyClient client(server.uri(), options);
    client.connect();
    client.start_action_dispatch(1000);
    expect_throw<ConnectionError>(
        [&] {
            while (true) client.put_action(sample_action());
        },
        {"the action dispatch ended", "1007", "apply_action: no such joint"});
    ASSERT_TRUE(log.written.wait());
    EXPECT_NE(log.lines()[0].find("the action dispatch ended"), std::string::npos) << log.lines()[0];
}

// A robot whose reset lasts until it is told to end.
class SlowReset : public Robot, public ScriptedServer {
public:
    SlowReset()
        : ScriptedServer([this](Peer& peer) {
              peer.accept();
              for (;;) {
                  const wire::Request request = peer.receive_request();
                  if (request.type == wire::RequestType::reset) {
                      asked.happen();
                      set.wait();
                  }
                  answer(peer, request);
              }
          }) {}

    Happening asked, set;
};

TEST(ActionDispatch, SendsNothingOfTheEpisodeBeforeAReset) {
    SlowReset robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    for (int i = 0; i < 30; ++i) client.put_action(sample_action(1.f));
    auto reset = std::async(std::launch::async, [&] { client.reset(); });
    ASSERT_TRUE(robot.asked.wait());
    client.start_action_dispatch(10000);
    for (int i = 0; i < 30; ++i) client.put_action(sample_action(2.f));
    robot.set.happen();
    reset.get();
    EXPECT_EQ(client.queued_actions(), 0u);
    client.put_action(sample_action(3.f));
    ASSERT_TRUE(robot.action.wait());
    EXPECT_EQ(robot.actions()[0].data[0], 3.f);
}

TEST(ActionDispatch, MayBeCleared) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.clear_actions();
    client.put_action(sample_action(1.f));
    client.connect();
    client.clear_actions();
    EXPECT_EQ(client.queued_actions(), 0u);
    client.start_action_dispatch(1000);
    client.put_action(sample_action(2.f));
    ASSERT_TRUE(robot.action.wait());
    EXPECT_EQ(robot.actions()[0].data[0], 2.f);
}

Action chunk_of(int rows, float first) {
    Action chunk;
    chunk.N = rows;
    chunk.D = 2;
    for (int row = 0; row < rows; ++row) chunk.data.insert(chunk.data.end(), {first, static_cast<float>(row)});
    return chunk;
}

TEST(ActionDispatch, SendsTheRowsOfTheNewestChunkInPlaceOfWhatIsQueued) {
    RobotServer robot;
    ClientOptions options = quiet_options();
    options.max_queued_actions = 4;
    PolicyClient client(robot.uri(), options);
    client.connect();
    client.put_action(sample_action(1.f));
    Action chunk = chunk_of(4, 7.f);
    chunk.obs_timestamps = {{"wrist", 3.0}};
    EXPECT_TRUE(client.replace_actions(chunk));
    EXPECT_FALSE(client.replace_actions(chunk_of(5, 9.f))) << "more than fit, so nothing has changed";
    Action wrong = chunk_of(2, 9.f);
    wrong.data.pop_back();
    expect_throw<std::invalid_argument>([&] { client.replace_actions(wrong); }, {"3 elements, shape [2, 2] needs 4"});
    EXPECT_EQ(client.queued_actions(), 4u);
    client.start_action_dispatch(1000);
    ASSERT_TRUE(robot.action.wait(4));
    for (int row = 0; row < 4; ++row) {
        const Action action = robot.actions()[static_cast<std::size_t>(row)];
        EXPECT_EQ(action.data, (std::vector<float>{7.f, static_cast<float>(row)}));
        EXPECT_EQ(action.obs_timestamps, chunk.obs_timestamps);
    }
}

TEST(ActionDispatch, ReplacedWhileItRunsNeverGoesBackToAnEarlierChunk) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    client.start_action_dispatch(10000);
    constexpr int chunks = 200;
    for (int i = 0; i < chunks; ++i) ASSERT_TRUE(client.replace_actions(chunk_of(8, static_cast<float>(i))));
    ASSERT_TRUE(eventually([&] {
        const std::vector<Action> actions = robot.actions();
        return !actions.empty() && actions.back().data == std::vector<float>{chunks - 1, 7};
    }));
    const std::vector<Action> actions = robot.actions();
    for (std::size_t i = 1; i < actions.size(); ++i) {
        ASSERT_GE(actions[i].data[0], actions[i - 1].data[0]);
        if (actions[i].data[0] == actions[i - 1].data[0]) ASSERT_EQ(actions[i].data[1], actions[i - 1].data[1] + 1);
        else ASSERT_EQ(actions[i].data[1], 0.f);
    }
}

// ---- rates ----

TEST(PacedThread, KeepsTheRatioOfTwoRates) {
    client::PacedThread fast("fast"), slow("slow");
    std::atomic<int> fast_turns{0};
    std::atomic<int> fast_turns_at_end{0};
    Happening slow_turns;
    fast.start(
        1000, [&] { ++fast_turns; }, [] {});
    slow.start(
        50,
        [&] {
            slow_turns.happen();
            if (slow_turns.times() == 21) fast_turns_at_end = fast_turns.load();
        },
        [] {});
    ASSERT_TRUE(slow_turns.wait(21));
    slow.stop();
    fast.stop();
    const int ratio = fast_turns_at_end / 20;  // 20 where nothing is late; either may be on a busy machine
    EXPECT_GE(ratio, 5);
    EXPECT_LE(ratio, 80);
}

TEST(PacedThread, SkipsThePeriodsThatATurnMissedInsteadOfMakingUpForThem) {
    using namespace std::chrono;
    constexpr auto period = 5ms;
    std::vector<TimePoint> turns;
    Happening done;
    client::PacedThread thread("late");
    thread.start(
        200,
        [&] {
            turns.push_back(Clock::now());
            if (turns.size() == 1) std::this_thread::sleep_until(turns[0] + 20 * period + period / 2);  // a slow turn
            if (turns.size() == 6) done.happen();
        },
        [] {});
    ASSERT_TRUE(done.wait());
    thread.stop();
    // The turns after it are in different periods, so the last of them begins four periods after the first, or later. In a
    // burst they would all begin at once.
    for (std::size_t i = 1; i < 6; ++i)
        EXPECT_GE(turns[i] - turns[0], 20 * period + period / 2 + (i - 1) * period) << "turn " << i << " came too early";
}

TEST(PacedThread, StopsWhileItWaitsForItsPeriod) {
    client::PacedThread thread("slow");
    Happening turn, ended;
    thread.start(
        1e-3, [&] { turn.happen(); }, [&] { ended.happen(); });
    ASSERT_TRUE(turn.wait());
    EXPECT_TRUE(thread.running());
    const auto begin = Clock::now();
    thread.stop();
    EXPECT_LT(Clock::now() - begin, patience);
    EXPECT_FALSE(thread.running());
    EXPECT_EQ(turn.times(), 1);
    EXPECT_EQ(ended.times(), 1);
    EXPECT_EQ(thread.error(), std::nullopt);
}

TEST(PacedThread, EndsWithTheErrorOfATurnUnlessItWasStoppedBefore) {
    client::PacedThread thread("failing");
    Happening ended, in_turn, go_on;
    thread.start(
        1000, [] { throw std::runtime_error("broken"); }, [&] { ended.happen(); });
    ASSERT_TRUE(ended.wait());
    EXPECT_EQ(thread.error(), "broken");
    EXPECT_FALSE(thread.running());
    thread.start(
        1000,
        [&] {
            in_turn.happen();
            go_on.wait();
            throw 1;
        },
        [&] { ended.happen(); });
    EXPECT_EQ(thread.error(), std::nullopt);
    ASSERT_TRUE(in_turn.wait());
    thread.request_stop();
    go_on.happen();
    ASSERT_TRUE(ended.wait(2));
    EXPECT_EQ(thread.error(), std::nullopt);
}

}  // namespace
}  // namespace chiral::test
