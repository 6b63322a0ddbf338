// SPDX-License-Identifier: Apache-2.0
// What the WebSocket port answers to plain HTTP: /healthz, the live page, and what it does not answer. /metrics by itself is in
// metrics_test.cpp.
#include "prometheus_text.hpp"
#include "raw_http.hpp"
#include "support.hpp"

namespace chiral::test {
namespace {

using wire::RequestType;

TEST(Http, HealthIsOkWhileTheServerServes) {
    Served<HookedServer> served;
    for (const char* target : {"/healthz", "/healthz?x=1"}) {
        const RawClient::HttpAnswer answer = get(served->port(), target);
        EXPECT_EQ(answer.status, 200);
        EXPECT_EQ(answer.body, "ok\n");
        EXPECT_EQ(field(answer, "Connection"), "close");
    }
    EXPECT_TRUE(served->calls.get().empty());
    EXPECT_EQ(served->stats().protocol_errors, 0u);
}

TEST(Http, TheLivePageIsOneFileThatAsksNobodyElse) {
    Served<HookedServer> served;
    const RawClient::HttpAnswer answer = get(served->port(), "/?access_token=whatever");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(field(answer, "Content-Type"), "text/html; charset=utf-8");
    EXPECT_EQ(field(answer, "X-Content-Type-Options"), "nosniff");
    EXPECT_NE(answer.body.find("</html>"), std::string::npos);
    EXPECT_NE(answer.body.find("default-src 'none'; script-src 'sha256-"), std::string::npos);
    for (const char* elsewhere : {" src=\"", "@import", "url(", "CHIRAL_SCRIPT_HASH", "CHIRAL_STYLE_HASH", "innerHTML"})
        EXPECT_EQ(answer.body.find(elsewhere), std::string::npos) << elsewhere;
    EXPECT_TRUE(served->calls.get().empty());
}

TEST(Http, HeadIsAnsweredWithoutABody) {
    Served<HookedServer> served;
    for (const char* target : {"/", "/healthz", "/metrics"}) {
        SCOPED_TRACE(target);
        RawClient client(served->port());
        client.send_bytes(bytes_of("HEAD " + std::string(target) + " HTTP/1.1\r\nHost: robot\r\n\r\n"));
        RawClient::HttpAnswer answer;
        answer.head = everything_from(client);
        EXPECT_TRUE(answer.head.starts_with("HTTP/1.1 200 OK\r\n"));
        EXPECT_EQ(answer.head.find("\r\n\r\n"), answer.head.size() - 4);
        // The figures of two looks need not be of the same length.
        const std::string length = field(answer, "Content-Length");
        if (target == std::string("/metrics")) EXPECT_GT(std::stoul(length), 0u);
        else EXPECT_EQ(length, std::to_string(get(served->port(), target).body.size()));
    }
    EXPECT_EQ(served->stats().protocol_errors, 0u);
}

TEST(Http, OtherPathsAndMethodsAreToldWhatThereIs) {
    Served<HookedServer> served;
    std::uint64_t errors = 0;
    for (const char* target : {"/nowhere", "/observe", "/healthz/", "/metrics/x", "//", "/favicon.ico"}) {
        const RawClient::HttpAnswer answer = get(served->port(), target);
        EXPECT_EQ(answer.status, 426) << target;
        EXPECT_EQ(field(answer, "Upgrade"), "websocket");
        EXPECT_NE(answer.body.find("HTTP at /, /healthz and /metrics"), std::string::npos) << answer.body;
        ++errors;
    }
    for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS"})
        for (const char* target : {"/", "/healthz", "/metrics"}) {
            const RawClient::HttpAnswer answer = get(served->port(), target, method, "Content-Length: 0\r\n");
            EXPECT_EQ(answer.status, 405) << method << target;
            EXPECT_EQ(field(answer, "Allow"), "GET, HEAD");
            ++errors;
        }
    EXPECT_EQ(served->stats().protocol_errors, errors);
    EXPECT_TRUE(served->calls.get().empty());
    expect_serves_the_next_client(served);
}

TEST(Http, WhatIsNoHttpIsToldSo) {
    Served<HookedServer> served;
    for (const char* bytes :
         {"no HTTP\r\n\r\n", "GET / HTTP/1.1\r\nno field\r\n\r\n", "GET / HTTP/3.7\r\n\r\n", "\r\n\x01\r\n\r\n"}) {
        RawClient client(served->port());
        client.send_bytes(bytes_of(bytes));
        const RawClient::HttpAnswer answer = client.read_http();
        EXPECT_EQ(answer.status, 400) << bytes;
        EXPECT_NE(answer.body.find("not HTTP as it should be"), std::string::npos) << answer.body;
        client.read_to_end();
    }
    expect_serves_the_next_client(served);
}

TEST(Http, ABodyIsNotReadAndBreaksNothing) {
    Served<HookedServer> served;
    RawClient client(served->port());
    client.send_bytes(bytes_of("POST /metrics HTTP/1.1\r\nHost: robot\r\nContent-Length: 100000\r\n\r\n"));
    EXPECT_EQ(client.read_http().status, 413);
    client.read_to_end();
    ASSERT_TRUE(eventually([&] { return served->stats().protocol_errors == 1; }));
    expect_serves_the_next_client(served);
}

TEST(Http, TheTokenGuardsFiguresAndObserversAndNotTheRest) {
    const auto with_token = [](ServerOptions& options) { options.access.bearer_token = "s3cret+/%&"; };
    Served<HookedServer> served(one_small_camera(), {}, with_token);
    EXPECT_EQ(get(served->port(), "/healthz").status, 200);
    EXPECT_EQ(get(served->port(), "/").status, 200);
    const std::vector<std::pair<std::string, std::string>> wrong = {
        {"", ""},
        {"?access_token=", ""},
        {"?access_token=s3cret", ""},
        {"?access_token=s3cret+/%25", ""},
        {"?token=s3cret+/%25%26", ""},
        {"", "Authorization: Bearer nonsense\r\n"},
        {"", "Authorization: Basic s3cret+/%&\r\n"},
        // Where there are both, the field decides.
        {"?access_token=s3cret%2B/%25%26", "Authorization: Bearer nonsense\r\n"},
    };
    for (const auto& [query, fields] : wrong) {
        SCOPED_TRACE(query + fields);
        const RawClient::HttpAnswer answer = get(served->port(), "/metrics" + query, "GET", fields);
        EXPECT_EQ(answer.status, 401);
        EXPECT_EQ(field(answer, "WWW-Authenticate"), "Bearer");
        EXPECT_EQ(answer.body.find("chiral_"), std::string::npos);
        RawClient observer(served->port());
        EXPECT_EQ(observer.handshake("/observe" + query, fields).status, 401);
    }
    EXPECT_EQ(served->stats().refused, 2 * wrong.size());
    EXPECT_EQ(get(served->port(), "/metrics?x&access_token=s3cret%2B%2f%25%26&y=1").status, 200);
    EXPECT_EQ(get(served->port(), "/metrics", "GET", "Authorization: bearer s3cret+/%&\r\n").status, 200);
    RawClient observer(served->port());
    ASSERT_EQ(observer.handshake("/observe?access_token=s3cret%2B/%25%26").status, 101);
    EXPECT_EQ(observer.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    EXPECT_EQ(served->stats().observers, 1u);
}

TEST(Http, SlowAndVanishingClientsLeaveNothingBehind) {
    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) {
        options.handshake_timeout = std::chrono::milliseconds(500);
        options.max_connections = 20;
    });
    RawClient controller = served.connect();
    // More than may be connected at once, round after round: what stayed behind would keep the next ones out.
    for (int round = 0; round < 5; ++round) {
        std::vector<RawClient> slow;
        for (const char* text : {"G", "GET /metrics HTTP/1.1\r\nHost: ro", "GET /metrics HTTP/1.1\r\nHost: robot\r\n",
                                 "POST /metrics HTTP/1.1\r\nHost: robot\r\nContent-Length: 9\r\n\r\n1234"}) {
            slow.emplace_back(served->port());
            slow.back().send_bytes(bytes_of(text));
        }
        // Asks, and neither reads nor hangs up.
        slow.emplace_back(served->port(), 4096);
        slow.back().send_bytes(bytes_of("GET / HTTP/1.1\r\nHost: robot\r\n\r\n"));
        for (int i = 0; i < 6; ++i) {
            RawClient gone(served->port());
            gone.send_bytes(bytes_of(i % 2 ? "GET /metrics HTTP/1.1\r\nHost: robot\r\n\r\n" : "GET / HTTP/1.1\r\n"));
            i % 3 ? gone.disconnect() : gone.reset();
        }
        EXPECT_EQ(controller.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
        for (RawClient& client : slow) client.read_to_end();
    }
    ASSERT_TRUE(eventually([&] {
        try {
            return get(served->port(), "/healthz").status == 200;
        } catch (const std::exception&) {
            return false;  // dropped: all connections are taken still
        }
    }));
    EXPECT_EQ(controller.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    EXPECT_EQ(served->stats().connections, 1u);
}

TEST(Http, AHundredRequestsAreAnsweredWhileAControllerWorks) {
    Served<HookedServer> served({camera("large", 480, 640, 3, true)}, {{"q", 7}});
    const std::vector<std::uint8_t> image(480 * 640 * 3, 1);
    std::atomic<bool> ended{false};
    std::atomic<std::uint64_t> observed{0};
    std::thread controller([&] {
        RawClient client = served.connect();
        while (!ended) {
            EXPECT_TRUE(served->update_image(0, image.data(), image.size()).ok());
            const Observation obs = client.ask(RequestType::obs_request).result.obs;
            EXPECT_EQ(obs["large"].sequence, observed + 1);
            EXPECT_EQ(obs["large"].missed, 0u);
            client.send(numbered_action(static_cast<float>(observed)));
            ++observed;
        }
        client.close();
    });
    EXPECT_TRUE(eventually([&] { return observed > 0; }));
    const std::uint64_t before = observed;
    double last = 0;
    for (int i = 0; i < 100; ++i) {
        const char* target = i % 4 == 0 ? "/healthz" : i % 4 == 1 ? "/" : "/metrics";
        const RawClient::HttpAnswer answer = get(served->port(), target);
        EXPECT_EQ(answer.status, 200) << i;
        if (target != std::string("/metrics")) continue;
        const double total = Metrics(answer.body)("chiral_observations_total");
        EXPECT_GE(total, last);
        last = total;
    }
    EXPECT_GT(observed, before);  // the controller went on meanwhile
    EXPECT_GT(last, static_cast<double>(before));
    ended = true;
    controller.join();
    ASSERT_TRUE(eventually([&] { return served->stats().actions_applied == observed; }));
    EXPECT_EQ(served->stats().copied_observations, 0u);
    EXPECT_EQ(served->stats().update_errors, 0u);
}

}  // namespace
}  // namespace chiral::test
