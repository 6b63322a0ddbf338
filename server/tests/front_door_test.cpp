// SPDX-License-Identifier: Apache-2.0
// Admission: a request is looked at completely before it takes anything from anybody, control is at / alone, and who says
// nothing has made no mistake.
#include "access_support.hpp"
#include "raw_http.hpp"

namespace chiral::test {
namespace {

using wire::RequestType;
using wire::ResponseType;

void takeover_allowed(ServerOptions& options) { options.allow_takeover = true; }

const std::string kGoodFields =
    "Host: robot\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n";

std::string without(std::string fields, const std::string& name) {
    const std::size_t at = fields.find(name + ": ");
    return fields.erase(at, fields.find('\n', at) + 1 - at);
}

TEST(FrontDoor, ARequestThatIsRefusedTakesControlFromNobody) {
    Served<HookedServer> served(one_small_camera(), {}, takeover_allowed);
    RawClient controller = served.connect();
    ASSERT_EQ(controller.ask(RequestType::obs_request).type, ResponseType::obs_response);
    const std::string take = "GET /?takeover=1 HTTP/1.1\r\n";
    const std::vector<std::string> requests = {
        take + without(kGoodFields, "Host") + "\r\n",
        take + without(kGoodFields, "Upgrade") + "\r\n",
        take + without(kGoodFields, "Connection") + "\r\n",
        take + without(kGoodFields, "Sec-WebSocket-Key") + "\r\n",
        take + without(kGoodFields, "Sec-WebSocket-Version") + "\r\n",
        take + kGoodFields + "Host: robot\r\n\r\n",
        take + kGoodFields + "Content-Length: 4\r\n\r\nbody",
        take + kGoodFields + "\r\ntoo early",
        "GET /?takeover=1 HTTP/1.0\r\n" + kGoodFields + "\r\n",
        "POST /?takeover=1 HTTP/1.1\r\n" + kGoodFields + "\r\n",
    };
    for (const std::string& request : requests) {
        RawClient stranger(served->port());
        stranger.send_bytes(bytes_of(request));
        EXPECT_NE(stranger.read_http().status, 101) << request;
        EXPECT_EQ(controller.ask(RequestType::obs_request).type, ResponseType::obs_response) << request;
    }
    EXPECT_EQ(served->stats().connections, 1u);
    RawClient entitled(served->port());
    EXPECT_EQ(entitled.handshake("/?takeover=1").status, 101) << "the same with nothing wrong";
    EXPECT_EQ(controller.receive_close().close_reason(), "another client has taken over");
}

TEST(FrontDoor, TakeoverIsZeroOrOneAndNothingThatMightMeanEither) {
    Served<HookedServer> served(one_small_camera(), {}, takeover_allowed);
    RawClient controller = served.connect();
    for (const char* value : {"takeover=false", "takeover=no", "takeover=", "takeover", "takeover=true", "takeover=01",
                              "takeover=%30%31", "takeover=2", "takeover=1&takeover=0", "takeover=1&takeover=1"}) {
        const RawClient::HttpAnswer answer = RawClient(served->port()).handshake("/?" + std::string(value));
        EXPECT_EQ(answer.status, 400) << value;
        EXPECT_NE(answer.body.find("takeover=1 or takeover=0"), std::string::npos) << answer.body;
    }
    for (const char* other : {"takeover=0", "Takeover=1", "x=takeover=1", "xtakeover=1"})
        EXPECT_EQ(RawClient(served->port()).handshake("/?" + std::string(other)).status, 503) << other;
    EXPECT_EQ(controller.ask(RequestType::obs_request).type, ResponseType::obs_response);
    RawClient next(served->port());
    EXPECT_EQ(next.handshake("/?x=1&takeover=%31").status, 101);
}

TEST(FrontDoor, ControlIsGivenAtTheRootAlone) {
    Served<HookedServer> served;
    for (const char* target : {"/Observe", "//observe", "/%6fbserve", "/./observe", "/observe/.", "/metrics", "/healthz",
                               "//", "/.", "/control", "/index.html", "*", "http://robot/metrics", "/%2f"}) {
        const RawClient::HttpAnswer answer = RawClient(served->port()).handshake(target);
        EXPECT_EQ(answer.status, 404) << target;
        EXPECT_NE(answer.body.find("/observe"), std::string::npos) << answer.body;
    }
    EXPECT_EQ(served->stats().connections, 0u);
    EXPECT_EQ(RawClient(served->port()).handshake("http://robot:8765/?x").status, 101);
    EXPECT_TRUE(eventually([&] { return served->stats().connections == 1; }));
}

RawClient::HttpAnswer figures_for(int port, const std::string& host, const std::string& fields = "") {
    RawClient client(port);
    client.send_bytes(bytes_of("GET /metrics HTTP/1.1\r\nHost: " + host + "\r\n" + fields + "\r\n"));
    return client.read_http();
}

// A stranger's page asks under its own domain, which leads to the robot now (DNS rebinding).
TEST(FrontDoor, FiguresAreNotShownUnderAStrangersDomain) {
    Served<HookedServer> open(one_small_camera(), {}, [](ServerOptions& options) {
        options.access.allowed_origins = {"http://robot.lab.example:8765"};
    });
    for (const char* host : {"evil.example", "evil.example:8765", "127.0.0.1.evil.example", "robot.lab.example"}) {
        const RawClient::HttpAnswer answer = figures_for(open->port(), host);
        EXPECT_EQ(answer.status, 403) << host;
        EXPECT_EQ(answer.body.find("chiral_"), std::string::npos);
    }
    for (const char* host : {"robot", "127.0.0.1:8765", "[::1]:8765", "robot.local", "robot.lab.example:8765"})
        EXPECT_EQ(figures_for(open->port(), host).status, 200) << host;

    Served<HookedServer> guarded(one_small_camera(), {}, with_token());
    EXPECT_EQ(figures_for(guarded->port(), "evil.example").status, 401);
    EXPECT_EQ(figures_for(guarded->port(), "robot.example", "Authorization: Bearer " + kToken + "\r\n").status, 200);
}

TEST(FrontDoor, FiguresSayWhoControlsAndTheLastObjection) {
    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) { options.gate.dimension = 7; });
    EXPECT_EQ(figures_for(served->port(), "robot").body.find("\nchiral_control_seconds{"), std::string::npos);
    RawClient client = served.connect();
    client.send(numbered_action(1, 3));
    ASSERT_TRUE(eventually([&] { return served->stats().actions_rejected == 1; }));
    const std::string figures = figures_for(served->port(), "robot").body;
    EXPECT_NE(figures.find("\nchiral_control_seconds{peer=\"127.0.0.1:"), std::string::npos) << figures;
    EXPECT_NE(figures.find("\nchiral_last_objection{reason=\"action has shape [1, 3]"), std::string::npos) << figures;
}

