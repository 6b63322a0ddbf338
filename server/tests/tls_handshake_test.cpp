// SPDX-License-Identifier: Apache-2.0
// TLS handshakes of the server: they keep nobody waiting, and strangers no operator; and which of them are refused.
#include "websocket/tls_handshake.hpp"

#include "access_support.hpp"
#include "hello_flood.hpp"
#include "websocket/listener.hpp"
#include "websocket/tls.hpp"

#include <openssl/ssl.h>

#include <atomic>
#include <thread>

namespace chiral::test {
namespace {

using websocket::HandshakeThread;
using websocket::TlsHandshake;
using Priority = HandshakeThread::Priority;

TEST(HandshakeThread, LetsAddressesTakeTurns) {
    Gate gate;
    Watched<std::string> order;
    HandshakeThread thread;
    const OpensAtEnd opens(gate);
    ASSERT_TRUE(thread.push("first", Priority::newcomer, [&] { gate.pass(); }));
    ASSERT_TRUE(gate.reached());
    const auto step = [&](char name) { return [&order, name] { order.change([&](auto& text) { text += name; }); }; };
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(thread.push("flood", Priority::newcomer, step('f')));
    ASSERT_TRUE(thread.push("operator", Priority::newcomer, step('o')));
    ASSERT_TRUE(thread.push("operator", Priority::begun, step('o')));
    gate.open();
    EXPECT_TRUE(order.wait([](const auto& text) { return text.size() == 6; }));
    EXPECT_EQ(order.get(), "fofoff");
}

TEST(HandshakeThread, LetsFewOfOneAddressWait) {
    Gate gate;
    Watched<int> done;
    HandshakeThread thread;
    const OpensAtEnd opens(gate);
    ASSERT_TRUE(thread.push("first", Priority::newcomer, [&] { gate.pass(); }));
    ASSERT_TRUE(gate.reached());
    const auto step = [&] { done.change([](int& count) { ++count; }); };
    for (std::size_t i = 0; i < HandshakeThread::kMostOfOneAddress; ++i)
        EXPECT_TRUE(thread.push("flood", Priority::newcomer, step));
    EXPECT_FALSE(thread.push("flood", Priority::newcomer, step));
    EXPECT_TRUE(thread.push("flood", Priority::begun, step)) << "it has had its signature";
    EXPECT_TRUE(thread.push("operator", Priority::newcomer, step));
    gate.open();
    EXPECT_TRUE(done.wait([](int count) { return count == static_cast<int>(HandshakeThread::kMostOfOneAddress) + 2; }));
}

TEST(HandshakeThread, RestsAsLongAsItWorks) {
    struct Turn {
        TimePoint began, ended;
    };
    Watched<std::vector<Turn>> turns;
    constexpr std::size_t kTurns = 4;
    HandshakeThread thread;
    for (std::size_t i = 0; i < kTurns; ++i)
        ASSERT_TRUE(thread.push("flood", Priority::newcomer, [&turns] {
            const TimePoint began = Clock::now();
            while (Clock::now() - began < std::chrono::milliseconds(5)) {}  // as a signature does
            turns.change([&](auto& all) { all.push_back({began, Clock::now()}); });
        }));
    ASSERT_TRUE(turns.wait([](const auto& all) { return all.size() == kTurns; }));
    const std::vector<Turn> all = turns.get();
    for (std::size_t i = 1; i < kTurns; ++i) {
        const Turn& before = all[i - 1];
        EXPECT_GE(all[i].began - before.ended, before.ended - before.began) << "before turn " << i;
    }
}

// One end of a handshake on an event loop of the test, the other one on a thread.
struct TlsHandshakeTest : ::testing::Test {
    TestAuthority authority;
    boost::asio::io_context io;
    std::unique_ptr<websocket::Tls> tls = [&] {
        AccessOptions access;
        const CertificateFiles files = authority.issue();
        access.tls_certificate_file = files.certificate;
        access.tls_private_key_file = files.key;
        return websocket::make_tls(access);
    }();
    std::optional<net::Link> link;
    std::optional<TlsHandshake::Outcome> outcome;
    std::shared_ptr<TlsHandshake> handshake;
    websocket::Listener listener{io,
                                 [this](net::Link::Socket socket) {
                                     link.emplace(std::move(socket), &tls->context);
                                     handshake = std::make_shared<TlsHandshake>(*link, tls->handshakes);
                                     handshake->start([this](TlsHandshake::Outcome how) { outcome = how; });
                                 },
                                 [](const std::string&) {}};
    std::thread client;

