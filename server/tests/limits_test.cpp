// SPDX-License-Identifier: Apache-2.0
// What one client can take of the server: bounded in connections, bytes, nesting, rate and time.
#include "support.hpp"

#include <deque>
#include <limits>

namespace chiral::test {
namespace {

using wire::RequestType;

// A request whose header has one key more, which a server that does not know it ignores: `packed` is its value.
ByteVector obs_request_with(const ByteVector& packed) {
    ByteVector header = {0x82, 0xa4, 't', 'y', 'p', 'e', 0xab};
    for (const char c : std::string_view("obs_request")) header.push_back(static_cast<std::uint8_t>(c));
    header.insert(header.end(), {0xa1, 'x'});
    header.insert(header.end(), packed.begin(), packed.end());
    ByteVector message;
    for (int i = 0; i < 4; ++i) message.push_back(static_cast<std::uint8_t>(header.size() >> 8 * i));
    message.insert(message.end(), header.begin(), header.end());
    return message;
}
ByteVector nested(std::size_t arrays) {
    ByteVector packed(arrays, 0x91);
    packed.push_back(0xc0);
    return packed;
}
ByteVector binary_of(std::size_t bytes) {
    ByteVector packed = {0xc6};
    for (int i = 3; i >= 0; --i) packed.push_back(static_cast<std::uint8_t>(bytes >> 8 * i));
    packed.resize(packed.size() + bytes);
    return packed;
}

int status_of_healthz(int port) {
    try {
        RawClient client(port);
        client.send_bytes(bytes_of("GET /healthz HTTP/1.1\r\nHost: robot\r\n\r\n"));
        return client.read_http().status;
    } catch (const std::runtime_error&) {
        return 0;  // closed without an answer
    }
}

TEST(Limits, MessagesThatComeTooFastWaitAndNoneIsLost) {
    constexpr std::size_t kPerSecond = 50, kMessages = 75;
    Watched<std::vector<Action>> applied;
    Served<HookedServer> served(
        one_small_camera(), {}, [](ServerOptions& options) { options.max_messages_per_second = kPerSecond; },
        [&](HookedServer& server) {
            server.on_action = [&](const Action& action) {
                applied.change([&](std::vector<Action>& actions) { actions.push_back(action); });
            };
        });
    const double before = std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
    RawClient client = served.connect();
    ByteVector burst;
    for (std::size_t i = 0; i < kMessages; ++i) {
        const ByteVector frame = websocket_frame(RawClient::kBinary, action_message(numbered_action(static_cast<float>(i))));
        burst.insert(burst.end(), frame.begin(), frame.end());
    }
    client.send_bytes(burst);
    ASSERT_TRUE(applied.wait([](const std::vector<Action>& actions) { return actions.size() == kMessages; }));
    const std::vector<Action> actions = applied.get();
    for (std::size_t i = 0; i < kMessages; ++i) EXPECT_EQ(actions[i].data[0], static_cast<float>(i));
    // The server's own stamps. The last message is read in the second second at the earliest.
    EXPECT_GE(actions.back().received_at - before, static_cast<double>(kMessages) / kPerSecond - 1);
    EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
}

TEST(Limits, AFloodOfPingsEndsTheConnectionAndManyOfThemDoNot) {
    constexpr std::size_t kPerSecond = 200;
    Served<HookedServer> served(one_small_camera(), {},
                                [](ServerOptions& options) { options.max_messages_per_second = kPerSecond; });
    const auto pings = [](std::size_t count, std::uint8_t kind) {
        ByteVector burst;
        for (std::size_t i = 0; i < count; ++i) {
            const ByteVector ping = websocket_frame(kind, {});
            burst.insert(burst.end(), ping.begin(), ping.end());
        }
        return burst;
    };
    RawClient client = served.connect();
    client.send_bytes(pings(kPerSecond / 2, RawClient::kPing));
    EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    EXPECT_EQ(served->stats().protocol_errors, 0u);
    for (const std::uint8_t kind : {RawClient::kPing, RawClient::kPong}) {
        RawClient flooding(served->port());
        EXPECT_EQ(flooding.handshake("/observe").status, 101);
        // Whatever second the server counts in, one of them has more than its share.
        flooding.send_bytes(pings(20 * kPerSecond, kind));
        const RawClient::Frame end = flooding.receive_close();
        EXPECT_EQ(end.close_code(), 1008);
        EXPECT_EQ(end.close_reason(), "got more than 200 pings and pongs in a second");
    }
    EXPECT_EQ(served->stats().protocol_errors, 2u);
    EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
}

TEST(Limits, AConnectionAboveTheLimitTakesThePlaceOfTheOldestThatHasNotGotThroughItsHandshake) {
    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) {
        options.max_connections = 4;
        options.handshake_timeout = std::chrono::hours(1);  // the mute ones would stay
    });
    RawClient client = served.connect();
    std::deque<RawClient> mute;
    for (int i = 0; i < 3; ++i) mute.emplace_back(served->port());
    for (int above = 0; above < 5; ++above) {
        mute.emplace_back(served->port());
        mute.front().read_to_end();
        mute.pop_front();
    }
    EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    // Who does get through it is served however many hold the port.
    EXPECT_EQ(status_of_healthz(served->port()), 200);
    mute.pop_front();               // for that one
    for (RawClient& late : mute) {  // the newest of them are still there
        late.handshake("/observe");
        late.disconnect();
    }
    EXPECT_TRUE(eventually([&] { return served->stats().observers == 2; }));
}

