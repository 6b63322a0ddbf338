// SPDX-License-Identifier: Apache-2.0
// One client at a time: who is let in, who is turned away and how, and when the next one gets its turn.
#include "support.hpp"

#include <exception>
#include <optional>
#include <stdexcept>

namespace chiral::test {
namespace {

using wire::RequestType;

TEST(OneClient, ASecondOneIsTurnedAwayWithTheReasonWhileTheFirstGoesOn) {
    Served<HookedServer> served;
    RawClient first = served.connect();
    for (int i = 0; i < 5; ++i) {
        RawClient second(served->port());
        const RawClient::HttpAnswer answer = second.handshake();
        EXPECT_EQ(answer.status, 503);
        EXPECT_NE(answer.body.find("Another client controls this robot"), std::string::npos) << answer.body;
        second.read_to_end();
        EXPECT_EQ(first.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    }
    EXPECT_EQ(served->stats().refused, 5u);
    EXPECT_EQ(served->stats().connections, 1u);
    EXPECT_EQ(served->stats().protocol_errors, 0u);
}

TEST(OneClient, TheReasonReachesASecondClientThatAlreadySendsMore) {
    Served<HookedServer> served;
    RawClient first = served.connect();
    for (int i = 0; i < 20; ++i) {
        RawClient hasty(served->port());
        // Refused as the second one, or for its haste, if all of it arrives at once. Either way it is told.
        ByteVector bytes = bytes_of(RawClient::handshake_request());
        const ByteVector behind = websocket_frame(RawClient::kBinary, ByteVector(100'000, 1));
        bytes.insert(bytes.end(), behind.begin(), behind.end());
        hasty.send_bytes(bytes);
        const int status = hasty.read_http().status;
        EXPECT_TRUE(status == 503 || status == 400) << status;
    }
    EXPECT_EQ(first.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
}

TEST(OneClient, ConnectionsThatSayNothingKeepNobodyOut) {
    Served<HookedServer> served;
    std::vector<RawClient> mute;
    for (int i = 0; i < 20; ++i) mute.emplace_back(served->port());
    RawClient client = served.connect();
    EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
}

TEST(OneClient, ConnectionsThatSayNothingAreDroppedInTheEnd) {
    Served<HookedServer> served(one_small_camera(), {},
                                [](ServerOptions& options) { options.handshake_timeout = std::chrono::milliseconds(50); });
    RawClient client = served.connect();
    RawClient mute(served->port());
    mute.read_to_end();
    RawClient halfway(served->port());
    halfway.send_bytes(bytes_of("GET / HTTP/1.1\r\nHost: ro"));
    halfway.read_to_end();
    EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    EXPECT_TRUE(served.log.wait_for("handshake failed"));
}

TEST(OneClient, TheNextOneGetsInAfterTheFirstHasGone) {
    Served<HookedServer> served;
    const ByteVector message = websocket_frame(RawClient::kBinary, action_message(numbered_action(1, 1000)));
    const std::vector<std::pair<const char*, std::function<void(RawClient&)>>> ways = {
        {"closing", [](RawClient& client) { client.close(); }},
        {"hanging up", [](RawClient& client) { client.disconnect(); }},
        {"a reset", [](RawClient& client) { client.reset(); }},
        {"hanging up in the middle of a message",
         [&](RawClient& client) {
             client.send_bytes(std::span(message).first(message.size() / 2));
             client.disconnect();
         }},
        {"a reset in the middle of a message",
         [&](RawClient& client) {
             client.send_bytes(std::span(message).first(message.size() / 2));
             client.reset();
         }},
        {"a reset with an answer on its way",
         [](RawClient& client) {
             client.send(RequestType::obs_request);
             client.reset();
         }},
        {"a reset between the frames of a message",
         [](RawClient& client) {
             client.send_frame(RawClient::kBinary, ByteVector(10, 1), false);
             client.reset();
         }},
    };
    std::uint64_t connections = 0;
    for (const auto& [name, leave] : ways) {
        SCOPED_TRACE(name);
        RawClient client = served.connect_next();
        EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
        leave(client);
        expect_serves_the_next_client(served);
        connections += 2;
    }
    EXPECT_EQ(served->stats().connections, connections);
    EXPECT_EQ(served->stats().protocol_errors, 0u);
    EXPECT_EQ(served->stats().hook_errors, 0u);
}

TEST(OneClient, TheNextOneGetsInWhileAHookOfTheFirstStillRuns) {
    Gate gate;
    Served<HookedServer> served(
        one_small_camera(), {}, [](ServerOptions&) {},
        [&](HookedServer& server) {
            server.on_reset = [&] {
                gate.pass();
                return std::pair{server.make_obs(), InfoMap{}};
            };
        });
    const OpensAtEnd opener(gate);
    RawClient first = served.connect();
    first.send(RequestType::reset);
    ASSERT_TRUE(gate.reached());
    first.reset();
    RawClient second = served.connect_next();
    EXPECT_EQ(second.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    gate.open();
    // The answer to the first goes to nobody; the second one gets its own.
    EXPECT_EQ(second.ask(RequestType::reset).type, wire::ResponseType::reset_response);
    EXPECT_EQ(served->stats().copied_observations, 0u);
}

TEST(OneClient, ActionsOfAClientThatHasGoneAreStillApplied) {
    Gate gate;
    Watched<int> applied{0};
    Served<HookedServer> served(
        one_small_camera(), {}, [](ServerOptions&) {},
        [&](HookedServer& server) {
            server.on_action = [&](const Action&) {
                gate.pass();
                applied.change([](int& count) { ++count; });
            };
        });
    const OpensAtEnd opener(gate);
    RawClient client = served.connect();
    for (int i = 0; i < 10; ++i) client.send(numbered_action(static_cast<float>(i)));
    client.close();
    gate.open();
    EXPECT_TRUE(applied.wait([](int count) { return count == 10; }));
}

TEST(OneClient, ASilentClientIsDroppedAndOneThatAnswersPingsStays) {
    const auto short_idle = [](ServerOptions& options) {
        options.idle_timeout = options.handshake_timeout = std::chrono::milliseconds(300);  // the latter for the close
    };
    Served<HookedServer> served(one_small_camera(), {}, short_idle), control(one_small_camera(), {}, short_idle);
    RawClient lively = served.connect();
    std::thread pongs([&] {
        while (lively.receive().opcode != RawClient::kClose) {}
        lively.disconnect();
    });
    // The control measures time: three silent clients in a row are dropped, while the lively one stays.
    for (int i = 0; i < 3; ++i) {
        RawClient silent = control.connect_next();
        silent.read_to_end();
    }
    EXPECT_EQ(control->stats().connections, 3u);
    RawClient second(served->port());
    EXPECT_EQ(second.handshake().status, 503);
    served->stop();
    pongs.join();
}

TEST(OneClient, AClientThatTakesNoAnswersIsDropped) {
    const auto short_idle = [](ServerOptions& options) {
        options.deaf_timeout = options.idle_timeout = options.handshake_timeout = std::chrono::milliseconds(300);
    };
    Gate gate;
    Served<HookedServer> served({camera("large", 2000, 2000, 3, false)}, {}, short_idle, [&](HookedServer& server) {
        server.on_get_obs = [&] {
            gate.pass();
            return server.make_obs();
        };
    });
    Served<HookedServer> control(one_small_camera(), {}, short_idle);
    const OpensAtEnd opener(gate);
    // Whoever is as slow as that is dropped, too, and this machine may be busy.
    const auto sooner_or_later = [](const auto& what) {
        return eventually([&] {
            try {
                what();
                return true;
            } catch (const std::exception&) {
                return false;
            }
        });
    };
    std::optional<RawClient> stuck, silent;
    ASSERT_TRUE(sooner_or_later([&] { stuck.emplace(served.connect(4096)); }));
    try {
        for (int i = 0; i < 20; ++i) stuck->send(RequestType::obs_request);
    } catch (const std::system_error&) {}
    ASSERT_TRUE(gate.reached());
    // By the time a silent client of the control is dropped, the server has read as many requests as it takes.
    ASSERT_TRUE(sooner_or_later([&] { silent.emplace(control.connect()); }));
    silent->read_to_end();
    gate.open();
    EXPECT_TRUE(sooner_or_later([&] {
        RawClient next = served.connect_next();
        if (next.ask(RequestType::obs_request).type != wire::ResponseType::obs_response)
            throw std::runtime_error("no observation");
        next.close();
    }));
}

}  // namespace
}  // namespace chiral::test
