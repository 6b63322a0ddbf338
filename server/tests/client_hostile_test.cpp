// SPDX-License-Identifier: Apache-2.0
// Servers that lie, break the protocol, or fall silent. Whatever they do, the call that waits ends with a ConnectionError
// that says what came, the client is closed, nothing hangs or leaks, and connect() works again.
#include "client_scripted_server.hpp"

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <random>
#include <set>

namespace chiral::test {
namespace {

using Parts = std::initializer_list<const char*>;

// A WebSocket frame with whatever header the test wants.
ByteVector frame(std::uint8_t first, std::uint64_t announced, const ByteVector& content) {
    ByteVector bytes{first};
    if (announced < 126) {
        bytes.push_back(static_cast<std::uint8_t>(announced));
    } else if (announced <= 0xffff) {
        bytes.push_back(126);
        for (int shift = 8; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::uint8_t>(announced >> shift));
    } else {
        bytes.push_back(127);
        for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::uint8_t>(announced >> shift));
    }
    bytes.insert(bytes.end(), content.begin(), content.end());
    return bytes;
}
constexpr std::uint8_t final_binary = 0x82, first_binary = 0x02, final_text = 0x81, continuation = 0x00,
                       final_continuation = 0x80, final_close = 0x88, final_ping = 0x89;

ByteVector bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

// A chiral frame around a header that is written by hand.
ByteVector message(const std::string& header, const std::string& payload = {}) {
    std::string bytes(4, '\0');
    bytes[0] = static_cast<char>(header.size());
    return bytes_of(bytes + header + payload);
}

// Answers the first get_obs() with `answer`, expects its error to have `parts`, and that the next connection works.
void expect_error(const ScriptedServer::Script& answer, Parts parts, ClientOptions options = quiet_options()) {
    Robot robot;
    int connections = 0;
    ScriptedServer server([&](Peer& peer) {
        if (++connections > 1) return robot.serve(peer);
        peer.accept();
        peer.expect_request(wire::RequestType::obs_request);
        answer(peer);
    });
    PolicyClient client(server.uri(), options);
    client.connect();
    const std::string error = expect_throw<ConnectionError>([&] { client.get_obs(); }, parts);
    EXPECT_EQ(error.find(server.uri()), 0u) << error;
    EXPECT_FALSE(client.connected());
    expect_throw<ConnectionError>([&] { client.apply_action(sample_action()); }, {});
    EXPECT_TRUE(eventually([&] {
        try {
            client.connect();
            client.get_obs();
            return true;
        } catch (const ConnectionError&) {  // where the timeout is short, a slow machine may be too late
            return false;
        }
    }));
}

// The same for a server that leaves the connection open afterwards.
void expect_error_on(const ByteVector& raw, Parts parts, const ClientOptions& options = quiet_options()) {
    expect_error(
        [&](Peer& peer) {
            peer.send_raw(raw);
            peer.wait_until_client_ends();
        },
        parts, options);
}

// ---- messages ----

TEST(HostileServer, AnswersWithSomethingElse) {
    const auto send = [](const ByteVector& bytes) {
        return [bytes](Peer& peer) {
            peer.send(bytes);
            peer.wait_for_close();
        };
    };
    expect_error(send(metadata_response({})), {"answered obs_request with metadata_response, expected obs_response"});
    expect_error(send(reset_response(1)), {"answered obs_request with reset_response, expected obs_response"});
    expect_error(send(message("\x81\xa4type\xa5hello")), {"type is 'hello'", "expected", "obs_response"});
    expect_error(send(message("\x81\xa4type\xac"
                              "obs_response")),
                 {"timestamp is missing, expected a number"});
    expect_error(send(golden_frame("client_obs_request")), {"type is 'obs_request'", "expected", "obs_response"});
}

TEST(HostileServer, SendsMessagesThatAreNotFrames) {
    const auto send = [](const ByteVector& bytes) {
        return [bytes](Peer& peer) {
            peer.send(bytes);
            peer.wait_for_close();
            EXPECT_EQ(peer.close_code(), 1007);
        };
    };
    expect_error(send({}), {"answer to obs_request is malformed", "0 bytes", "expected at least the 4"});
    expect_error(send({1, 2, 3}), {"3 bytes", "expected at least the 4"});
    expect_error(send({0xff, 0xff, 0xff, 0xff}), {"header of 4294967295 bytes", "accepted"});
    expect_error(send({0xff, 0xff, 0, 0, 0x80}), {"header of 65535 bytes", "only 1 follow"});
    expect_error(send(message("\xc1")), {"not MessagePack"});
    expect_error(send(message("\x93\x01\x02\x03")), {"an array of 3, expected a map"});
    expect_error(send(message(std::string("\xdf\xff\xff\xff\xff", 5))), {"4294967295"});
}

TEST(HostileServer, SendsText) {
    for (const std::uint64_t announced : {5, 100000})
        expect_error(
            [&](Peer& peer) {
                peer.send_raw(frame(final_text, announced, bytes_of("hello")));
                peer.wait_for_close();
                EXPECT_EQ(peer.close_code(), 1003);
            },
            {"sent text", "expected binary"});
    expect_error_on(frame(final_text, 2, {0xff, 0xff}), {"broke the WebSocket protocol", "payload"});
}

TEST(HostileServer, SendsUnasked) {
    Robot robot;
    for (const bool empty : {false, true}) {
        int connections = 0;
        ScriptedServer server([&](Peer& peer) {
            if (++connections > 1) return robot.serve(peer);
            peer.accept();
            peer.send(empty ? ByteVector{} : obs_response(1));
            peer.wait_for_close();
            EXPECT_EQ(peer.close_code(), 1008);
        });
        PolicyClient client(server.uri(), quiet_options());
        client.connect();
        ASSERT_TRUE(eventually([&] { return !client.connected(); }));
        expect_throw<ConnectionError>([&] { client.get_obs(); }, {"nobody asked for"});
        client.connect();
        client.get_obs();
    }
}

TEST(HostileServer, AnswersAnActionThatHasNoAnswer) {
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        peer.expect_request(wire::RequestType::apply_action);
        peer.send(step_response(1));
        peer.wait_for_close();
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    client.apply_action(sample_action());
    ASSERT_TRUE(eventually([&] { return !client.connected(); }));
    expect_throw<ConnectionError>([&] { client.apply_action(sample_action()); }, {"nobody asked for"});
}

TEST(HostileServer, AnswersTwice) {
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        peer.expect_request(wire::RequestType::obs_request);
        peer.send(obs_response(1));
        peer.send(obs_response(2));
        peer.wait_for_close();
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    expect_sample(client.get_obs(), 1);
    ASSERT_TRUE(eventually([&] { return !client.connected(); }));
}

// ---- WebSocket frames ----

TEST(HostileServer, BreaksTheWebSocketProtocolAndStaysConnected) {
    expect_error_on(frame(final_continuation, 1, {0}), {"broke the WebSocket protocol"});
    expect_error_on(frame(0x83, 1, {0}), {"broke the WebSocket protocol"});                      // reserved opcode
    expect_error_on(frame(0xc2, 1, {0}), {"broke the WebSocket protocol"});                      // reserved bit
    expect_error_on({final_binary, 0x81, 1, 2, 3, 4, 0}, {"broke the WebSocket protocol"});      // masked
    expect_error_on({final_binary, 126, 0, 1, 0}, {"broke the WebSocket protocol"});             // length not shortest
    expect_error_on(frame(final_ping, 126, ByteVector(126)), {"broke the WebSocket protocol"});  // control too long
    expect_error_on(frame(0x09, 0, {}), {"broke the WebSocket protocol"});                       // control in fragments
    expect_error_on(frame(final_close, 1, {0}), {"broke the WebSocket protocol"});
    expect_error_on(frame(final_close, 2, {0, 1}), {"broke the WebSocket protocol"});  // code 1
    ByteVector two = frame(first_binary, 1, {0});
    two.push_back(final_binary);
    two.push_back(0);
    expect_error_on(two, {"broke the WebSocket protocol"});  // a message inside a message
}

TEST(HostileServer, AnnouncesMoreThanIsAccepted) {
    ClientOptions options = quiet_options();
    options.max_message_bytes = 10000;
    expect_error_on(frame(final_binary, 10001, {}), {"more than the 10000 bytes accepted", "expected obs_response"},
                    options);
    expect_error_on(frame(final_binary, 1ull << 62, {}), {"more than the 10000 bytes accepted"}, options);
    expect_error_on(frame(final_binary, ~0ull, {}), {"more than the 10000 bytes accepted"}, options);
    ByteVector fragments = frame(first_binary, 6000, ByteVector(6000));
    const ByteVector second = frame(final_continuation, 6000, ByteVector(6000));
    fragments.insert(fragments.end(), second.begin(), second.end());
    expect_error_on(fragments, {"more than the 10000 bytes accepted"}, options);
}

TEST(HostileServer, AnnouncesAGigabyteAndSendsLittleOfIt) {
    expect_error(
        [](Peer& peer) {
            peer.send_raw(frame(final_binary, 1u << 30, ByteVector(100000)));
            peer.end_sending();
            peer.wait_until_client_ends();
        },
        {"without a close frame, 100000 bytes into a message", "expected obs_response"});
}

TEST(HostileServer, EndsTheConnectionAfterAnyByteOfItsAnswer) {
    const ByteVector answer = obs_response(1);
    const ByteVector whole = frame(final_binary, answer.size(), answer);
    for (const bool reset : {false, true})
        for (std::size_t cut = 0; cut < whole.size(); cut += cut < 10 ? 1 : 97) {
            SCOPED_TRACE("cut at " + std::to_string(cut));
            expect_error(
                [&](Peer& peer) {
                    peer.send_raw(ByteVector(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(cut)));
                    peer.end(reset);
                },
                {"connection"});
        }
}

TEST(HostileServer, ClosesWithACodeAndAReason) {
    expect_error([](Peer& peer) { peer.close(1007, "apply_action: element 3 is nan"); },
                 {"closed the connection with code 1007: apply_action: element 3 is nan", "expected obs_response"});
    expect_error([](Peer& peer) { peer.close(1001, ""); }, {"closed the connection with code 1001, expected obs_response"});
    expect_error([](Peer& peer) { peer.close(0, ""); }, {"gave no reason"});
    expect_error([](Peer& peer) { peer.close(1011, "line\r\nbreak\x7f"); }, {"line??break?, expected"});
}

TEST(HostileServer, ClosesAndStaysConnected) {
    expect_error_on(frame(final_close, 6, {0x03, 0xef, 'w', 'h', 'y', '!'}), {"code 1007: why!"});
    expect_error_on(frame(final_close, 0, {}), {"gave no reason"});
}

TEST(HostileServer, ClosesInTheMiddleOfAMessage) {
    ByteVector bytes = frame(first_binary, 100, ByteVector(100));
    const ByteVector close = frame(final_close, 2, {0x03, 0xe8});
    bytes.insert(bytes.end(), close.begin(), close.end());
    expect_error_on(bytes, {"code 1000, 100 bytes into a message"});
}

TEST(HostileServer, ClosesAfterAnActionAndTheNextCallTellsWhy) {
    ScriptedServer server([](Peer& peer) {
        peer.accept();
        peer.expect_request(wire::RequestType::apply_action);
        peer.close(1007, "apply_action: 3 elements, expected 7");
    });
    PolicyClient client(server.uri(), quiet_options());
    client.connect();
    client.apply_action(sample_action());
    ASSERT_TRUE(eventually([&] { return !client.connected(); }));
    for (int i = 0; i < 2; ++i) {
        const auto call = [&] { i == 0 ? client.apply_action(sample_action()) : (void)client.get_obs(); };
        expect_throw<ConnectionError>(call, {"code 1007", "apply_action: 3 elements, expected 7"});
    }
}

// Holds a thread of this process as SIGSTOP would hold all of them.
class HeldThread {
public:
    explicit HeldThread(pid_t thread) {
        held_ = false;
        let_go_ = false;
        struct sigaction action {};
        action.sa_handler = [](int) {
            held_ = true;
            while (!let_go_) sched_yield();
        };
        sigaction(SIGUSR1, &action, &before_);
        syscall(SYS_tgkill, getpid(), thread, SIGUSR1);
        EXPECT_TRUE(eventually([] { return held_.load(); }));
    }
    ~HeldThread() {
        let_go_ = true;
        sigaction(SIGUSR1, &before_, nullptr);
    }
    static void let_go() { let_go_ = true; }

private:
    static inline std::atomic<bool> held_, let_go_;
    struct sigaction before_;
};

std::set<pid_t> threads_of_this_process() {
    std::set<pid_t> threads;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task"))
        threads.insert(std::stoi(entry.path().filename()));
    return threads;
}

TEST(HostileServer, ClosesWhileTheClientIsStoppedAndItsNextActionSaysSo) {
    Happening hold, closed;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        hold.wait();
        peer.send_raw(frame(final_close, 2 + 20, bytes_of(std::string("\x03\xe9") + "says nothing for 20s")));
        peer.end_sending();
        closed.happen();
        peer.wait_until_client_ends();
    });
    PolicyClient client(server.uri(), quiet_options());
    const std::set<pid_t> before = threads_of_this_process();
    client.connect();
    std::vector<pid_t> network;
    for (const pid_t thread : threads_of_this_process())
        if (before.count(thread) == 0) network.push_back(thread);
    ASSERT_EQ(network.size(), 1u);
    const HeldThread held(network[0]);
    hold.happen();
    ASSERT_TRUE(closed.wait());
    auto call = std::async(std::launch::async, [&] { client.apply_action(sample_action()); });
    call.wait_for(50ms);  // a client that does not wait for the news would be done by now
    HeldThread::let_go();
    expect_throw<ConnectionError>([&] { call.get(); }, {"code 1001", "says nothing for 20s"});
    expect_throw<ConnectionError>([&] { client.get_obs(); }, {"code 1001", "says nothing for 20s"});
}

