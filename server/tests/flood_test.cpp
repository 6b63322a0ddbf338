// SPDX-License-Identifier: Apache-2.0
// Strangers in numbers: what the client in control is promised holds meanwhile.
#include "access_support.hpp"
#include "hello_flood.hpp"
#include "raw_http.hpp"
#include "standard_error.hpp"

#include <algorithm>

namespace chiral::test {
namespace {

// ---- a log that nobody reads ----

TEST(RefusedConnections, ThatFillAPipeWhichNobodyReadsHoldUpNeitherActionsNorTheWatchdogNorTheFigures) {
    PipedStandardError piped;
    ServerOptions options;
    options.quiesce = Duration::zero();
    options.max_action_delay = Duration::zero();
    HookedServer server(one_small_camera(), {}, "127.0.0.1", 0, options);
    server.serve();
    RawClient client = RawClient::connected(server.port());
    piped.fill();  // what is said from now on finds no room
    constexpr std::uint64_t kStrangers = 470;
    for (std::uint64_t i = 0; i < kStrangers; ++i) {
        RawClient stranger(server.port());
        EXPECT_EQ(stranger.handshake().status, 503);
    }
    client.send(numbered_action(1));
    EXPECT_TRUE(server.control.wait([](const auto& events) {
        return std::find(events.begin(), events.end(), "timeout") != events.end();
    })) << "the watchdog was not called";
    EXPECT_EQ(server.stats().actions_applied, 1u);
    EXPECT_EQ(get(server.port(), "/healthz").status, 200);
    EXPECT_EQ(server.stats().refused, kStrangers);
    EXPECT_EQ(client.ask(wire::RequestType::obs_request).type, wire::ResponseType::obs_response);
    piped.close_reading_end();  // so that the log ends at once
    server.stop();
    server.wait();
}

// ---- handshakes ----

TEST(TlsHandshakes, OfAFloodKeepNeitherActionsNorTheWatchdogWaiting) {
    TestAuthority authority;
    Identity identity;
    identity.rsa = true;
    Served<HookedServer> served(one_small_camera(), {}, [&](ServerOptions& options) {
        with_tls(authority.issue(identity), kToken)(options);
        options.handshake_timeout = std::chrono::milliseconds(500);  // of those who do not go on: a wave has an end
    });
    PolicyClient client(address("wss", served->port()), client_options(authority.ca_file(), kToken));
    client.connect();
    constexpr int kTimes = 30;
    const auto median = [](auto&& what) {
        std::vector<Duration> took;
        for (int i = 0; i < kTimes; ++i) {
            const TimePoint began = Clock::now();
            what();
            took.push_back(Clock::now() - began);
        }
        std::nth_element(took.begin(), took.begin() + kTimes / 2, took.end());
        return took[kTimes / 2];
    };
    const auto step = [&] { client.step(numbered_action(1)); };
    const Duration handshake = median([&, hello = client_hello()] {
        const Hello one(served->port(), 1, hello);
        EXPECT_TRUE(one.answered());
    });
    const Duration alone = median(step);
    {
        const FloodOfHellos flood(served->port(), FloodOfHellos::From::many_addresses);
        ASSERT_TRUE(flood.waves(1));
        const Duration flooded = median(step);
        // On the network thread a step waits for what is left of a wave, and that is tens of them.
        EXPECT_LT(flooded, 4 * alone + 8 * handshake) << "a step alone " << alone.count() << " ns, a handshake alone "
                                                      << handshake.count() << " ns, a step in the flood " << flooded.count();
        const std::uint64_t timeouts = served->stats().action_timeouts;
        client.apply_action(numbered_action(2));
        EXPECT_TRUE(eventually([&] { return served->stats().actions_applied == 2 * kTimes + 1; }));
        EXPECT_TRUE(eventually([&] { return served->stats().action_timeouts > timeouts; })) << "the watchdog was not called";
    }
    EXPECT_EQ(served->stats().connections, 1u) << "nobody else was let in";
}

}  // namespace
}  // namespace chiral::test