TEST(FrontDoor, WhatAStrangerSaysDoesNotReachATerminalAsItIs) {
    Served<HookedServer> served;
    const std::string hostile =
        "http://a\xc2\x9b"
        "2J\xe2\x80\xae.example";
    EXPECT_EQ(RawClient(served->port()).handshake("/", "Origin: " + hostile + "\r\n").status, 403);
    EXPECT_TRUE(served.log.wait_for("origin http://a?2J?.example"));
    RawClient client = served.connect();
    const std::string code = "\x03\xe8";  // 1000
    client.send_bytes(websocket_frame(RawClient::kClose, bytes_of(code + hostile)));
    EXPECT_TRUE(served.log.wait_for("closed by the client (1000): http://a?2J?.example"));
}

// Browsers open connections in advance.
TEST(FrontDoor, AConnectionThatNeverSpokeIsNoProtocolError) {
    TestAuthority authority;
    const CertificateFiles files = authority.issue();
    for (const bool tls : {false, true}) {
        SCOPED_TRACE(tls ? "TLS" : "plain");
        Served<HookedServer> served(one_small_camera(), {}, [&](ServerOptions& options) {
            if (tls) with_tls(files)(options);
            options.handshake_timeout = std::chrono::milliseconds(50);
        });
        RawClient(served->port()).disconnect();
        RawClient(served->port()).reset();
        RawClient(served->port()).read_to_end();  // until the server has had enough
        EXPECT_EQ(served->stats().protocol_errors, 0u);
        RawClient speaks(served->port());
        speaks.send_bytes(bytes_of("\x16"));
        speaks.read_to_end();
        EXPECT_TRUE(eventually([&] { return served->stats().protocol_errors == 1; }));
    }
}

}  // namespace
}  // namespace chiral::test