TEST(Limits, ClientsThatIgnoreTheCloseOfTheirConnectionKeepNobodyOut) {
    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) {
        options.max_connections = 3;
        options.handshake_timeout = std::chrono::hours(1);  // the closing ones would stay
    });
    std::deque<RawClient> closing;
    for (int i = 0; i < 6; ++i) {
        closing.push_back(served.connect_next());
        closing.back().send_bytes(websocket_frame(RawClient::kBinary, ByteVector{1}));  // no message of ours
        EXPECT_EQ(closing.back().receive().opcode, RawClient::kClose);
    }
    expect_serves_the_next_client(served);
}

TEST(Limits, AClientInControlAndObserversMakeNoRoomForAnybody) {
    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) {
        options.max_connections = 3;
        options.max_observers = 2;
    });
    RawClient client = served.connect();
    std::vector<RawClient> observers;
    for (int i = 0; i < 2; ++i) {
        observers.emplace_back(served->port());
        ASSERT_EQ(observers.back().handshake("/observe").status, 101);
    }
    for (std::uint64_t above = 1; above <= 3; ++above) {
        RawClient dropped(served->port());
        dropped.read_to_end();
        EXPECT_EQ(served->stats().refused, above);
    }
    for (RawClient* one : {&client, &observers[0], &observers[1]})
        EXPECT_EQ(one->ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    observers.pop_back();
    EXPECT_TRUE(eventually([&] { return status_of_healthz(served->port()) == 200; }));
}

TEST(Limits, AMessageThatDoesNotEndIsDroppedAndAClientThatIsAlwaysInOneAndEndsItStays) {
    const auto short_idle = [](ServerOptions& options) {
        options.deaf_timeout = options.idle_timeout = options.handshake_timeout = std::chrono::seconds(1);
    };
    Served<HookedServer> served(one_small_camera(), {}, short_idle), control(one_small_camera(), {}, short_idle);
    // Both send as often as they are pinged, five times in the idle timeout, and leave something begun each time.
    const auto send_at_every_ping = [](RawClient& client, const ByteVector& frame, int times) {
        try {
            while (times > 0) {
                const RawClient::Frame got = client.read_frame();
                if (got.opcode == RawClient::kClose) return;
                if (got.opcode != RawClient::kPing) continue;
                client.send_frame(RawClient::kPong, got.payload);
                client.send_bytes(frame);
                --times;
            }
        } catch (const std::runtime_error&) {
            // the end of the connection
        }
    };
    const ByteVector action = action_message(numbered_action(1));
    const ByteVector beginning = websocket_frame(RawClient::kBinary, std::span(action).first(10), false);
    ByteVector end_and_beginning = websocket_frame(RawClient::kContinuation, std::span(action).subspan(10));
    end_and_beginning.insert(end_and_beginning.end(), beginning.begin(), beginning.end());
    RawClient orderly = control.connect();
    orderly.send_bytes(beginning);
    std::thread other([&] {
        send_at_every_ping(orderly, end_and_beginning, std::numeric_limits<int>::max());
        orderly.disconnect();
    });
    RawClient endless = served.connect();
    endless.send_bytes(beginning);
    send_at_every_ping(endless, websocket_frame(RawClient::kContinuation, {{1}}, false), 100);
    EXPECT_TRUE(served.log.wait_for("does not end a message that it began"));
    // Not before its time either: the control was in its messages for as long.
    EXPECT_GE(control->stats().actions_received, 3u);
    RawClient second(control->port());
    EXPECT_EQ(second.handshake().status, 503);
    EXPECT_EQ(control->stats().connections, 1u);
    control->stop();
    other.join();
    expect_serves_the_next_client(served);
}

