// SPDX-License-Identifier: Apache-2.0
// Clients that go, or ought to: the server knows at once, however they go and whatever it is doing, and nothing of theirs moves
// the robot afterwards.
#include "support.hpp"

#include <future>

namespace chiral::test {
namespace {

using wire::RequestType;
using Events = std::vector<std::string>;

constexpr auto no_timeout = [](ServerOptions& options) { options.action_timeout = Duration::zero(); };
bool ends(const Events& events) { return !events.empty() && events.back().starts_with("disconnect"); }

TEST(ADeadClient, IsFoundAlthoughTheActionQueueIsFullAndNothingIsRead) {
    Gate gate;
    Served<HookedServer> served(
        one_small_camera(), {},
        [](ServerOptions& options) {
            no_timeout(options);
            options.max_queued_actions = 4;
        },
        [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
    const OpensAtEnd opener(gate);
    RawClient client = served.connect();
    for (int i = 1; i <= 10; ++i) client.send(numbered_action(static_cast<float>(i)));
    ASSERT_TRUE(gate.reached());
    ASSERT_TRUE(eventually([&] { return served->stats().actions_received >= 3; }));
    client.reset();
    EXPECT_TRUE(served.log.wait_for("gone"));
    gate.open();
    ASSERT_TRUE(served->control.wait(ends));
    EXPECT_EQ(served->stats().actions_applied, 1u) << "only what was being executed";
    expect_serves_the_next_client(served);
}

TEST(ADeadClient, IsFoundAlthoughAHookKeepsAllItsRequestsWaiting) {
    Gate gate;
    Served<HookedServer> served(one_small_camera(), {}, no_timeout, [&](HookedServer& server) {
        server.on_get_obs = [&] {
            gate.pass();
            return server.make_obs();
        };
    });
    const OpensAtEnd opener(gate);
    RawClient client = served.connect();
    for (int i = 0; i < 10; ++i) client.send(RequestType::obs_request);
    ASSERT_TRUE(gate.reached());
    client.reset();
    RawClient next = served.connect_next();  // while the hook still waits
    EXPECT_TRUE(eventually([&] { return served.log.count("gone") == 1; }));
    gate.open();
    EXPECT_EQ(next.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    EXPECT_EQ(served->calls.get(), (Events{"get_obs", "get_obs"})) << "the dead client's other requests reach no hook";
}

// Their memory would grow with every one of them.
TEST(DeadClients, WhoseRequestsWaitForAHookAreBoundedInNumber) {
    Gate gate;
    Served<HookedServer> served(one_small_camera(), {}, no_timeout, [&](HookedServer& server) {
        server.on_get_obs = [&] {
            gate.pass();
            return server.make_obs();
        };
    });
    const OpensAtEnd opener(gate);
    {
        RawClient first = served.connect();
        first.send(RequestType::obs_request);
        ASSERT_TRUE(gate.reached());
    }
    RawClient::HttpAnswer answer;
    int let_in = 0;
    ASSERT_TRUE(eventually([&] {
        RawClient client(served->port());
        answer = client.handshake();
        if (answer.status != 101) return answer.body.find("still busy with what former clients") != std::string::npos;
        ++let_in;
        client.send(RequestType::obs_request);
        client.disconnect();
        return false;
    }));
    EXPECT_EQ(answer.status, 503);
    EXPECT_GE(let_in, 10);
    EXPECT_LE(let_in, 30);
    ASSERT_TRUE(eventually([&] { return served.log.count("gone") == static_cast<std::size_t>(let_in) + 1; }));
    gate.open();
    expect_serves_the_next_client(served);
    EXPECT_EQ(served->calls.get(), (Events{"get_obs", "get_obs"})) << "what the dead asked for reaches no hook";
}

TEST(AClosedClient, IsNotInControlAnyMoreThoughItKeepsItsConnectionOpen) {
    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) {
        options.handshake_timeout = options.deaf_timeout = std::chrono::hours(1);  // no clock helps
    });
    struct Way {
        ByteVector last_words;
        std::string told;
        std::uint64_t protocol_errors;
    };
    const ByteVector close_frame = websocket_frame(RawClient::kClose, ByteVector{1001 >> 8, 1001 & 255});
    ByteVector reserved_bit = websocket_frame(RawClient::kBinary, ByteVector{1});
    reserved_bit[0] |= 0x40;
    std::vector<RawClient> stay;
    for (const Way& way : {Way{close_frame, "closed by the client (1001)", 0}, Way{reserved_bit, "reserved bits", 1},
                           Way{websocket_frame(RawClient::kBinary, ByteVector{1}, true, false), "unmasked", 2}}) {
        SCOPED_TRACE(way.told);
        served->control.set({});
        stay.push_back(served.connect_next());
        ASSERT_TRUE(served->control.wait([](const Events& events) { return !events.empty(); }));
        stay.back().send_bytes(way.last_words);
        ASSERT_TRUE(served->control.wait(ends));
        EXPECT_NE(served->control.get().back().find(way.told), std::string::npos) << served->control.get().back();
        EXPECT_EQ(stay.back().receive().opcode, RawClient::kClose);
        EXPECT_EQ(served->stats().protocol_errors, way.protocol_errors);
    }
    RawClient observer(served->port());
    EXPECT_EQ(observer.handshake("/observe").status, 101);
    expect_serves_the_next_client(served);
}

TEST(AClosedObserver, GivesItsSeatBackThoughItKeepsItsConnectionOpen) {
    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) {
        options.handshake_timeout = options.deaf_timeout = std::chrono::hours(1);
        options.max_observers = 1;
    });
    std::vector<RawClient> stay;
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(eventually([&] {
            RawClient observer(served->port());
            if (observer.handshake("/observe").status != 101) return false;
            stay.push_back(std::move(observer));
            return true;
        }));
        EXPECT_EQ(stay.back().ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
        stay.back().send_frame(RawClient::kClose, ByteVector{1000 >> 8, 1000 & 255});
    }
}

TEST(AClientThatLeftInOrder, MovesTheRobotNoMoreOnceTheServerIsStopped) {
    Gate gate;
    Served<HookedServer> served(one_small_camera(), {}, no_timeout,
                                [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
    {
        const OpensAtEnd opener(gate);
        for (std::size_t clients = 1; clients <= 2; ++clients) {
            RawClient client = served.connect_next();
            for (int i = 1; i <= 5; ++i) client.send(numbered_action(static_cast<float>(i)));
            ASSERT_TRUE(gate.reached());
            client.close();
            ASSERT_TRUE(eventually([&] { return served.log.count("gone") == clients; }));
        }
        served->stop();
        ASSERT_TRUE(eventually([&] { return !RawClient::listens(served->port()); }));
    }
    served->wait();
    EXPECT_EQ(served->stats().actions_applied, 1u) << "only what was being executed";
    EXPECT_EQ(served->stats().actions_dropped, 9u);
}

TEST(AClientThatLeftInOrder, MovesTheRobotNoMoreOnceAnotherTakesOver) {
    Gate gate;
    Served<HookedServer> served(
        one_small_camera(), {},
        [](ServerOptions& options) {
            no_timeout(options);
            options.allow_takeover = true;
        },
        [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
    const OpensAtEnd opener(gate);
    RawClient client = served.connect();
    for (int i = 1; i <= 10; ++i) client.send(numbered_action(static_cast<float>(i)));
    ASSERT_TRUE(gate.reached());
    client.close();
    RawClient next(served->port());
    ASSERT_EQ(next.handshake("/?takeover=1").status, 101);
    next.send(numbered_action(11));
    ASSERT_TRUE(eventually([&] { return served->stats().actions_received == 11; }));
    gate.open();
    ASSERT_TRUE(eventually([&] { return served->stats().actions_applied == 2; }));
    EXPECT_EQ(served->stats().actions_dropped, 9u);
    const Events events = served->control.get();
    EXPECT_EQ(events.front(), "connect");
    EXPECT_EQ(events[1], "action 1");
    EXPECT_TRUE(events[2].starts_with("disconnect")) << events[2];
    EXPECT_EQ(events[3], "connect");
    EXPECT_EQ(events[4], "action 11");
}

// A client that answers no ping is dropped three times meanwhile.
TEST(ASlowClient, ThatTakesItsAnswerSteadilyIsAliveHoweverLongItTakes) {
    const auto short_idle = [](ServerOptions& options) {
        options.deaf_timeout = options.idle_timeout = std::chrono::milliseconds(300);
        options.handshake_timeout = std::chrono::seconds(1);  // for the close
    };
    Served<HookedServer> served({camera("large", 2000, 2000, 3, false)}, {}, short_idle);
    Served<HookedServer> control(one_small_camera(), {}, short_idle);
    RawClient slow = served.connect(4096);
    slow.send(RequestType::obs_request);
    std::size_t taken = 0;
    for (std::size_t i = 1; i <= 3; ++i) {
        RawClient silent = control.connect_next();
        ASSERT_TRUE(eventually([&] {
            slow.take(taken += 500);
            return control.log.count("not even in answer to pings") == i;
        }));
    }
    EXPECT_EQ(served->stats().observations, 0u) << "all of it fitted into the kernel";
    EXPECT_EQ(slow.receive_response().type, wire::ResponseType::obs_response);
}

TEST(AMessageOfEmptyFragments, HasToEndLikeAnyOther) {
    const auto short_idle = [](ServerOptions& options) {
        options.deaf_timeout = options.idle_timeout = std::chrono::milliseconds(500);
        options.handshake_timeout = std::chrono::seconds(1);  // for the close
    };
    Served<HookedServer> served(one_small_camera(), {}, short_idle), control(one_small_camera(), {}, short_idle);
    const auto flood = [](int opcode, bool last) {
        ByteVector frames = websocket_frame(opcode, {}, last);
        const ByteVector next = websocket_frame(last ? opcode : RawClient::kContinuation, {}, last);
        for (int i = 0; i < 400; ++i) frames.insert(frames.end(), next.begin(), next.end());
        return frames;
    };
    // As many bytes in pongs; and then both do nothing but answer pings.
    RawClient endless = served.connect(), orderly = control.connect();
    endless.send_bytes(flood(RawClient::kBinary, false));
    orderly.send_bytes(flood(RawClient::kPong, true));
    std::atomic<int> answered{0};
    const auto answer_pings = [](RawClient& client, std::atomic<int>* count) {
        try {
            for (;;) {
                const RawClient::Frame frame = client.read_frame();
                if (frame.opcode != RawClient::kPing) return;
                client.send_frame(RawClient::kPong, frame.payload);
                if (count) ++*count;
            }
        } catch (const std::exception&) {  // the end of the connection
        }
    };
    std::thread other([&] { answer_pings(orderly, &answered); });
    answer_pings(endless, nullptr);
    EXPECT_TRUE(served.log.wait_for("does not end a message"));
    // Longer than that takes, in the server's own heartbeats.
    EXPECT_TRUE(eventually([&] { return answered >= 10; }));
    EXPECT_EQ(control.log.count("gone"), 0u);
    control->stop();
    other.join();
}

}  // namespace
}  // namespace chiral::test