// ---- silence ----

TEST(HostileServer, NeverAnswers) {
    ClientOptions options = quiet_options();
    options.request_timeout = 50ms;
    expect_error([](Peer& peer) { peer.wait_until_client_ends(); },
                 {"has not answered obs_request for 0.05 s", "expected obs_response"}, options);
    expect_error(
        [](Peer& peer) {
            peer.send_raw(frame(final_binary, 1000, ByteVector(10)));
            peer.wait_until_client_ends();
        },
        {"has not answered obs_request for 0.05 s"}, options);
}

TEST(HostileServer, KeepsTheClientBusyButNeverAnswers) {
    ClientOptions options = quiet_options();
    options.request_timeout = 50ms;
    expect_error(
        [](Peer& peer) {
            for (;;) peer.send_raw(frame(final_ping, 3, {1, 2, 3}));
        },
        {"has not answered obs_request for 0.05 s"}, options);
    expect_error(
        [](Peer& peer) {
            peer.send_raw(frame(first_binary, 0, {}));
            for (;;) peer.send_raw(frame(continuation, 0, {}));  // one message without end and content
        },
        {"has not answered obs_request for 0.05 s"}, options);
}

TEST(HostileServer, ThatIsStoppedDoesNotHoldUpClose) {
    Happening done;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        done.wait();  // reads nothing, answers no close frame, keeps the connection
    });
    ClientOptions options = quiet_options();
    options.request_timeout = 50ms;
    PolicyClient client(server.uri(), options);
    client.connect();
    const auto begin = Clock::now();
    client.close();
    EXPECT_LT(Clock::now() - begin, patience);
    EXPECT_FALSE(client.connected());
    done.happen();
}