    void SetUp() override {
        listener.open("127.0.0.1", 0);
        listener.start();
    }
    ~TlsHandshakeTest() override {
        listener.close();
        if (client.joinable()) client.join();
    }
    /// Runs the event loop until something is so.
    template <class Condition>
    [[nodiscard]] bool run_until(Condition&& condition) {
        const auto end = std::chrono::steady_clock::now() + kDeadline;
        while (!condition() && std::chrono::steady_clock::now() < end) io.run_one_for(std::chrono::milliseconds(1));
        return condition();
    }
    /// A client that sends and receives a byte behind its handshake.
    void greet() {
        client = std::thread([port = listener.port()] {
            RawClient raw(port);
            const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
            const std::unique_ptr<SSL, void (*)(SSL*)> ssl(SSL_new(context.get()), SSL_free);
            SSL_set_fd(ssl.get(), raw.descriptor());
            ASSERT_EQ(SSL_connect(ssl.get()), 1);
            ASSERT_EQ(SSL_write(ssl.get(), "?", 1), 1);  // may lie in the same segment as the end of the handshake
            char answer = 0;
            ASSERT_EQ(SSL_read(ssl.get(), &answer, 1), 1);
            EXPECT_EQ(answer, '!');
        });
    }
    void expect_greeting() {
        ASSERT_TRUE(run_until([&] { return outcome.has_value(); }));
        ASSERT_EQ(*outcome, TlsHandshake::Outcome::done) << handshake->why();
        char question = 0;
        bool answered = false;
        link->async_read_some(boost::asio::buffer(&question, 1), [&](boost::system::error_code error, std::size_t) {
            ASSERT_FALSE(error) << error.message();
            link->async_write_some(boost::asio::buffer("!", 1),
                                   [&](boost::system::error_code, std::size_t) { answered = true; });
        });
        ASSERT_TRUE(run_until([&] { return answered; }));
        EXPECT_EQ(question, '?');
    }
};

TEST_F(TlsHandshakeTest, GivesTheLinkOnAsIfItHadMadeItItself) {
    greet();
    expect_greeting();
}

TEST_F(TlsHandshakeTest, KeepsTheEventLoopFreeWhileItIsComputed) {
    Gate gate;
    const OpensAtEnd opens(gate);
    ASSERT_TRUE(tls->handshakes.push("other", Priority::newcomer, [&] { gate.pass(); }));  // as if it took so long
    ASSERT_TRUE(gate.reached());
    greet();
    ASSERT_TRUE(run_until([&] { return handshake != nullptr; }));
    // The loop goes on, again and again, and the handshake does not.
    for (int turn = 0; turn < 1000; ++turn) {
        bool ran = false;
        boost::asio::post(io, [&] { ran = true; });
        ASSERT_TRUE(run_until([&] { return ran; }));
    }
    EXPECT_FALSE(outcome.has_value());
    gate.open();
    expect_greeting();
}

TEST_F(TlsHandshakeTest, ThatIsCancelledIsNotComputedAndEnds) {
    const auto gate = std::make_shared<Gate>();  // the thread that passes may do so after the test
    const OpensAtEnd opens(*gate);
    ASSERT_TRUE(tls->handshakes.push("other", Priority::newcomer, [gate] { gate->pass(); }));
    ASSERT_TRUE(gate->reached());
    RawClient raw(listener.port());
    raw.send_bytes(bytes_of(std::string("\x16\x03\x01\x00\x01\x01", 6)));
    ASSERT_TRUE(run_until([&] { return handshake != nullptr; }));
    handshake->cancel();
    boost::system::error_code ignored;
    link->socket().close(ignored);
    gate->open();
    ASSERT_TRUE(run_until([&] { return outcome.has_value(); }));
    EXPECT_EQ(*outcome, TlsHandshake::Outcome::failed);
}

// ---- what is agreed on ----

// Whether TLS 1.2 with just that cipher is agreed on.
bool agrees(int port, const char* cipher) {
    RawClient raw(port);
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    SSL_CTX_set_max_proto_version(context.get(), TLS1_2_VERSION);
    if (SSL_CTX_set_cipher_list(context.get(), cipher) != 1) throw std::runtime_error(std::string("no cipher ") + cipher);
    const std::unique_ptr<SSL, void (*)(SSL*)> ssl(SSL_new(context.get()), SSL_free);
    SSL_set_fd(ssl.get(), raw.descriptor());
    return SSL_connect(ssl.get()) == 1;
}

TEST(TlsCiphers, WithoutForwardSecrecyAreRefused) {
    TestAuthority authority;
    Identity identity;
    identity.rsa = true;
    Served<HookedServer> served(one_small_camera(), {}, with_tls(authority.issue(identity)));
    for (const char* good : {"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"})
        EXPECT_TRUE(agrees(served->port(), good)) << good;
    for (const char* bad : {"AES128-SHA", "AES256-SHA", "AES128-SHA256", "AES256-GCM-SHA384", "ECDHE-RSA-AES128-SHA"})
        EXPECT_FALSE(agrees(served->port(), bad)) << bad;
}

TEST(TlsHandshakes, OfAFloodFromElsewhereDoNotShutTheOperatorOut) {
    TestAuthority authority;
    Identity identity;
    identity.rsa = true;
    Served<HookedServer> served(one_small_camera(), {}, with_tls(authority.issue(identity)));
    const FloodOfHellos flood(served->port(), FloodOfHellos::From::one_address);
    ASSERT_TRUE(flood.waves(1));
    for (int attempt = 1; attempt <= 10; ++attempt)
        EXPECT_TRUE(agrees(served->port(), "ECDHE-RSA-AES128-GCM-SHA256")) << "turned away at attempt " << attempt;
    EXPECT_GT(served->stats().refused, 0u) << "the flood was none";
}

}  // namespace
}  // namespace chiral::test