TEST(Limits, LinesAboutConnectionsAreBoundedInNumberWhateverComes) {
    constexpr std::uint64_t kConnections = 500;
    Served<HookedServer> served;
    const auto begin = std::chrono::steady_clock::now();
    for (std::uint64_t i = 0; i < kConnections; ++i) {
        RawClient stranger(served->port());
        stranger.send_bytes(bytes_of("no HTTP\r\n\r\n"));
        stranger.read_to_end();
    }
    ASSERT_TRUE(eventually([&] { return served->stats().protocol_errors == kConnections; }));
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - begin).count();
    EXPECT_GT(served.log.count("handshake failed"), 0u);
    EXPECT_LE(served.log.count("handshake failed"), 100u * static_cast<std::size_t>(seconds + 2));
    expect_serves_the_next_client(served);
}

TEST(Limits, AMessageIsAsLargeAsTheOptionsAllowAndNotLarger) {
    constexpr std::size_t kMost = 1000;
    const std::size_t around = obs_request_with(binary_of(0)).size();
    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) { options.max_message_bytes = kMost; });
    RawClient client = served.connect();
    client.send(obs_request_with(binary_of(kMost - around)));
    EXPECT_EQ(client.receive_response().type, wire::ResponseType::obs_response);
    client.send(obs_request_with(binary_of(kMost - around + 1)));
    EXPECT_EQ(client.receive_close().close_code(), 1009);
    // In pieces it is not larger either.
    RawClient next = served.connect_next();
    next.send_frame(RawClient::kBinary, ByteVector(kMost, 1), false);
    next.send_frame(RawClient::kContinuation, {{1}});
    EXPECT_EQ(next.receive_close().close_code(), 1009);
    expect_serves_the_next_client(served);
}

