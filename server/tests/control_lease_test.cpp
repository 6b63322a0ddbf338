// SPDX-License-Identifier: Apache-2.0
// Who is in control, and what happens when that ends: hooks in their place among the actions, actions of a broken connection
// that are dropped, takeover, and the watch on the age of the last action.
#include "support.hpp"

#include <algorithm>

namespace chiral::test {
namespace {

using wire::RequestType;
using Events = std::vector<std::string>;

void takeover_allowed(ServerOptions& options) { options.allow_takeover = true; }
std::function<void(ServerOptions&)> timeout_of(Duration timeout) {
    return [=](ServerOptions& options) { options.action_timeout = timeout; };
}
constexpr auto no_timeout = [](ServerOptions& options) { options.action_timeout = Duration::zero(); };

bool ends(const Events& events) { return !events.empty() && events.back().starts_with("disconnect"); }
std::ptrdiff_t timeouts_in(const Events& events) { return std::count(events.begin(), events.end(), "timeout"); }

TEST(ControlLease, HooksTellWhoComesAndGoesInTheirPlaceAmongTheActions) {
    Served<HookedServer> served(one_small_camera(), {}, no_timeout);
    for (int client = 0; client < 3; ++client) {
        served->control.set({});
        RawClient raw = served.connect_next();
        for (int i = 1; i <= 3; ++i) raw.send(numbered_action(static_cast<float>(i)));
        raw.close();
        ASSERT_TRUE(served->control.wait(ends));
        const Events events = served->control.get();
        EXPECT_EQ(Events(events.begin(), events.end() - 1), (Events{"connect", "action 1", "action 2", "action 3"}));
        EXPECT_NE(events.back().find("closed by the client (1000)"), std::string::npos) << events.back();
    }
}

TEST(ControlLease, WhatWaitsWhenTheConnectionBreaksIsDropped) {
    Gate gate;
    Served<HookedServer> served(one_small_camera(), {}, no_timeout,
                                [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
    const OpensAtEnd opener(gate);
    RawClient client = served.connect();
    for (int i = 1; i <= 10; ++i) client.send(numbered_action(static_cast<float>(i)));
    ASSERT_TRUE(gate.reached());
    ASSERT_TRUE(eventually([&] { return served->stats().actions_received == 10; }));
    client.reset();
    ASSERT_TRUE(served.log.wait_for("gone"));
    gate.open();
    ASSERT_TRUE(served->control.wait(ends));
    const Events events = served->control.get();
    EXPECT_EQ(Events(events.begin(), events.end() - 1), (Events{"connect", "action 1"})) << "only what was being executed";
    EXPECT_EQ(served->stats().actions_dropped, 9u);
    EXPECT_EQ(served->stats().actions_applied, 1u);
    expect_serves_the_next_client(served);
}

TEST(ControlLease, AStepAndAResetThatWaitWhenTheConnectionBreaksCallNoHook) {
    Gate gate;
    Served<HookedServer> served(one_small_camera(), {}, no_timeout,
                                [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
    const OpensAtEnd opener(gate);
    RawClient client = served.connect();
    client.send(numbered_action(1));
    ASSERT_TRUE(gate.reached());
    ByteVector step;
    wire::encode_legacy_action(numbered_action(2), step);
    client.send(step);
    client.send(RequestType::reset);
    ASSERT_TRUE(eventually([&] { return served->stats().actions_received == 2; }));
    client.reset();
    ASSERT_TRUE(served.log.wait_for("gone"));
    gate.open();
    ASSERT_TRUE(served->control.wait(ends));
    EXPECT_EQ(served->calls.get(), Events{"apply_action"});
    expect_serves_the_next_client(served);
}

TEST(ControlLease, TakeoverIsRefusedUnlessItIsAllowed) {
    Served<HookedServer> served(one_small_camera(), {}, no_timeout);
    RawClient first = served.connect();
    RawClient second(served->port());
    const RawClient::HttpAnswer answer = second.handshake("/?takeover=1");
    EXPECT_EQ(answer.status, 403);
    EXPECT_NE(answer.body.find("does not let a client take over"), std::string::npos) << answer.body;
    EXPECT_EQ(first.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    EXPECT_EQ(served->stats().refused, 1u);
    // Where there is nobody to take over from, who asks for it is a client like any other.
    first.close();
    EXPECT_TRUE(eventually([&] { return RawClient(served->port()).handshake("/?takeover=1").status == 101; }));
}

TEST(ControlLease, WhoDoesNotAskForTakeoverIsTurnedAwayThoughItIsAllowed) {
    Served<HookedServer> served(one_small_camera(), {}, takeover_allowed);
    RawClient first = served.connect();
    for (const char* target : {"/", "/?takeover=0", "/?other=1"})
        EXPECT_EQ(RawClient(served->port()).handshake(target).status, 503);
    EXPECT_EQ(first.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
}

TEST(ControlLease, TakeoverEndsTheFirstLeaseBeforeTheSecondBegins) {
    Gate gate;
    Served<HookedServer> served(
        one_small_camera(), {},
        [](ServerOptions& options) {
            takeover_allowed(options);
            no_timeout(options);
        },
        [&](HookedServer& server) {
            server.on_action = [&](const Action& action) {
                if (action.data[0] < 10) gate.pass();
            };
        });
    const OpensAtEnd opener(gate);
    RawClient first = served.connect();
    for (int i = 1; i <= 5; ++i) first.send(numbered_action(static_cast<float>(i)));
    ASSERT_TRUE(gate.reached());
    ASSERT_TRUE(eventually([&] { return served->stats().actions_received == 5; }));

    RawClient second(served->port());
    ASSERT_EQ(second.handshake("/?takeover=1").status, 101);
    const RawClient::Frame goodbye = first.receive();
    EXPECT_EQ(goodbye.opcode, RawClient::kClose);
    EXPECT_EQ(goodbye.close_code(), 1008);
    EXPECT_EQ(goodbye.close_reason(), "another client has taken over");
    first.send(numbered_action(6));  // too late
    second.send(numbered_action(10));
    gate.open();
    ASSERT_TRUE(served->control.wait([](const Events& events) { return !events.empty() && events.back() == "action 10"; }));
    EXPECT_EQ(served->control.get(),
              (Events{"connect", "action 1", "disconnect: another client has taken over", "connect", "action 10"}));
    EXPECT_EQ(served->stats().actions_dropped, 4u);
    EXPECT_EQ(second.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    first.reset();
    EXPECT_EQ(second.ask(RequestType::obs_request).type, wire::ResponseType::obs_response)
        << "the end of the first ends only itself";
}

TEST(ControlLease, ABrokenHandshakeTakesNothingOver) {
    Served<HookedServer> served(one_small_camera(), {}, takeover_allowed);
    RawClient first = served.connect();
    for (const char* field : {"Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 12"}) {
        RawClient second(served->port());
        EXPECT_NE(second.handshake("/?takeover=1", std::string(field) + "\r\n").status, 101);
    }
    EXPECT_EQ(first.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
}

TEST(ControlLease, TakingOverAgainAndAgainLeavesOneInControlAndNothingBehind) {
    Served<HookedServer> served(one_small_camera(), {}, takeover_allowed);
    std::vector<RawClient> clients;
    for (int i = 0; i < 50; ++i) {
        clients.emplace_back(served->port());
        ASSERT_EQ(clients.back().handshake("/?takeover=1").status, 101);
        clients.back().send(numbered_action(static_cast<float>(i)));
    }
    EXPECT_EQ(clients.back().ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    clients.back().close();
    // Who was gone again before the action thread came to it was never met.
    ASSERT_TRUE(served->control.wait(
        [](const Events& events) { return std::count(events.begin(), events.end(), "action 49") == 1 && ends(events); }));
    int inside = 0;
    for (const std::string& event : served->control.get()) {
        const int expected = event == "connect" ? 0 : 1;
        EXPECT_EQ(inside, expected) << event;
        inside += event == "connect" ? 1 : event.starts_with("disconnect") ? -1 : 0;
    }
    EXPECT_EQ(inside, 0);
}

TEST(ControlLease, OfAClientThatHasGoneIsNotHeldUpByAnOnDisconnectThatThrows) {
    Served<HookedServer> served(one_small_camera(), {}, timeout_of(Duration::zero()), [](HookedServer& server) {
        server.on_control = [](const std::string& event) {
            if (event.starts_with("disconnect")) throw std::runtime_error("no " + event);
        };
    });
    RawClient client = served.connect();
    client.send(numbered_action(1));
    EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    client.close();
    EXPECT_TRUE(served.log.wait_for("on_disconnect() failed: no disconnect"));
    EXPECT_EQ(served->stats().hook_errors, 1u);
    expect_serves_the_next_client(served);
}

/// It knows what to do when no action comes, and nothing of clients. Negative actions fail.
class HoldingRobot : public OpenServer {
public:
    using OpenServer::OpenServer;
    void apply_action(const Action& action) override {
        events.change([&](Events& seen) { seen.push_back("action"); });
        if (action.data[0] < 0) throw std::runtime_error("motor off");
    }
    void on_action_timeout() override {
        events.change([](Events& seen) { seen.push_back("hold"); });
    }
    Watched<Events> events;
};

TEST(ARobotThatOnlyHolds, HoldsWhenItsClientIsGoneHoweverThatCame) {
    using End = void (*)(Served<HoldingRobot>&, RawClient&);
    const std::pair<const char*, End> ends[] = {
        {"it leaves", [](auto&, RawClient& client) { client.close(); }},
        {"it breaks", [](auto&, RawClient& client) { client.reset(); }},
        {"a hook throws", [](auto&, RawClient& client) { client.send(numbered_action(-1)); }},
        {"the server stops", [](auto& served, RawClient&) { served->stop(); }},
    };
    for (const auto& [how, end] : ends) {
        Served<HoldingRobot> served(one_small_camera(), {}, timeout_of(std::chrono::hours(1)));
        RawClient client = served.connect();
        client.send(numbered_action(1));
        ASSERT_TRUE(served->events.wait([](const Events& seen) { return seen == Events{"action"}; }));
        end(served, client);
        EXPECT_TRUE(served->events.wait([](const Events& seen) { return !seen.empty() && seen.back() == "hold"; })) << how;
        EXPECT_EQ(served->stats().action_timeouts, 0u) << "and no time-out was waited for";
    }
}

TEST(ActionTimeout, IsCalledOnceAfterTheLastActionAndAgainOnlyAfterTheNext) {
    Served<HookedServer> served(one_small_camera(), {}, timeout_of(std::chrono::milliseconds(50)));
    // The control is silent in another way: it has never sent an action.
    Served<HookedServer> control(one_small_camera(), {}, timeout_of(std::chrono::milliseconds(50)));
    RawClient silent = control.connect();
    RawClient client = served.connect();
    for (int round = 1; round <= 3; ++round) {
        client.send(numbered_action(static_cast<float>(round)));
        ASSERT_TRUE(served->control.wait([&](const Events& events) { return timeouts_in(events) == round; }));
        EXPECT_EQ(served->control.get().back(), "timeout") << "after the action";
    }
    EXPECT_EQ(served->stats().action_timeouts, 3u);
    EXPECT_EQ(control->stats().action_timeouts, 0u) << "a client that has not begun is not late";
    EXPECT_GT(served->stats().longest_timeout_delay, Duration::zero());
    RecordProperty(
        "longest_timeout_delay_us",
        std::to_string(
            std::chrono::duration_cast<std::chrono::microseconds>(served->stats().longest_timeout_delay).count()));
    client.close();
    ASSERT_TRUE(served->control.wait(ends));
    EXPECT_EQ(timeouts_in(served->control.get()), 3) << "who has gone is not late either: on_disconnect() says it";
}

TEST(ActionTimeout, ComesNoEarlierThanConfigured) {
    const auto timeout = std::chrono::milliseconds(60);
    Watched<std::vector<TimePoint>> times;
    Served<HookedServer> served(one_small_camera(), {}, timeout_of(timeout), [&](HookedServer& server) {
        server.on_control = [&](const std::string& event) {
            if (event == "timeout") times.change([](auto& list) { list.push_back(Clock::now()); });
        };
    });
    RawClient client = served.connect();
    for (std::size_t round = 1; round <= 5; ++round) {
        const TimePoint sent = Clock::now();
        client.send(numbered_action(1));
        ASSERT_TRUE(times.wait([&](const auto& list) { return list.size() == round; }));
        EXPECT_GE(times.get().back() - sent, timeout);
    }
}

TEST(ActionTimeout, DoesNotComeWhileActionsWaitForTheRobot) {
    Gate gate;
    Served<HookedServer> served(one_small_camera(), {}, timeout_of(std::chrono::milliseconds(20)),
                                [&](HookedServer& server) {
                                    server.on_action = [&](const Action& action) {
                                        if (action.data[0] == 1) gate.pass();
                                    };
                                });
    Served<HookedServer> control(one_small_camera(), {}, timeout_of(std::chrono::milliseconds(20)));
    const OpensAtEnd opener(gate);
    RawClient client = served.connect();
    client.send(numbered_action(1));
    client.send(numbered_action(2));
    ASSERT_TRUE(gate.reached());
    // The control measures time: three timeouts of an idle client pass.
    RawClient idle = control.connect();
    for (int round = 1; round <= 3; ++round) {
        idle.send(numbered_action(1));
        ASSERT_TRUE(control->control.wait([&](const Events& events) { return timeouts_in(events) == round; }));
    }
    EXPECT_EQ(served->stats().action_timeouts, 0u);
    gate.open();
    ASSERT_TRUE(served->control.wait([](const Events& events) { return timeouts_in(events) == 1; }));
    EXPECT_EQ(served->control.get(), (Events{"connect", "action 1", "action 2", "timeout"}));
}

TEST(ActionTimeout, ComesAlthoughActionsThatTheGateRejectsGoOn) {
    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) {
        options.action_timeout = std::chrono::milliseconds(50);
        options.gate.dimension = 7;
    });
    RawClient client = served.connect();
    client.send(numbered_action(1));
    EXPECT_TRUE(eventually([&] {
        client.send(numbered_action(2, 6));
        return served->stats().action_timeouts == 1;
    }));
    EXPECT_GT(served->stats().actions_rejected, 0u);
    EXPECT_EQ(served->control.get(), (Events{"connect", "action 1", "timeout"}));
}

TEST(ActionTimeout, OfZeroNeverComes) {
    Served<HookedServer> served(one_small_camera(), {}, no_timeout);
    Served<HookedServer> control(one_small_camera(), {}, timeout_of(std::chrono::milliseconds(20)));
    RawClient client = served.connect(), timed = control.connect();
    client.send(numbered_action(1));
    for (int round = 1; round <= 3; ++round) {
        timed.send(numbered_action(1));
        ASSERT_TRUE(control->control.wait([&](const Events& events) { return timeouts_in(events) == round; }));
    }
    EXPECT_EQ(served->stats().action_timeouts, 0u);
}

TEST(ActionTimeout, OfAFormerClientIsNotHeldAgainstTheNext) {
    Served<HookedServer> served(one_small_camera(), {}, timeout_of(std::chrono::milliseconds(50)));
    for (int i = 0; i < 20; ++i) {
        RawClient client = served.connect_next();
        client.send(numbered_action(1));
        client.close();
    }
    RawClient last = served.connect_next();
    last.send(numbered_action(1));
    ASSERT_TRUE(served->control.wait([](const Events& events) { return timeouts_in(events) >= 1; }));
    EXPECT_EQ(served->control.get().back(), "timeout");
    const Events events = served->control.get();
    for (std::size_t i = 1; i < events.size(); ++i)
        EXPECT_TRUE(events[i] != "timeout" || events[i - 1] == "action 1")
            << "no timeout without an action of the same client";
}

}  // namespace
}  // namespace chiral::test
