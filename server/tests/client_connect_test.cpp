// SPDX-License-Identifier: Apache-2.0
// How a client finds its server, is turned away, leaves, and comes back.
#include "client_scripted_server.hpp"
#include "net/tcp_health.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <future>

namespace chiral::test {
namespace {

std::string uri_of(unsigned short port) { return "ws://127.0.0.1:" + std::to_string(port); }

// ---- finding the server ----

TEST(ClientConnect, WaitsForAServerThatComesLaterAndSaysSoOnce) {
    const unsigned short port = free_port();
    Happening logged;
    std::string line;
    ClientOptions options = quiet_options();
    options.log = [&](const std::string& text) {
        line = text;
        logged.happen();
    };
    PolicyClient client(uri_of(port), options);
    auto connecting = std::async(std::launch::async, [&] { client.connect(); });
    ASSERT_TRUE(logged.wait());
    Robot robot;
    ScriptedServer server([&](Peer& peer) { robot.serve(peer); }, port);
    connecting.get();
    EXPECT_TRUE(client.connected());
    expect_sample(client.get_obs(), 1);
    EXPECT_EQ(logged.times(), 1);
    EXPECT_EQ(line.find("waiting for server at " + uri_of(port)), 0u) << line;
    EXPECT_NE(line.find("Connection refused"), std::string::npos) << line;
}

TEST(ClientConnect, SaysNothingWhenTheServerIsThere) {
    RobotServer robot;
    ClientOptions options = quiet_options();
    options.log = [](const std::string& line) { ADD_FAILURE() << line; };
    PolicyClient client(robot.uri(), options);
    EXPECT_EQ(&client.connect(), &client);
    client.get_obs();
}

TEST(ClientConnect, GivesUpAtItsTimeoutAndSaysWhy) {
    ClientOptions options = quiet_options();
    options.connect_timeout = 50ms;
    PolicyClient client(uri_of(free_port()), options);
    expect_throw<ConnectionError>([&] { client.connect(); }, {"no connection after 0.05 s", "Connection refused"});
    EXPECT_FALSE(client.connected());
}

TEST(ClientConnect, KeepsTryingWhileTheNameIsUnknown) {
    ClientOptions options = quiet_options();
    options.connect_timeout = 50ms;
    PolicyClient client("ws://no-such-robot.invalid:1", options);
    expect_throw<ConnectionError>([&] { client.connect(); }, {"ws://no-such-robot.invalid:1", "no connection after 0.05 s"});
}

TEST(ClientConnect, FindsAServerByName) {
    RobotServer robot;
    PolicyClient client("ws://localhost:" + std::to_string(robot.port()), quiet_options());
    client.connect();
    expect_sample(client.get_obs(), 1);
}

TEST(ClientConnect, AsksForTheHostAndPathOfItsAddress) {
    ScriptedServer server([](Peer& peer) {
        const std::string request = peer.read_http_request();
        EXPECT_EQ(request.find("GET /robots/7?arm=left HTTP/1.1\r\n"), 0u) << request;
        EXPECT_NE(request.find("\r\nHost: 127.0.0.1:"), std::string::npos) << request;
        EXPECT_EQ(request.find("Sec-WebSocket-Extensions"), std::string::npos) << "permessage-deflate is not wanted";
        peer.accept(request);
        peer.wait_for_close();
    });
    PolicyClient client(server.uri() + "/robots/7?arm=left", quiet_options());
    client.connect();
}

TEST(ClientConnect, TriesAgainWhileTheServerEndsTheConnectionInTheHandshake) {
    const std::string answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n";
    std::size_t cut = 0;
    Robot robot;
    ScriptedServer server([&](Peer& peer) {
        if (cut > answer.size()) return robot.serve(peer);
        peer.read_http_request();
        peer.send_raw(answer.substr(0, cut));
        peer.end(cut % 2 == 0);
        cut += 5;
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    expect_sample(client.get_obs(), 1);
    EXPECT_GT(server.accepted.times(), 10);
}

TEST(ClientConnect, GivesUpAtItsTimeoutOnAServerThatNeverAnswersTheHandshake) {
    ScriptedServer server([](Peer& peer) { peer.wait_until_client_ends(); });
    ClientOptions options = quiet_options();
    options.connect_timeout = 100ms;
    PolicyClient client(server.uri(), options);
    expect_throw<ConnectionError>([&] { client.connect(); },
                                  {"no connection after 0.1 s", "no answer in time in the WebSocket handshake"});
}

TEST(ClientConnect, TriesAgainWhenTheHandshakeIsNotAnsweredInTime) {
    int connections = 0;
    Robot robot;
    ScriptedServer server([&](Peer& peer) { ++connections > 2 ? robot.serve(peer) : peer.wait_until_client_ends(); });
    ClientOptions options = quiet_options();
    options.request_timeout = 300ms;
    PolicyClient client(server.uri(), options);
    client.connect();
    EXPECT_TRUE(client.connected());
}

TEST(ClientConnect, ASecondTimeHasNoEffect) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect().connect();
    expect_sample(client.get_obs(), 1);
    EXPECT_EQ(robot.accepted.times(), 1);
}

TEST(ClientConnect, RefusesOptionsThatMakeNoSense) {
    const auto refused = [](auto change, const char* option) {
        ClientOptions options;
        change(options);
        expect_throw<std::invalid_argument>([&] { PolicyClient("ws://robot", options); }, {option, "not positive"});
    };
    refused([](ClientOptions& o) { o.connect_timeout = 0s; }, "connect_timeout");
    refused([](ClientOptions& o) { o.retry_interval = -1s; }, "retry_interval");
    refused([](ClientOptions& o) { o.request_timeout = 0s; }, "request_timeout");
    refused([](ClientOptions& o) { o.reset_timeout = 0s; }, "reset_timeout");
    refused([](ClientOptions& o) { o.max_message_bytes = 0; }, "max_message_bytes");
    refused([](ClientOptions& o) { o.max_queued_actions = 0; }, "max_queued_actions");
}

#ifdef __linux__
TEST(ClientConnect, HasTheKernelEndAConnectionToAMachineThatIsGone) {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_GE(socket, 0);
    const auto option = [&](int level, int name) {
        int value = -1;
        socklen_t size = sizeof value;
        EXPECT_EQ(getsockopt(socket, level, name, &value, &size), 0);
        return value;
    };
    for (const auto& [asked, seconds] : {std::pair{30s, 30}, {1s, 3}, {std::chrono::seconds(1'000'000'000), 30'000}}) {
        net::end_when_unreachable(socket, asked);
        EXPECT_EQ(option(SOL_SOCKET, SO_KEEPALIVE), 1);
        EXPECT_EQ(option(IPPROTO_TCP, TCP_USER_TIMEOUT), seconds * 1000);
        EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPIDLE) + option(IPPROTO_TCP, TCP_KEEPINTVL) * option(IPPROTO_TCP, TCP_KEEPCNT),
                  seconds)
            << "idle or not, the same time";
    }
    ::close(socket);
}
#endif

// ---- being turned away ----

void expect_refusal(const std::string& answer, std::initializer_list<const char*> parts, Duration timeout = patience) {
    ScriptedServer server([&](Peer& peer) {
        peer.read_http_request();
        peer.send_raw(answer);
        peer.wait_until_client_ends();
    });
    ClientOptions options = quiet_options();
    options.connect_timeout = timeout;
    PolicyClient client(server.uri(), options);
    expect_throw<ConnectionError>([&] { client.connect(); }, parts);
    EXPECT_EQ(server.accepted.times(), 1) << "tried again";
    EXPECT_FALSE(client.connected());
}

TEST(ClientConnect, GivesUpAtOnceWhenTheServerSaysNo) {
    expect_refusal("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 36\r\n\r\nanother client controls this robot\r\n",
                   {"the server refuses: HTTP 503 Service Unavailable: another client controls this robot"});
    expect_refusal("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", {"HTTP 404 Not Found"});
    expect_refusal("HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:1\r\nContent-Length: 0\r\n\r\n", {"HTTP 301 Moved"});
    expect_refusal("HTTP/1.1 403 No\r\nContent-Length: 6\r\n\r\nno\x01\x02no", {"HTTP 403 No: no??no"});
}

TEST(ClientConnect, GivesUpAtOnceWhenSomethingElseListens) {
    expect_refusal("220 smtp.example.org ESMTP\r\n", {"does not speak WebSocket"});
    expect_refusal("HTTP/1.1 101 Switching Protocols\r\n\r\n", {"does not speak WebSocket"});
    expect_refusal(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: d3Jvbmc=\r\n\r\n",
        {"does not speak WebSocket"});
    expect_refusal("HTTP/1.1 200 OK\r\n" + std::string(100000, 'x'), {"does not speak WebSocket"});
    expect_refusal("HTTP/1.1 503 No\r\nContent-Length: 99999999999\r\n\r\n", {"does not speak WebSocket"});
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which end the process where new would throw
TEST(ClientConnect, SurvivesARefusalThatAnnouncesMoreThanThereIsMemory) {
    for (const char* length : {"8388609", "4611686018427387904", "9223372036854775807", "18446744073709551615"})
        expect_refusal(std::string("HTTP/1.1 403 Forbidden\r\nContent-Length: ") + length + "\r\n\r\nno", {"ws://127.0.0.1"},
                       1s);
}
#endif

// Servers that never end what they began: what is said, again and again, and what it begins with.
TEST(ClientConnect, TakesABoundedAnswerHoweverTheServerGoesOn) {
    const std::string refusal = "HTTP/1.1 403 Forbidden\r\n", chunked = refusal + "Transfer-Encoding: chunked\r\n\r\n";
    struct Lie {
        const char* what;
        std::string beginning, again;
    };
    for (const Lie& lie : std::initializer_list<Lie>{
             {"a body of 3 GB, as it announces", refusal + "Content-Length: 3000000000\r\n\r\nno", "no"},
             {"a body without a length", refusal + "\r\nno", "no"},
             {"chunks", chunked, "2\r\nno\r\n"},
             {"the head of one chunk", chunked + "2;", "no"},
             {"the trailer of a body", chunked + "0\r\n", "No: no\r\n"},
             {"a line of the header", refusal + "No: ", "no"},
             {"lines of the header", refusal, "No: no\r\n"},
             {"a status", "HTTP/1.1 403 ", "no"},
             {"what follows an upgrade to something else", "HTTP/1.1 101 Ok\r\nUpgrade: no\r\n\r\n", "no"},
         }) {
        SCOPED_TRACE(lie.what);
        std::string much;
        while (much.size() < std::size_t{1} << 16) much += lie.again;
        std::atomic<std::size_t> sent{0};
        ScriptedServer server([&](Peer& peer) {
            peer.read_http_request();
            peer.send_raw(lie.beginning);
            for (;; sent += much.size()) peer.send_raw(much);  // until the client ends the connection
        });
        ClientOptions options = quiet_options();
        options.connect_timeout = patience;
        PolicyClient client(server.uri(), options);
        expect_throw<ConnectionError>([&] { client.connect(); }, {"the server", "WebSocket"});
        EXPECT_EQ(server.accepted.times(), 1) << "tried again";
        // Beside what the kernel holds, at both ends.
        EXPECT_LT(sent.load(), std::size_t{64} << 20);
    }
}

// ---- TLS that comes to nothing; TLS that works: see access_test.cpp ----

std::string tls_uri_of(const ScriptedServer& server) { return "wss://127.0.0.1:" + std::to_string(server.port()); }

TEST(ClientTls, GivesUpAtOnceOnAServerThatSpeaksSomethingElse) {
    for (const std::string answer : {"220 smtp.example.org ESMTP\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n"}) {
        ScriptedServer server([&](Peer& peer) {
            peer.send_raw(answer);
            peer.wait_until_client_ends();
        });
        PolicyClient client(tls_uri_of(server), quiet_options());
        expect_throw<ConnectionError>([&] { client.connect(); }, {"the server does not speak TLS", "begins with ws://"});
        EXPECT_EQ(server.accepted.times(), 1) << "tried again";
    }
}

TEST(ClientTls, TriesAgainWhileTheServerEndsTheConnectionInTheHandshake) {
    ScriptedServer server([&](Peer& peer) { peer.end(false); });
    ClientOptions options = quiet_options();
    options.connect_timeout = 4s;  // a sanitizer build takes a good part of a second to load the system's authorities
    PolicyClient client(tls_uri_of(server), options);
    expect_throw<ConnectionError>([&] { client.connect(); }, {"no connection after 4 s"});
    EXPECT_GT(server.accepted.times(), 1);
}

TEST(ClientTls, GivesUpAtItsTimeoutOnAServerThatStopsInTheHandshake) {
    // A record of 512 bytes, of which 4 come, or nothing at all.
    for (const std::string& begin : {std::string("\x16\x03\x03\x02\x00\x02\x00\x01\xfc", 9), std::string()}) {
        ScriptedServer server([&](Peer& peer) {
            peer.send_raw(begin);
            peer.wait_until_client_ends();
        });
        ClientOptions options = quiet_options();
        options.connect_timeout = 4s;
        PolicyClient client(tls_uri_of(server), options);
        expect_throw<ConnectionError>([&] { client.connect(); },
                                      {"no connection after 4 s", "no answer in time in the TLS handshake"});
    }
}

TEST(ClientTls, HandshakeIsEndedByCloseInAnotherThread) {
    ScriptedServer server([](Peer& peer) { peer.wait_until_client_ends(); });
    ClientOptions options = quiet_options();
    options.connect_timeout = options.request_timeout = Duration::max();
    PolicyClient client(tls_uri_of(server), options);
    auto connecting = std::async(std::launch::async, [&] { client.connect(); });
    ASSERT_TRUE(server.accepted.wait());
    client.close();
    expect_throw<ConnectionError>([&] { connecting.get(); }, {"closed by this client"});
}

// ---- leaving ----

TEST(ClientClose, IsAClosingHandshakeAfterWhatWasSent) {
    Happening closed;
    std::uint16_t code = 0;
    int actions = 0;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        while (const auto request = peer.receive_request_if_any()) {
            EXPECT_EQ(request->type, wire::RequestType::apply_action);
            ++actions;
        }
        code = peer.close_code();
        closed.happen();
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    for (int i = 0; i < 50; ++i) client.apply_action(sample_action());
    client.close();
    ASSERT_TRUE(closed.wait());
    EXPECT_EQ(code, 1000);
    EXPECT_EQ(actions, 50);
    EXPECT_EQ(client.stats().actions_sent, 50u);
}

TEST(ClientClose, MayBeCalledAtAnyTimeAndAgain) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.close();
    client.connect();
    client.close();
    EXPECT_FALSE(client.connected());
    client.close();
}

TEST(ClientClose, HappensInTheDestructor) {
    Happening closed;
    std::uint16_t code = 0;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        peer.wait_for_close();
        code = peer.close_code();
        closed.happen();
    });
    PolicyClient(server.uri(), quiet_options()).connect();
    ASSERT_TRUE(closed.wait());
    EXPECT_EQ(code, 1000);
}

