// SPDX-License-Identifier: Apache-2.0
// TLS: what goes through it, whom a client trusts, and what is said when it cannot be had.
#include "client/tls.hpp"
#include "access_support.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <fstream>
#include <future>
#include <iterator>
#include <numeric>

namespace chiral::test {
namespace {

using wire::RequestType;
using wire::ResponseType;

Observation golden_observation() {
    const std::string path = std::string(CHIRAL_VECTORS) + "/server_obs_response.bin";
    std::ifstream file(path, std::ios::binary);
    const ByteVector bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    wire::Response response;
    wire::decode_response(bytes, response);
    return response.result.obs;
}

void expect_same(const Observation& got, const Observation& expected) {
    EXPECT_EQ(got.timestamp, expected.timestamp);
    ASSERT_EQ(got.cameras.size(), expected.cameras.size());
    for (std::size_t i = 0; i < expected.cameras.size(); ++i) {
        EXPECT_EQ(got.cameras[i].name, expected.cameras[i].name);
        EXPECT_EQ(got.cameras[i].image_shape, expected.cameras[i].image_shape);
        EXPECT_TRUE(got.cameras[i].image == expected.cameras[i].image) << "pixels of " << expected.cameras[i].name;
        EXPECT_TRUE(got.cameras[i].depth_data == expected.cameras[i].depth_data) << "depths of " << expected.cameras[i].name;
    }
    ASSERT_EQ(got.proprios.size(), expected.proprios.size());
    for (std::size_t i = 0; i < expected.proprios.size(); ++i) EXPECT_EQ(got.proprios[i].data, expected.proprios[i].data);
}

TEST(Tls, BringsTheGoldenObservationPixelForPixel) {
    TestAuthority authority;
    const Observation golden = golden_observation();
    ASSERT_FALSE(golden.cameras.empty());
    Served<HookedServer> served(one_small_camera(), {}, with_tls(authority.issue(), kToken), [&](HookedServer& server) {
        server.on_get_obs = [&] { return golden; };
        server.on_metadata = [] { return InfoMap{{"robot", "arm"}}; };
    });
    PolicyClient client(address("wss", served->port()), client_options(authority.ca_file(), kToken));
    client.connect();
    EXPECT_EQ(client.get_metadata(), (InfoMap{{"robot", "arm"}}));
    expect_same(client.get_obs(), golden);
    EXPECT_EQ(client.step(numbered_action(1)).obs.cameras.size(), golden.cameras.size());
    client.close();
    EXPECT_TRUE(served.log.wait_for("closed"));
    client.connect();
    expect_same(client.get_obs(), golden);
    EXPECT_EQ(served->stats().protocol_errors, 0u);
    EXPECT_EQ(served.log.count("s3cret"), 0u);
}

TEST(Tls, KeepsTheTokenNeeded) {
    TestAuthority authority;
    Served<HookedServer> served(one_small_camera(), {}, with_tls(authority.issue(), kToken));
    expect_parts(failure_of_connect(address("wss", served->port()), client_options(authority.ca_file(), "wrong")),
                 {"HTTP 401"});
}

std::vector<CameraConfig> large_camera() { return {camera("wide", 1500, 2000, 3, false)}; }

void publish_pattern(HookedServer& server, std::vector<std::uint8_t>& image) {
    image.resize(1500 * 2000 * 3);
    for (std::size_t i = 0; i < image.size(); ++i) image[i] = static_cast<std::uint8_t>(i * 2654435761u >> 13);
    ASSERT_TRUE(server.update_image(0, image.data(), image.size()).ok());
}

TEST(Tls, CarriesLargeObservationsAndActionsAtTheSameTime) {
    TestAuthority authority;
    Watched<std::vector<float>> applied;
    Served<HookedServer> served(large_camera(), {}, with_tls(authority.issue()), [&](HookedServer& server) {
        server.on_action = [&](const Action& action) {
            applied.change([&](auto& values) { values.push_back(action.data[0]); });
        };
    });
    std::vector<std::uint8_t> image;
    publish_pattern(*served, image);
    PolicyClient client(address("wss", served->port()), client_options(authority.ca_file()));
    client.connect();
    constexpr int actions = 200;
    auto acting = std::async(std::launch::async, [&] {
        for (int i = 0; i < actions; ++i) client.apply_action(numbered_action(static_cast<float>(i)));
    });
    Observation obs;
    for (int i = 0; i < 10; ++i) {
        client.get_obs(obs);
        ASSERT_EQ(obs.cameras.at(0).image.size(), image.size());
        ASSERT_EQ(std::memcmp(std::as_const(obs.cameras[0].image).data(), image.data(), image.size()), 0);
    }
    acting.get();
    std::vector<float> expected(actions);
    std::iota(expected.begin(), expected.end(), 0.f);
    EXPECT_TRUE(applied.wait([&](const auto& values) { return values == expected; }));
}

// TLS on a RawClient's socket, for tests that decide what is read when.
class TlsOver {
public:
    explicit TlsOver(RawClient& client) : context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free), ssl_(nullptr, SSL_free) {
        ssl_.reset(SSL_new(context_.get()));
        const timeval deadline{kDeadline.count(), 0};
        ::setsockopt(client.descriptor(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
        ::setsockopt(client.descriptor(), SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
        SSL_set_fd(ssl_.get(), client.descriptor());
        if (SSL_connect(ssl_.get()) != 1) throw std::runtime_error("no TLS handshake");
    }
    void send(const ByteVector& bytes) {
        if (SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) <= 0)
            throw std::runtime_error("nothing sent");
    }
    ByteVector receive(std::size_t size) {
        ByteVector bytes(size);
        for (std::size_t have = 0; have < size;) {
            const int got = SSL_read(ssl_.get(), bytes.data() + have, static_cast<int>(size - have));
            if (got <= 0) throw std::runtime_error("the connection ended, or nothing came");
            have += static_cast<std::size_t>(got);
        }
        return bytes;
    }
    void open_websocket() {
        send(bytes_of(RawClient::handshake_request()));
        std::string head;
        while (!head.ends_with("\r\n\r\n")) head += static_cast<char>(receive(1)[0]);
        if (!head.starts_with("HTTP/1.1 101")) throw std::runtime_error(head);
    }

private:
    std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
    std::unique_ptr<SSL, void (*)(SSL*)> ssl_;
};

TEST(Tls, AnActionBehindAnUnreadObservationIsAppliedAtOnce) {
    TestAuthority authority;
    Watched<std::vector<float>> applied;
    Served<HookedServer> served(large_camera(), {}, with_tls(authority.issue()), [&](HookedServer& server) {
        server.on_action = [&](const Action& action) {
            applied.change([&](auto& values) { values.push_back(action.data[0]); });
        };
    });
    std::vector<std::uint8_t> image;
    publish_pattern(*served, image);
    RawClient raw(served->port(), 4096);
    TlsOver client(raw);
    client.open_websocket();
    client.send(websocket_frame(RawClient::kBinary, request(RequestType::obs_request)));
    // What kind of frame comes, and how long it is.
    const auto read_head = [&] {
        const ByteVector head = client.receive(2);
        std::size_t size = head[1];
        if (size >= 126) {
            const ByteVector length = client.receive(size == 126 ? 2 : 8);
            size = 0;
            for (const std::uint8_t byte : length) size = size << 8 | byte;
        }
        return std::pair(head[0], size);
    };
    const auto [first, size_of_first] = read_head();
    ASSERT_EQ(first, RawClient::kBinary) << "the first fragment of several";
    for (int i = 0; i < 3; ++i)
        client.send(websocket_frame(RawClient::kBinary, action_message(numbered_action(static_cast<float>(i)))));
    EXPECT_TRUE(applied.wait([](const auto& values) { return values == std::vector<float>{0, 1, 2}; }));
    EXPECT_EQ(served->stats().observations, 0u) << "it was written already: the test has shown nothing";
    ByteVector payload = client.receive(size_of_first);
    constexpr int kLast = 0x80 | RawClient::kContinuation;
    for (int kind = 0; kind != kLast;) {
        const auto [next, size] = read_head();
        const ByteVector fragment = client.receive(size);
        kind = next;
        if (kind == kLast || kind == RawClient::kContinuation)
            payload.insert(payload.end(), fragment.begin(), fragment.end());
    }
    wire::Response response;
    wire::decode_response(payload, response);
    EXPECT_EQ(std::memcmp(std::as_const(response.result.obs.cameras.at(0).image).data(), image.data(), image.size()), 0);
}

// ---- the wrong one of ws:// and wss:// ----

template <class Server>
void expect_serves_over_tls(Served<Server>& served, const std::string& ca_file) {
    PolicyClient client(address("wss", served->port()), client_options(ca_file));
    client.connect();
    EXPECT_EQ(client.get_obs().cameras.size(), 1u);
}

TEST(Tls, APlainClientIsToldToUseIt) {
    TestAuthority authority;
    Served<HookedServer> served(one_small_camera(), {}, with_tls(authority.issue(), kToken));
    expect_parts(failure_of_connect(address("ws", served->port()), client_options({}, kToken)),
                 {"HTTP 400", "speaks TLS only", "wss://"});
    EXPECT_EQ(served->stats().protocol_errors, 1u);
    EXPECT_TRUE(served.log.wait_for("speaks no TLS"));
    RawClient noise(served->port());
    noise.send_bytes(bytes_of("\x01\x02\x03 neither HTTP nor TLS, and long enough to be sure of that\r\n\r\n"));
    noise.read_to_end();
    PolicyClient client(address("wss", served->port()), client_options(authority.ca_file(), kToken));
    client.connect();
    EXPECT_EQ(client.get_obs().cameras.size(), 1u);
}

TEST(Tls, AClientThatBeginsItOnAPlainServerIsToldNotTo) {
    TestAuthority authority;
    Served<HookedServer> served;
    expect_parts(failure_of_connect(address("wss", served->port()), client_options(authority.ca_file())),
                 {"does not speak TLS", "ws://"});
    EXPECT_TRUE(served.log.wait_for("begins with TLS"));
    EXPECT_EQ(served->stats().protocol_errors, 1u);
    expect_serves_the_next_client(served);
}

// ---- certificates ----

std::string failure_with(const Identity& identity, const std::string& host = "127.0.0.1", const std::string& trusted = "") {
    TestAuthority authority, other(trusted.empty() ? "nobody" : trusted);
    Served<HookedServer> served(one_small_camera(), {}, with_tls(authority.issue(identity), kToken));
    const std::string failure = failure_of_connect(address("wss", served->port(), host),
                                                   client_options((trusted.empty() ? authority : other).ca_file(), kToken));
    EXPECT_EQ(served->stats().connections + served->stats().refused, 0u) << "the token was sent to a stranger";
    PolicyClient client(address("wss", served->port(), host), [&] {
        ClientOptions options = client_options({}, kToken);
        options.tls_verify = false;
        return options;
    }());
    client.connect();
    EXPECT_EQ(client.get_obs().cameras.size(), 1u) << "the server goes on, and serves those who do not ask who it is";
    return failure;
}

TEST(TlsCertificates, OfStrangersAreRefused) {
    expect_parts(failure_with({}, "127.0.0.1", "another authority"),
                 {"the server's certificate is not trusted", "unable to get local issuer", "its CA is not in tls_ca_file"});
    expect_parts(failure_with({}, "127.0.0.1", "test authority"),  // as when it was made anew
                 {"the server's certificate is not trusted", "signature failure", "its CA is not in tls_ca_file"});
}

TEST(TlsCertificates, MustBeValidNow) {
    Identity expired, future;
    expired.valid_from = -7200;
    expired.valid_until = -3600;
    future.valid_from = 3600;
    future.valid_until = 7200;
    expect_parts(failure_with(expired), {"certificate is not trusted", "expired"});
    expect_parts(failure_with(future), {"certificate is not trusted", "not yet valid"});
}

TEST(TlsCertificates, MustBeForTheHostOfTheAddress) {
    Identity robot;
    robot.names = "DNS:robot.lan,IP:10.0.0.7,DNS:*.lab.example";
    expect_parts(failure_with(robot), {"certificate is for 'robot.lan', '10.0.0.7', '*.lab.example', not '127.0.0.1'"});
    expect_parts(failure_with(robot, "localhost"), {"certificate is for 'robot.lan'", "not 'localhost'"});
    Identity name_only;
    name_only.names = "DNS:localhost,DNS:127.0.0.1";
    expect_parts(failure_with(name_only), {"certificate is for", "not '127.0.0.1'"});
    expect_parts(failure_with({}, "localhost"), {"certificate is for '127.0.0.1', not 'localhost'"});
    Identity nameless;
    nameless.names.clear();
    nameless.common_name = "a robot\nof ours";
    expect_parts(failure_with(nameless, "localhost"), {"certificate is for 'a robot?of ours', not 'localhost'"});
}

TEST(TlsCertificates, MayBeForANameOrBeTrustedThemselves) {
    TestAuthority authority;
    Identity name;
    name.names = "DNS:localhost";
    const CertificateFiles files = authority.issue(name);
    Served<HookedServer> served(one_small_camera(), {}, with_tls(files));
    for (const std::string& trusted : {authority.ca_file(), files.certificate}) {
        EXPECT_TRUE(eventually([&] {
            try {
                PolicyClient client(address("wss", served->port(), "localhost"), client_options(trusted));
                return client.connect().get_obs().cameras.size() == 1;
            } catch (const ConnectionError& error) {
                EXPECT_NE(std::string(error.what()).find("HTTP 503"), std::string::npos) << error.what();
                return false;  // the client before is just going
            }
        }));
    }
}

TEST(TlsCertificates, AreThoseOfTheSystemWhereNoFileIsGiven) {
    TestAuthority authority;
    Served<HookedServer> served(one_small_camera(), {}, with_tls(authority.issue()));
    expect_parts(failure_of_connect(address("wss", served->port()), client_options()),
                 {"is not trusted", "give the CA with tls_ca_file"});
}

TEST(TlsCertificates, FilesThatAreNoneAreRefusedByTheClientAtOnce) {
    TestAuthority authority;
    const std::string missing = authority.file("missing.pem"), garbage = authority.file("garbage.pem");
    std::ofstream(garbage) << "no certificate\n";
    for (const std::string& file : {missing, garbage}) {
        PolicyClient client("wss://127.0.0.1:1", client_options(file));
        try {
            client.connect();
            ADD_FAILURE() << "accepted " << file;
        } catch (const std::invalid_argument& error) {
            expect_parts(error.what(), {"tls_ca_file '" + file + "'", file == missing ? "No such file" : "PEM"});
        }
    }
}

TEST(TlsCertificates, AreAskedForByNameButNotByAddress) {
    const client::Tls tls("", true);
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(tls.share(), SSL_CTX_free);
    const auto asked = [&](const std::string& host) {
        const std::unique_ptr<SSL, void (*)(SSL*)> connection(SSL_new(context.get()), SSL_free);
        tls.prepare(connection.get(), host);
        const char* name = SSL_get_servername(connection.get(), TLSEXT_NAMETYPE_host_name);
        return std::string(name != nullptr ? name : "");
    };
    EXPECT_EQ(asked("robot.lan"), "robot.lan");
    EXPECT_EQ(asked("10.0.0.7"), "");
    EXPECT_EQ(asked("::1"), "");
    EXPECT_EQ(asked("fe80::1%eth0"), "");
}

// ---- the server's files ----

TEST(TlsFiles, OfTheServerThatCannotBeUsedAreRefusedAtOnce) {
    TestAuthority authority;
    const CertificateFiles good = authority.issue(), other = authority.issue();
    Identity locked;
    locked.password = "password";
    const CertificateFiles encrypted = authority.issue(locked);
    const std::string missing = authority.file("missing.pem"), garbage = authority.file("garbage.pem");
    std::ofstream(garbage) << "neither\n";
    struct Case {
        CertificateFiles files;
        std::string told;
    };
    for (const Case& bad :
         {Case{{missing, good.key}, "TLS certificate file '" + missing + "' cannot be used: No such file"},
          Case{{garbage, good.key}, "TLS certificate file '" + garbage + "' cannot be used"},
          Case{{good.certificate, missing}, "TLS private key file '" + missing + "' cannot be used: No such file"},
          Case{{good.certificate, garbage}, "TLS private key file '" + garbage + "' cannot be used"},
          Case{{good.certificate, other.key}, "TLS private key file '" + other.key + "' cannot be used"},
          Case{encrypted, "TLS private key file '" + encrypted.key + "' cannot be used"}}) {
        LogBook log;
        ServerOptions options = quiet(log);
        with_tls(bad.files)(options);
        HookedServer server(one_small_camera(), {}, "127.0.0.1", 0, options);
        for (const bool run : {true, false}) {
            try {
                run ? server.run() : server.serve();
                ADD_FAILURE() << "served with " << bad.told;
            } catch (const std::system_error& error) {
                expect_parts(error.what(), {bad.told});
            }
        }
    }
}

TEST(TlsFiles, ComeInPairs) {
    TestAuthority authority;
    const CertificateFiles files = authority.issue();
    for (const CertificateFiles& half : {CertificateFiles{files.certificate, ""}, CertificateFiles{"", files.key}}) {
        LogBook log;
        ServerOptions options = quiet(log);
        with_tls(half)(options);
        try {
            HookedServer server(one_small_camera(), {}, "127.0.0.1", 0, options);
            ADD_FAILURE() << "accepted";
        } catch (const std::invalid_argument& error) {
            expect_parts(error.what(), {"tls_certificate_file and tls_private_key_file, or neither"});
        }
    }
}

// ---- those who do not finish ----

ByteVector begun_tls() { return {22, 3, 1, 2, 0, 1, 0, 1, 0xfc}; }  // a record of 512 bytes, of which 4 come

TEST(Tls, AHandshakeThatStallsIsDroppedAndOneThatHasTimeIsNot) {
    TestAuthority authority;
    const CertificateFiles files = authority.issue();
    const auto with_timeout = [&](Duration timeout) {
        return [&files, timeout](ServerOptions& options) {
            with_tls(files)(options);
            options.handshake_timeout = timeout;
        };
    };
    Served<HookedServer> hasty(one_small_camera(), {}, with_timeout(std::chrono::milliseconds(300)));
    Served<HookedServer> patient(one_small_camera(), {}, with_timeout(std::chrono::hours(1)));
    RawClient control(patient->port());
    control.send_bytes(begun_tls());
    RawClient silent(hasty->port()), begun(hasty->port());
    begun.send_bytes(begun_tls());
    silent.read_to_end();
    begun.read_to_end();
    EXPECT_TRUE(eventually([&] { return hasty->stats().protocol_errors == 1; }));
    RawClient late(hasty->port());
    TlsOver through(late);  // and then sends no request
    late.read_to_end();
    EXPECT_EQ(hasty->stats().protocol_errors, 1u) << "who says nothing makes no mistake";
    EXPECT_EQ(patient->stats().protocol_errors, 0u) << "the control was dropped, too";
    EXPECT_EQ(patient.log.count("handshake failed"), 0u);
    expect_serves_over_tls(hasty, authority.ca_file());
    expect_serves_over_tls(patient, authority.ca_file());
}

// ---- a server that does not close ----

// Speaks TLS and enough WebSocket to be connected to, reads on, and sends nothing more but a close frame, if it is to.
class SilentTlsServer {
public:
    enum class Closes { never, when_asked, unasked };
    SilentTlsServer(const CertificateFiles& files, Closes closes)
        : context_(SSL_CTX_new(TLS_server_method()), SSL_CTX_free) {
        SSL_CTX_use_certificate_chain_file(context_.get(), files.certificate.c_str());
        SSL_CTX_use_PrivateKey_file(context_.get(), files.key.c_str(), SSL_FILETYPE_PEM);
        listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in where{};
        where.sin_family = AF_INET;
        where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof where;
        if (::bind(listener_, reinterpret_cast<sockaddr*>(&where), size) != 0 || ::listen(listener_, 1) != 0)
            throw std::runtime_error("no port");
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&where), &size);
        port = ntohs(where.sin_port);
        thread_ = std::thread([this, closes] { serve_one(closes); });
    }
    ~SilentTlsServer() {
        ::shutdown(listener_, SHUT_RDWR);
        thread_.join();
        ::close(listener_);
    }
    int port{0};
    Watched<bool> client_has_gone{false};

private:
    void serve_one(Closes closes) {
        const int socket = ::accept(listener_, nullptr, nullptr);
        if (socket < 0) return;
        const std::unique_ptr<SSL, void (*)(SSL*)> ssl(SSL_new(context_.get()), SSL_free);
        SSL_set_fd(ssl.get(), socket);
        char bytes[4096];
        std::string input;
        bool good = SSL_accept(ssl.get()) == 1;
        while (good && input.find("\r\n\r\n") == std::string::npos) {
            const int got = SSL_read(ssl.get(), bytes, sizeof bytes);
            good = got > 0;
            if (good) input.append(bytes, static_cast<std::size_t>(got));
        }
        if (good) {
            const std::string answer =
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Accept: " +
                accept_key(input) + "\r\n\r\n";
            SSL_write(ssl.get(), answer.data(), static_cast<int>(answer.size()));
            constexpr unsigned char close_frame[] = {0x88, 2, 0x03, 0xe8};
            // What the client sends is its close frame; after ours no close_notify follows, and no FIN.
            if (closes == Closes::unasked || (SSL_read(ssl.get(), bytes, sizeof bytes) > 0 && closes == Closes::when_asked))
                SSL_write(ssl.get(), close_frame, sizeof close_frame);
        }
        while (::recv(socket, bytes, sizeof bytes, 0) > 0) {}
        client_has_gone.set(true);
        ::close(socket);
    }
    static std::string accept_key(const std::string& request) {
        const std::string field = "Sec-WebSocket-Key: ";
        const std::string text =
            request.substr(request.find(field) + field.size(), 24) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        unsigned char digest[EVP_MAX_MD_SIZE], base64[64];
        unsigned size = 0;
        EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha1(), nullptr);
        EVP_EncodeBlock(base64, digest, static_cast<int>(size));
        return reinterpret_cast<const char*>(base64);
    }

    std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
    int listener_{-1};
    std::thread thread_;
};

TEST(Tls, CloseOfAClientDoesNotWaitForAServerThatNeverCloses) {
    TestAuthority authority;
    const CertificateFiles files = authority.issue();
    using Closes = SilentTlsServer::Closes;
    for (const Closes closes : {Closes::when_asked, Closes::never, Closes::unasked}) {
        SCOPED_TRACE(static_cast<int>(closes));
        SilentTlsServer server(files, closes);
        ClientOptions options = client_options(authority.ca_file());
        PolicyClient client(address("wss", server.port), options);
        client.connect();
        if (closes == Closes::unasked) {
            EXPECT_TRUE(eventually([&] { return !client.connected(); }));
        }
        client.close();  // would wait for the server until the end of the test
        EXPECT_FALSE(client.connected());
        EXPECT_TRUE(server.client_has_gone.wait([](bool gone) { return gone; }));
    }
}

}  // namespace
}  // namespace chiral::test