TEST(HostileServer, ThatIsStoppedWhileActionsPileUpDoesNotHoldUpClose) {
    Happening done;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        done.wait();
    });
    ClientOptions options = quiet_options();
    options.request_timeout = 50ms;
    PolicyClient client(server.uri(), options);
    client.connect();
    Action action;
    action.N = 1;
    action.D = 1 << 18;
    action.data.resize(1 << 18);
    for (int i = 0; i < 40; ++i) client.apply_action(action);  // more than the sockets take
    client.close();
    done.happen();
}

TEST(HostileServer, ThatIsStoppedDoesNotHoldUpTheDestructor) {
    Happening done;
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        done.wait();
    });
    ClientOptions options = quiet_options();
    options.request_timeout = 50ms;
    {
        PolicyClient client(server.uri(), options);
        client.connect();
        expect_throw<ConnectionError>([&] { client.get_obs(); }, {"has not answered"});
    }
    done.happen();
}

// ---- noise ----

// Good answers with a few bytes changed: many decode, none may do worse than fail.
TEST(HostileServer, SendsCorruptedAnswers) {
    std::mt19937 random(1);
    const ByteVector good = golden_frame("server_reset_response");
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        for (;;) {
            peer.expect_request(wire::RequestType::reset);
            ByteVector bad = good;
            for (int changes = 0; changes < 3; ++changes)
                bad[random() % (changes < 2 ? 1340 : bad.size())] = static_cast<std::uint8_t>(random());
            if (random() % 4 == 0) bad.resize(random() % bad.size());
            peer.send(bad);
        }
    });
    PolicyClient client(server.uri(), quiet_options());
    int good_ones = 0, bad_ones = 0;
    for (int i = 0; i < 300; ++i) {
        client.connect();
        try {
            client.reset();
            ++good_ones;
        } catch (const ConnectionError&) {
            ++bad_ones;
        }
    }
    EXPECT_GT(good_ones, 0);
    EXPECT_GT(bad_ones, 0);
}

TEST(HostileServer, SendsRandomBytesAfterTheHandshake) {
    std::mt19937 random(2);
    ScriptedServer server([&](Peer& peer) {
        peer.accept();
        ByteVector noise(random() % 400);
        for (std::uint8_t& byte : noise) byte = static_cast<std::uint8_t>(random());
        if (!noise.empty() && random() % 2 == 0) noise[0] = final_binary;
        peer.send_raw(noise);
        peer.end_sending();
        peer.wait_until_client_ends();
    });
    PolicyClient client(server.uri(), quiet_options());
    for (int i = 0; i < 300; ++i) {
        client.connect();
        expect_throw<ConnectionError>([&] { client.get_obs(); }, {server.uri().c_str()});
    }
}

}  // namespace
}  // namespace chiral::test