TEST(ClientClose, EndsACallThatWaitsInAnotherThread) {
    Happening asked;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        peer.expect_request(wire::RequestType::obs_request);
        asked.happen();
        peer.wait_for_close();
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    auto first = std::async(std::launch::async, [&] { client.get_obs(); });
    ASSERT_TRUE(asked.wait());
    auto second = std::async(std::launch::async, [&] { client.get_metadata(); });  // waits for its turn
    client.close();
    expect_throw<ConnectionError>([&] { first.get(); }, {"closed by this client"});
    expect_throw<ConnectionError>([&] { second.get(); }, {});  // may also have come after close()
}

TEST(ClientClose, EndsConnectInAnotherThread) {
    const unsigned short port = free_port();
    Happening logged;
    ClientOptions options = quiet_options();
    options.connect_timeout = Duration::max();
    options.retry_interval = 1h;
    options.log = [&](const std::string&) { logged.happen(); };
    PolicyClient client(uri_of(port), options);
    auto connecting = std::async(std::launch::async, [&] { client.connect(); });
    ASSERT_TRUE(logged.wait());
    client.close();
    expect_throw<ConnectionError>([&] { connecting.get(); }, {"closed by this client"});
}

TEST(ClientClose, EndsAHandshakeInAnotherThread) {
    ScriptedServer server([](Peer& peer) { peer.wait_until_client_ends(); });
    ClientOptions options = quiet_options();
    options.connect_timeout = Duration::max();
    options.request_timeout = Duration::max();
    PolicyClient client(server.uri(), options);
    auto connecting = std::async(std::launch::async, [&] { client.connect(); });
    ASSERT_TRUE(server.accepted.wait());
    client.close();
    expect_throw<ConnectionError>([&] { connecting.get(); }, {"closed by this client"});
}

