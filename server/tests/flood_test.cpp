// SPDX-License-Identifier: Apache-2.0
// Strangers in numbers: what the client in control is promised holds meanwhile.
#include "access_support.hpp"
#include "raw_http.hpp"
#include "standard_error.hpp"

#include <openssl/ssl.h>

#include <algorithm>
#include <atomic>
#include <deque>

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

// A ClientHello that is one, without a client behind it that goes on.
ByteVector client_hello() {
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    const std::unique_ptr<SSL, void (*)(SSL*)> ssl(SSL_new(context.get()), SSL_free);
    BIO* const out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
    SSL_connect(ssl.get());
    ByteVector bytes(BIO_ctrl_pending(out));
    BIO_read(out, bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
}

// Sends ClientHellos, sixty connections at a time, until it is told to end.
class FloodOfHellos {
public:
    explicit FloodOfHellos(int port) : thread_([this, port] { send_to(port); }) {}
    ~FloodOfHellos() {
        ended_ = true;
        thread_.join();
    }
    [[nodiscard]] bool waves(int at_least) const {
        return eventually([&] { return waves_ >= at_least; });
    }

private:
    void send_to(int port) {
        const ByteVector hello = client_hello();
        while (!ended_) {
            std::deque<RawClient> wave;
            for (int i = 0; i < 60 && !ended_; ++i) try {
                    wave.emplace_back(port);
                    wave.back().send_bytes(hello);
                } catch (const std::system_error&) {  // dropped already: there are too many
                }
            // Until the newest, which is not dropped for another one, has been dealt with: there is always work.
            if (!wave.empty()) wave.back().read_to_end();
            ++waves_;
        }
    }

    std::atomic<bool> ended_{false};
    std::atomic<int> waves_{0};
    std::thread thread_;
};

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
    constexpr int kSteps = 30;
    const auto median_step = [&] {
        std::vector<Duration> took;
        for (int i = 0; i < kSteps; ++i) {
            const TimePoint began = Clock::now();
            client.step(numbered_action(1));
            took.push_back(Clock::now() - began);
        }
        std::nth_element(took.begin(), took.begin() + kSteps / 2, took.end());
        return took[kSteps / 2];
    };
    const Duration alone = median_step();
    {
        const FloodOfHellos flood(served->port());
        ASSERT_TRUE(flood.waves(1));
        const Duration flooded = median_step();
        // Sixty handshakes take some hundreds of times as long as a step.
        EXPECT_LT(flooded, 100 * alone);
        const std::uint64_t timeouts = served->stats().action_timeouts;
        client.apply_action(numbered_action(2));
        EXPECT_TRUE(eventually([&] { return served->stats().actions_applied == 2 * kSteps + 1; }));
        EXPECT_TRUE(eventually([&] { return served->stats().action_timeouts > timeouts; })) << "the watchdog was not called";
    }
    EXPECT_EQ(served->stats().connections, 1u) << "nobody else was let in";
}

}  // namespace
}  // namespace chiral::test
