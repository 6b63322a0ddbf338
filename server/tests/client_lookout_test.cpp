// SPDX-License-Identifier: Apache-2.0
// Threads that have a lookout look up while they wait for a server, and may leave.
#include "client_scripted_server.hpp"

#include <chiral/lookout.hpp>

#include <atomic>
#include <future>
#include <stdexcept>
#include <utility>

namespace chiral::test {
namespace {

using wire::RequestType;

struct Enough {};

TEST(ClientLookout, LooksWhileAnAnswerIsOutstandingForAsLongAsItLives) {
    std::atomic<int> looks{0};
    Happening looked_twice;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        peer.expect_request(RequestType::obs_request);
        looked_twice.wait();
        peer.send(obs_response(1));
        peer.expect_request(RequestType::obs_request);
        std::this_thread::sleep_for(2 * Lookout::period);  // in which a lookout that is gone could look
        peer.send(obs_response(2));
        peer.wait_for_close();
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    {
        const Lookout outer([&] { ADD_FAILURE() << "the youngest looks"; });
        const Lookout lookout([&] {
            if (++looks == 2) looked_twice.happen();
        });
        expect_sample(client.get_obs(), 1);
    }
    const int before = looks;
    EXPECT_GE(before, 2);
    expect_sample(client.get_obs(), 2);
    EXPECT_EQ(looks, before);
}

TEST(ClientLookout, OfOneThreadIsNotThatOfAnother) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    const Lookout mine([] {});
    EXPECT_EQ(Lookout::of_this_thread(), &mine);
    std::async(std::launch::async, [] { EXPECT_EQ(Lookout::of_this_thread(), nullptr); }).get();
}

// Whatever `wait` waits for: its exception comes out, the connection is over and says why, and the next one works.
void expect_left(PolicyClient& client, const std::function<void()>& wait) {
    {
        const Lookout lookout([] { throw Enough{}; });
        EXPECT_THROW(wait(), Enough);
    }
    EXPECT_FALSE(client.connected());
    expect_throw<ConnectionError>([&] { client.get_obs(); }, {"a call that waited was interrupted"});
}

struct ServerThatDoesNotRead {
    Happening done;
    ScriptedServer server{[this](Peer& peer) {
        peer.accept();
        done.wait();
    }};
    ~ServerThatDoesNotRead() { done.happen(); }
    std::string uri() { return server.uri(); }
};

Action large_action() {
    Action action;
    action.N = 1;
    action.D = 1 << 18;
    action.data.resize(1 << 18);
    return action;
}

// More than queue and socket hold.
void fill(PolicyClient& client) {
    const Action action = large_action();
    for (int i = 0; i < 1000; ++i) client.apply_action(action);
}

TEST(ClientLookout, ThatThrowsEndsTheConnectionAndTheNextOneWorks) {
    Robot robot;
    int connections = 0;
    ScriptedServer server([&](Peer& peer) {
        if (++connections > 1) return robot.serve(peer);
        peer.accept();
        peer.expect_request(RequestType::reset);
        peer.wait_for_close();
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    expect_left(client, [&] { client.reset(); });
    client.connect();
    expect_sample(client.get_obs(), 1);  // and not what the first connection may still have sent
}

TEST(ClientLookout, MayLeaveWhileAnotherThreadHasItsTurn) {
    Happening asked;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        peer.expect_request(RequestType::obs_request);
        asked.happen();
        peer.wait_for_close();
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    auto other = std::async(std::launch::async,
                            [&] { expect_throw<ConnectionError>([&] { client.get_obs(); }, {"was interrupted"}); });
    ASSERT_TRUE(asked.wait());
    expect_left(client, [&] { client.get_metadata(); });
    other.get();
}

TEST(ClientLookout, MayLeaveWhileTheServerDoesNotRead) {
    ServerThatDoesNotRead server;
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    expect_left(client, [&] { fill(client); });
}

TEST(ClientLookout, MaySendActionsButNotAskWhatItsThreadWaitsFor) {
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        peer.expect_request(RequestType::obs_request);
        peer.expect_request(RequestType::apply_action);
        peer.send(obs_response(1));
        peer.wait_for_close();
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    bool looked = false;
    const Lookout lookout([&] {
        if (std::exchange(looked, true)) return;
        EXPECT_THROW(client.get_obs(), std::logic_error);
        EXPECT_THROW(client.get_obs(Want{}), std::logic_error);
        Action action;
        action.N = action.D = 1;
        action.data = {1.0f};
        client.put_action(action);
        EXPECT_THROW(client.reset(), std::logic_error);
        EXPECT_EQ(client.queued_actions(), 1u) << "what was refused has dropped nothing";
        EXPECT_THROW(client.step(action), std::logic_error);
        client.apply_action(action);
    });
    expect_sample(client.get_obs(), 1);
    EXPECT_TRUE(looked);
}

TEST(ClientLookout, MaySendAnActionWhileOneWaitsForRoom) {
    ServerThatDoesNotRead server;
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    int looks = 0;
    {
        const Lookout lookout([&] {
            if (++looks == 2) throw Enough{};  // in the one below, which waits for room like the one that it interrupts
            client.apply_action(large_action());
        });
        EXPECT_THROW(fill(client), Enough);
    }
    EXPECT_EQ(looks, 2);
}

}  // namespace
}  // namespace chiral::test