TEST(ClientClose, FromManyThreadsWhileOthersUseTheClient) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    for (int round = 0; round < 20; ++round) {
        client.connect();
        std::vector<std::thread> threads;
        for (int i = 0; i < 2; ++i) {
            threads.emplace_back([&] {
                try {
                    for (;;) client.get_obs();
                } catch (const ConnectionError&) {}
            });
            threads.emplace_back([&] {
                try {
                    for (;;) client.apply_action(sample_action());
                } catch (const ConnectionError&) {}
            });
        }
        for (int i = 0; i < 3; ++i)
            threads.emplace_back([&, round] {
                robot.observations.wait(2 * round + 1);
                client.close();
            });
        for (std::thread& thread : threads) thread.join();
        EXPECT_FALSE(client.connected());
    }
}

// Both ends close at the same moment: every order of the two close frames must end well.
TEST(ClientClose, MeetsTheServersOwnClose) {
    ScriptedServer server([](Peer& peer) {
        peer.accept();
        peer.expect_request(wire::RequestType::apply_action);
        peer.close(1001, "going away");
    });
    PolicyClient client(server.uri(), quiet_options());
    for (int round = 0; round < 200; ++round) {
        client.connect();
        try {
            client.apply_action(sample_action());
            for (int i = 0; i < round % 10; ++i) client.apply_action(sample_action());
        } catch (const ConnectionError&) {}
        client.close();
    }
}