TEST(Limits, TheHeaderOfAMessageIsBoundedInSizeAndNesting) {
    Served<HookedServer> served;
    const auto expect_refused = [&](const ByteVector& message, const std::string& reason) {
        RawClient client = served.connect_next();
        client.send(message);
        const RawClient::Frame end = client.receive_close();
        EXPECT_EQ(end.close_code(), 1007);
        EXPECT_NE(end.close_reason().find(reason), std::string::npos) << end.close_reason();
    };
    const wire::Limits limits;
    const std::size_t around = obs_request_with(binary_of(0)).size() - 4;
    RawClient client = served.connect();
    client.send(obs_request_with(nested(limits.max_depth - 1)));  // the header's map is one level
    EXPECT_EQ(client.receive_response().type, wire::ResponseType::obs_response);
    client.send(obs_request_with(binary_of(limits.max_header_bytes - around)));
    EXPECT_EQ(client.receive_response().type, wire::ResponseType::obs_response);
    client.close();
    expect_refused(obs_request_with(nested(limits.max_depth)), std::to_string(limits.max_depth));
    expect_refused(obs_request_with(nested(500'000)), std::to_string(limits.max_depth));
    expect_refused(obs_request_with(binary_of(limits.max_header_bytes - around + 1)),
                   std::to_string(limits.max_header_bytes));
    expect_serves_the_next_client(served);
}

TEST(Limits, TheHeaderOfAHandshakeIsBounded) {
    Served<HookedServer> served;
    const auto handshake_with = [](std::size_t more) {
        std::string request = RawClient::handshake_request();
        return bytes_of(request.insert(request.size() - 2, "Cookie: " + std::string(more, 'x') + "\r\n"));
    };
    RawClient client(served->port());
    client.send_bytes(handshake_with(7'000));
    EXPECT_EQ(client.read_http().status, 101);
    RawClient verbose(served->port());
    verbose.send_bytes(handshake_with(9'000));
    EXPECT_EQ(verbose.read_http().status, 431);
    verbose.read_to_end();
    EXPECT_TRUE(served.log.wait_for("handshake failed"));
    EXPECT_EQ(served->stats().protocol_errors, 1u);
    EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
}

#ifdef __linux__

TEST(Limits, AClientThatAnswersPingsAndTakesNothingOfAnAnswerIsDropped) {
    const auto short_idle = [](ServerOptions& options) {
        options.deaf_timeout = options.idle_timeout = options.handshake_timeout = std::chrono::seconds(1);
    };
    Served<HookedServer> served({camera("large", 2000, 2000, 3, false)}, {}, short_idle);
    RawClient client = served.connect(4096);
    client.send(RequestType::obs_request);
    // Pings would not get past the answer. It shows all by itself that it lives.
    const ByteVector pong = websocket_frame(RawClient::kPong, {});
    const auto alive = [&] {
        try {
            client.send_bytes(pong);
            return true;
        } catch (const std::system_error&) {
            return false;
        }
    };
    EXPECT_TRUE(eventually([&] { return !alive(); }));
    EXPECT_TRUE(served.log.wait_for("takes no answer"));
    EXPECT_EQ(served->stats().half_open, 0u);
    expect_serves_the_next_client(served);
}

// Has `times` links of a server break, one after the other, and each found.
void break_links(Served<HookedServer>& served, std::uint64_t times) {
    const std::uint64_t before = served->stats().half_open;
    for (std::uint64_t i = 1; i <= times; ++i) {
        RawClient client = served.connect_next();
        client.go_deaf();
        ASSERT_TRUE(eventually([&] { return served->stats().half_open == before + i; })) << "broken link " << i;
    }
}

TEST(HalfOpen, ABrokenLinkIsFoundInTimeWhileAClientThatIsMerelySilentStays) {
    constexpr std::chrono::seconds kHeartbeat{2};
    const auto slow_heart = [&](ServerOptions& options) { options.heartbeat_timeout = kHeartbeat; };
    Served<HookedServer> served(one_small_camera(), {}, slow_heart), control(one_small_camera(), {}, slow_heart);
    RawClient silent = control.connect();  // its kernel acknowledges; it answers nothing
    break_links(served, 2);
    EXPECT_EQ(served->stats().half_open, 2u);
    EXPECT_GT(served->stats().longest_half_open, Duration::zero());
    EXPECT_LE(served->stats().longest_half_open, kHeartbeat);
    RawClient second(control->port());
    EXPECT_EQ(second.handshake().status, 503);
    EXPECT_EQ(control->stats().half_open, 0u);
    EXPECT_EQ(silent.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
}

TEST(HalfOpen, AnObserverWhoseLinkBreaksGivesItsSeatBack) {
    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) {
        options.heartbeat_timeout = std::chrono::milliseconds(500);
        options.max_observers = 1;
    });
    RawClient client = served.connect();
    RawClient observer(served->port());
    ASSERT_EQ(observer.handshake("/observe").status, 101);
    observer.go_deaf();
    EXPECT_TRUE(eventually([&] {
        RawClient next(served->port());
        return next.handshake("/observe").status == 101;
    }));
    EXPECT_EQ(served->stats().half_open, 1u);
    EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
}

TEST(HalfOpen, AClientThatTakesALargeObservationSlowlyIsAlive) {
    const auto quick_heart = [](ServerOptions& options) { options.heartbeat_timeout = std::chrono::milliseconds(300); };
    Served<HookedServer> served({camera("large", 2000, 2000, 3, false)}, {}, quick_heart);
    Served<HookedServer> control(one_small_camera(), {}, quick_heart);
    RawClient slow = served.connect(4096);
    slow.send(RequestType::obs_request);
    // As long as it takes the control to give up five links in a row, it takes a few bytes each time.
    for (int i = 0; i < 5; ++i) {
        slow.take(static_cast<std::size_t>(i) * 5000 + 1);
        break_links(control, 1);
    }
    EXPECT_EQ(served->stats().observations, 0u) << "all of it fitted into the kernel";
    EXPECT_EQ(slow.receive_response().type, wire::ResponseType::obs_response);
    EXPECT_EQ(served->stats().half_open, 0u);
    EXPECT_EQ(control->stats().half_open, 5u);
}

#endif

}  // namespace
}  // namespace chiral::test
