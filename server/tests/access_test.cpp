// SPDX-License-Identifier: Apache-2.0
// Who may connect: the token, the Origin of web pages, and what is said to those who may not.
#include "websocket/access.hpp"
#include "access_support.hpp"

namespace chiral::test {
namespace {

using websocket::origin_accepted;
using websocket::path_of;
using websocket::token_accepted;

// ---- the token and the Origin as such ----

bool accepted(const std::string& authorization, const std::string& target = "/", const std::string& token = kToken) {
    AccessOptions access;
    access.bearer_token = token;
    return token_accepted(access, {target, "robot", authorization, ""});
}

TEST(AccessToken, IsAcceptedOnlyIfEveryCharacterIsRight) {
    EXPECT_TRUE(accepted("Bearer " + kToken));
    for (std::size_t i = 0; i < kToken.size(); ++i) {
        for (int bit = 0; bit < 8; ++bit) {
            std::string wrong = kToken;
            wrong[i] = static_cast<char>(wrong[i] ^ 1 << bit);
            EXPECT_FALSE(accepted("Bearer " + wrong)) << i << ", bit " << bit;
        }
        EXPECT_FALSE(accepted("Bearer " + kToken.substr(0, i))) << "the first " << i;
        EXPECT_FALSE(accepted("Bearer " + kToken.substr(i + 1))) << "all but the first " << i + 1;
    }
    for (const std::string& wrong :
         {kToken + "x", kToken + kToken, " " + kToken, kToken + " ", kToken + std::string(1, '\0')})
        EXPECT_FALSE(accepted("Bearer " + wrong)) << wrong;
}

TEST(AccessToken, ComesWithItsSchemeInWhateverCase) {
    for (const char* scheme : {"bearer ", "BEARER ", "bEaReR "}) EXPECT_TRUE(accepted(scheme + kToken));
    for (const char* scheme : {"", "Bearer", "Basic ", "Bearer\t", "Bearer  "})
        EXPECT_FALSE(accepted(scheme + kToken)) << scheme;
    EXPECT_FALSE(accepted("Bearer "));
    EXPECT_FALSE(accepted(""));
}

TEST(AccessToken, MayComeInTheQueryWhereNoHeaderBringsOne) {
    EXPECT_TRUE(accepted("", "/?access_token=" + kToken));
    EXPECT_TRUE(accepted("", "/observe?takeover=0&access_token=s3cret%2DToke%6E"));
    EXPECT_TRUE(accepted("Basic something", "/?access_token=" + kToken));
    EXPECT_FALSE(accepted("", "/?access_token="));
    EXPECT_FALSE(accepted("", "/?access_token"));
    EXPECT_FALSE(accepted("", "/?access_token=" + kToken + "%00"));
    EXPECT_FALSE(accepted("", "/?Access_token=" + kToken));
    EXPECT_FALSE(accepted("", "/access_token=" + kToken));
    EXPECT_FALSE(accepted("Bearer wrong", "/?access_token=" + kToken)) << "the header decides";
}

TEST(AccessToken, IsNotAskedForWhereThereIsNone) {
    EXPECT_TRUE(accepted("", "/", ""));
    EXPECT_TRUE(accepted("Bearer any", "/?access_token=any", ""));
}

bool page_accepted(const std::string& origin, const std::string& host) {
    AccessOptions access;
    access.allowed_origins = {"https://lab.example", "http://127.0.0.1:3000"};
    return origin_accepted(access, {"/", host, "", origin});
}

TEST(AccessOrigin, IsThatOfTheServersOwnPageOrOneOfTheList) {
    EXPECT_TRUE(page_accepted("", "robot:8765")) << "not a browser";
    EXPECT_TRUE(page_accepted("http://robot:8765", "robot:8765"));
    EXPECT_TRUE(page_accepted("https://Robot:8765", "robot:8765"));
    EXPECT_TRUE(page_accepted("https://lab.example", "robot:8765"));
    EXPECT_TRUE(page_accepted("HTTPS://LAB.example", "robot:8765"));
    EXPECT_TRUE(page_accepted("http://127.0.0.1:3000", "robot:8765"));
    for (const char* foreign : {"https://evil.example", "http://robot", "http://robot:8766",
                                "http://robot:8765.evil.example", "http://lab.example", "https://lab.example:444",
                                "https://lab.example.evil", "null", "robot:8765", "http://127.0.0.1"})
        EXPECT_FALSE(page_accepted(foreign, "robot:8765")) << foreign;
    EXPECT_FALSE(page_accepted("http://", "")) << "no host is nobody's";
}

// A page of a stranger's domain that leads to the robot has the robot for its own host.
TEST(AccessOrigin, OfADomainThatMayBeAStrangersNeedsATokenOrTheList) {
    for (const char* host : {"evil.example:8765", "evil.example", "local", "127.0.0.1.evil.example", "x.locals", ".local"}) {
        const bool nobodys = std::string(host) == "local";  // one label is no domain
        EXPECT_EQ(page_accepted("http://" + std::string(host), host), nobodys) << host;
        AccessOptions with_token;
        with_token.bearer_token = kToken;
        const std::string origin = "http://" + std::string(host);
        EXPECT_TRUE(origin_accepted(with_token, {"/", host, "", origin})) << host;
    }
    for (const char* host : {"127.0.0.1:8765", "10.0.0.7", "[::1]:8765", "[fe80::1]", "localhost:8765", "robot",
                             "robot.local:8765", "Robot.LOCAL"})
        EXPECT_TRUE(page_accepted("http://" + std::string(host), host)) << host;
    EXPECT_TRUE(page_accepted("https://lab.example", "lab.example")) << "it is in the list";
}

TEST(AccessPath, IsWhatFollowsTheAuthorityAndPrecedesTheQuery) {
    EXPECT_EQ(path_of("/observe?access_token=/x://y"), "/observe");
    EXPECT_EQ(path_of("http://robot:8765/observe?x=1"), "/observe");
    EXPECT_EQ(path_of("http://robot:8765"), "/");
    EXPECT_EQ(path_of("http://robot?x=/healthz"), "/");
    EXPECT_EQ(path_of("/a://b/c"), "/a://b/c");
    EXPECT_EQ(path_of("*"), "*");
    EXPECT_EQ(path_of(""), "");
}

TEST(Access, WhoMeansToObserveDoesNotGetControlByASlip) {
    Served<HookedServer> served;
    for (const char* target : {"/observe/", "http://127.0.0.1/observe", "http://robot:1/observe/?x=1"}) {
        RawClient client(served->port());
        EXPECT_TRUE(eventually([&] {
            client = RawClient(served->port());
            return client.handshake(target).status == 101;
        })) << target;
    }
    for (const char* target : {"/observer", "/observe/left", "/observe2?x"})
        EXPECT_EQ(RawClient(served->port()).handshake(target).status, 404) << target;
    EXPECT_EQ(RawClient(served->port()).handshake("/observe?takeover=1").status, 403);
    EXPECT_EQ(served->stats().connections, 0u);
}

// ---- in the handshake ----

// The answer to a handshake with more fields, as soon as the client before has been let go.
template <class Server>
RawClient::HttpAnswer handshake_with(Served<Server>& served, const std::string& fields, const std::string& target = "/") {
    RawClient::HttpAnswer answer;
    EXPECT_TRUE(eventually([&] {
        RawClient client(served->port());
        answer = client.handshake(target, fields);
        if (answer.status == 101) client.close();
        return answer.status != 503;
    }));
    return answer;
}

TEST(Access, OnlyTheRightTokenOpensTheDoor) {
    Served<HookedServer> served(one_small_camera(), {}, with_token());
    std::uint64_t refused = 0;
    for (const std::string fields : {"", "Authorization: Bearer wrong\r\n", "Authorization: Bearer s3cret-Toke\r\n",
                                     "Authorization: Basic s3cret-Token\r\n"}) {
        const RawClient::HttpAnswer answer = handshake_with(served, fields);
        EXPECT_EQ(answer.status, 401) << fields;
        EXPECT_NE(answer.head.find("WWW-Authenticate: Bearer\r\n"), std::string::npos) << answer.head;
        EXPECT_NE(answer.body.find("asks for a token"), std::string::npos) << answer.body;
        EXPECT_EQ(served->stats().refused, ++refused);
    }
    EXPECT_EQ(handshake_with(served, "", "/?access_token=wrong").status, 401);
    EXPECT_EQ(handshake_with(served, "", "/observe").status, 401);
    EXPECT_EQ(served->stats().connections, 0u);
    EXPECT_EQ(handshake_with(served, "Authorization: Bearer " + kToken + "\r\n").status, 101);
    EXPECT_EQ(handshake_with(served, "", "/?access_token=" + kToken).status, 101);
    EXPECT_EQ(handshake_with(served, "", "/observe?access_token=" + kToken).status, 101);
    EXPECT_TRUE(eventually([&] { return served->stats().connections == 2 && served->stats().observers == 1; }));
    EXPECT_EQ(served.log.count("s3cret"), 0u) << "a token in the log";
}

TEST(Access, PagesOfOtherSitesMayNotConnect) {
    Served<HookedServer> served(one_small_camera(), {},
                                [](ServerOptions& options) { options.access.allowed_origins = {"https://lab.example"}; });
    const RawClient::HttpAnswer answer = handshake_with(served, "Origin: https://evil.example\r\n");
    EXPECT_EQ(answer.status, 403);
    EXPECT_TRUE(served.log.wait_for("origin https://evil.example"));
    EXPECT_EQ(served->stats().refused, 1u);
    EXPECT_EQ(handshake_with(served, "Origin: null\r\n").status, 403);
    EXPECT_EQ(handshake_with(served, "Origin: https://evil.example\r\n", "/observe").status, 403);
    EXPECT_EQ(served->stats().connections, 0u);
    EXPECT_EQ(handshake_with(served, "Origin: http://robot\r\n").status, 101) << "the server's own page";
    EXPECT_EQ(handshake_with(served, "Origin: https://lab.example\r\n").status, 101) << "a page that is allowed";
    EXPECT_EQ(handshake_with(served, "").status, 101) << "not a browser";
}

TEST(Access, AnAllowedPageNeedsTheTokenAllTheSame) {
    Served<HookedServer> served(one_small_camera(), {}, with_token());
    EXPECT_EQ(handshake_with(served, "Origin: http://robot\r\n").status, 401);
    EXPECT_EQ(handshake_with(served, "Origin: http://robot\r\n", "/?access_token=" + kToken).status, 101);
}

// ---- PolicyClient ----

TEST(AccessOfAClient, TakesATokenAndShowsItToNobody) {
    Served<HookedServer> served(one_small_camera(), {}, with_token());
    const std::string uri = address("ws", served->port());
    expect_parts(failure_of_connect(uri, client_options()), {"HTTP 401 Unauthorized", "asks for a token"});
    const std::string wrong = failure_of_connect(uri, client_options({}, "almost-s3cret"));
    expect_parts(wrong, {"HTTP 401"});
    EXPECT_EQ(wrong.find("almost"), std::string::npos) << wrong;
    const std::string in_query = failure_of_connect(uri + "/?access_token=almost-s3cret", client_options());
    expect_parts(in_query, {"HTTP 401", "access_token=..."});
    EXPECT_EQ(in_query.find("almost"), std::string::npos) << in_query;
    PolicyClient client(uri, client_options({}, kToken));
    client.connect();
    EXPECT_EQ(client.get_obs().cameras.size(), 1u);
}

TEST(AccessOfAClient, RefusesATokenThatAHeaderCannotCarry) {
    for (const std::string token : {"two words", "line\r\nEvil: 1", "\xc3\xa4", "\x7f"}) {
        try {
            PolicyClient("ws://robot", client_options({}, token));
            ADD_FAILURE() << "accepted";
        } catch (const std::invalid_argument& error) {
            expect_parts(error.what(), {"bearer_token"});
            EXPECT_EQ(std::string(error.what()).find(token), std::string::npos) << "it shows the token";
        }
    }
}

// ---- the warning ----

TEST(AccessWarning, IsLoudAndOnceForARobotThatEverybodyMayMove) {
    TestAuthority authority;
    const CertificateFiles files = authority.issue();
    const auto warnings = [](const std::string& host, const std::function<void(ServerOptions&)>& adjust) {
        LogBook log;
        ServerOptions options = quiet(log);
        adjust(options);
        HookedServer server(one_small_camera(), {}, host, 0, options);
        server.serve();
        RawClient::connected(server.port()).close();
        server.stop();
        server.wait();
        return log.count("WARNING");
    };
    EXPECT_EQ(warnings("0.0.0.0", [](ServerOptions&) {}), 1u);
    EXPECT_EQ(warnings("127.0.0.1", [](ServerOptions&) {}), 0u);
    EXPECT_EQ(warnings("localhost", [](ServerOptions&) {}), 0u);
    const auto opened = [](const std::function<void(ServerOptions&)>& adjust) {
        LogBook log;
        ServerOptions options = quiet(log);
        adjust(options);
        HookedServer server(one_small_camera(), {}, "0.0.0.0", 0, options);
        server.serve();
        server.stop();
        server.wait();
        return log.count("WARNING");
    };
    EXPECT_EQ(opened(with_token()), 0u);
    EXPECT_EQ(opened(with_tls(files, kToken)), 0u);
    EXPECT_EQ(opened(with_tls(files)), 1u) << "TLS tells the robot nothing about who the client is";
}

}  // namespace
}  // namespace chiral::test