TEST(ClientClose, MakesEveryCallFailUntilConnectIsCalled) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    const auto expect_not_connected = [&] {
        const auto fails = [](auto call) { expect_throw<ConnectionError>(call, {"not connected", "connect()"}); };
        fails([&] { client.get_metadata(); });
        fails([&] { client.reset(); });
        fails([&] { client.get_obs(); });
        fails([&] { client.step(sample_action()); });
        fails([&] { client.apply_action(sample_action()); });
        fails([&] { client.start_obs_stream(10); });
        fails([&] { client.start_action_dispatch(10); });
    };
    expect_not_connected();
    client.connect();
    client.get_obs();
    client.close();
    expect_not_connected();
}

// ---- coming back ----

TEST(ClientReconnect, WorksAfterClose) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    for (int i = 1; i <= 10; ++i) {
        client.connect();
        expect_sample(client.get_obs(), i);
        client.close();
    }
    EXPECT_EQ(client.stats().observations, 10u);
}

TEST(ClientReconnect, WorksWhenTheServerWasStoppedAndStartedAgain) {
    auto robot = std::make_unique<RobotServer>();
    const unsigned short port = robot->port();
    PolicyClient client(robot->uri(), quiet_options());
    client.connect();
    client.get_obs();
    robot.reset();
    expect_throw<ConnectionError>([&] { client.get_obs(); }, {"connection"});
    EXPECT_FALSE(client.connected());
    Robot second;
    ScriptedServer server([&](Peer& peer) { second.serve(peer); }, port);
    client.connect();
    expect_sample(client.get_obs(), 1);
}

TEST(ClientReconnect, ForgetsTheCaptureTimesOfTheConnectionBefore) {
    RobotServer robot;
    PolicyClient client(robot.uri(), quiet_options());
    client.connect();
    client.get_obs();
    client.close();
    client.connect();
    client.apply_action(sample_action());
    ASSERT_TRUE(robot.action.wait());
    EXPECT_TRUE(robot.actions().back().obs_timestamps.empty());
}

}  // namespace
}  // namespace chiral::test
