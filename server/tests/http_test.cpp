// SPDX-License-Identifier: Apache-2.0
// What the WebSocket port answers to plain HTTP: /healthz, /metrics, the live page, and what it does not answer.
#include "raw_http.hpp"
#include "support.hpp"

#include <chiral/slot.hpp>

#include <cctype>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

namespace chiral::test {
namespace {

using wire::RequestType;

std::string field(const RawClient::HttpAnswer& answer, const std::string& name) {
    const std::size_t at = answer.head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return {};
    const std::size_t begin = at + name.size() + 4;
    return answer.head.substr(begin, answer.head.find('\r', begin) - begin);
}

// ---- Prometheus' text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/) ----

class Metrics {
public:
    using Labels = std::map<std::string, std::string>;

    /// Throws std::runtime_error that names the line for what is not in that format.
    explicit Metrics(const std::string& text) {
        if (text.empty() || text.back() != '\n') throw std::runtime_error("the last line does not end");
        std::istringstream lines(text);
        for (std::string line; std::getline(lines, line);) {
            line_ = line;
            if (line.empty()) continue;
            line[0] == '#' ? comment(line) : sample(line);
        }
        for (const auto& [name, type] : types_)
            if (type == "histogram") check_histogram(name);
    }

    double operator()(const std::string& name, const Labels& labels = {}) const {
        const auto found = samples_.find({name, labels});
        if (found == samples_.end()) throw std::runtime_error("there is no sample of " + name);
        return found->second;
    }
    double source(const std::string& name, const std::string& kind, const std::string& source) const {
        return (*this)("chiral_" + name, {{"kind", kind}, {"source", source}});
    }
    /// The one status that is 1.
    std::string status(const std::string& kind, const std::string& source) const {
        std::string status;
        for (const auto& [key, value] : samples_) {
            const Labels& labels = key.second;
            if (key.first != "chiral_source_status" || labels.at("kind") != kind || labels.at("source") != source) continue;
            if (value != 0 && value != 1) throw std::runtime_error("a status is neither 0 nor 1");
            if (value == 1) status += labels.at("status");
        }
        return status;
    }
    const std::string& type_of(const std::string& name) const { return types_.at(name); }

private:
    [[noreturn]] void fail(const std::string& what) const { throw std::runtime_error(what + ": " + line_); }

    static bool is_name(const std::string& name, bool colons) {
        if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) return false;
        const auto allowed = [&](unsigned char c) { return std::isalnum(c) || c == '_' || (colons && c == ':'); };
        return std::all_of(name.begin(), name.end(), allowed);
    }

    void comment(const std::string& line) {
        std::istringstream words(line);
        std::string hash, what, name, rest;
        words >> hash >> what >> name;
        std::getline(words, rest);
        if (!is_name(name, true) || rest.size() < 2) fail("a comment that says nothing");
        if (what == "HELP") {
            if (!helps_.insert(name).second) fail("a second HELP");
        } else if (what == "TYPE") {
            static const std::set<std::string> known{"counter", "gauge", "histogram"};
            if (!helps_.contains(name)) fail("a TYPE without HELP");
            if (!known.contains(rest.substr(1))) fail("an unknown type");
            if (!types_.emplace(name, rest.substr(1)).second) fail("a second TYPE");
            current_ = name;
        } else {
            fail("neither HELP nor TYPE");
        }
    }

    void sample(const std::string& line) {
        std::size_t at = line.find_first_of("{ ");
        if (at == std::string::npos) fail("a sample without value");
        const std::string name = line.substr(0, at);
        if (!is_name(name, true)) fail("a name that is none");
        Labels labels;
        if (line[at] == '{') {
            for (++at; at < line.size() && line[at] != '}';) {
                const std::size_t equals = line.find("=\"", at);
                if (equals == std::string::npos) fail("a label without value");
                const std::string key = line.substr(at, equals - at);
                if (!is_name(key, false)) fail("a label whose name is none");
                std::string value;
                for (at = equals + 2; at < line.size() && line[at] != '"'; ++at) {
                    if (line[at] != '\\') {
                        value += line[at];
                        continue;
                    }
                    if (++at == line.size()) fail("a label that ends in a backslash");
                    if (line[at] == 'n') value += '\n';
                    else if (line[at] == '\\' || line[at] == '"') value += line[at];
                    else fail("an escape that is none");
                }
                if (++at >= line.size()) fail("a label that does not end");
                if (!labels.emplace(key, value).second) fail("a label twice");
                if (line[at] == ',') ++at;
                else if (line[at] != '}') fail("labels that are not separated");
            }
            ++at;
        }
        if (at >= line.size() || line[at] != ' ') fail("no value");
        const std::string number = line.substr(at + 1);
        std::size_t end = 0;
        const double value = std::stod(number, &end);
        if (end != number.size()) fail("a value that is no number");
        if (current_.empty()) fail("a sample before the first TYPE");
        const std::string suffix = name.starts_with(current_) ? name.substr(current_.size()) : "another name";
        const bool histogram = types_[current_] == "histogram";
        if (histogram ? suffix != "_bucket" && suffix != "_sum" && suffix != "_count" : !suffix.empty())
            fail("a sample that does not stand behind its TYPE");
        if (!samples_.emplace(std::pair{name, labels}, value).second) fail("a sample twice");
        if (types_[current_] == "counter" && !(value >= 0)) fail("a counter below zero");
    }

    void check_histogram(const std::string& name) const {
        line_ = name;
        std::map<double, double> buckets;
        for (const auto& [key, value] : samples_)
            if (key.first == name + "_bucket") buckets.emplace(std::stod(key.second.at("le")), value);
        if (buckets.size() < 2 || !std::isinf(buckets.rbegin()->first)) fail("a histogram without +Inf");
        double before = 0;
        for (const auto& [bound, value] : buckets) {
            if (value < before) fail("buckets that do not add up");
            before = value;
        }
        if (before != (*this)(name + "_count")) fail("+Inf is not _count");
        if ((*this)(name + "_sum") < 0) fail("a sum below zero");
    }

    mutable std::string line_;
    std::string current_;
    std::set<std::string> helps_;
    std::map<std::string, std::string> types_;
    std::map<std::pair<std::string, Labels>, double> samples_;
};

Metrics metrics(int port) {
    const RawClient::HttpAnswer answer = get(port, "/metrics");
    if (answer.status != 200) throw std::runtime_error("no metrics: " + answer.head + answer.body);
    return Metrics(answer.body);
}

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

TEST(Http, MetricsOfARobotThatHasDoneNothingYet) {
    Served<HookedServer> served(one_small_camera(), {{"q", 2}});
    const RawClient::HttpAnswer answer = get(served->port(), "/metrics");
    EXPECT_EQ(field(answer, "Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
    const Metrics figures(answer.body);
    for (const auto& [kind, source] : {std::pair{"camera", "wrist"}, std::pair{"proprio", "q"}}) {
        EXPECT_EQ(figures.source("source_samples_total", kind, source), 0);
        EXPECT_EQ(figures.source("source_rate_hz", kind, source), 0);
        EXPECT_EQ(figures.source("source_age_seconds", kind, source), -1);
        EXPECT_EQ(figures.source("source_missed_total", kind, source), 0);
        EXPECT_EQ(figures.status(kind, source), "never");
    }
    for (const char* total : {"connections", "observations", "sent_bytes", "actions_received", "protocol_errors"})
        EXPECT_EQ(figures(std::string("chiral_") + total + "_total"), 0) << total;
    EXPECT_EQ(figures("chiral_clients"), 0);
    EXPECT_EQ(figures("chiral_action_latency_seconds_count"), 0);
}

TEST(Http, MetricsOfARobotWithoutSources) {
    Served<HookedServer> served(std::vector<CameraConfig>{});
    EXPECT_EQ(metrics(served->port())("chiral_observations_total"), 0);
}

TEST(Http, MetricsAgreeWithWhatHappened) {
    const auto gate = [](ServerOptions& options) {
        options.gate.dimension = 7;
        options.action_timeout = Duration::zero();
    };
    Served<HookedServer> served(one_small_camera(), {{"q", 2}}, gate);
    const std::vector<std::uint8_t> image(4 * 6 * 3, 1);
    const float sample[2] = {1, 2};
    std::uint64_t bytes = 0;
    RawClient client = served.connect();
    const auto observe = [&] {
        client.send(RequestType::obs_request);
        bytes += client.receive().payload.size();
    };
    // The first observation shows image 2 and sample 1; the second one image 7, so that it missed 3 to 6.
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(served->update_image(0, image.data(), image.size()).ok());
    ASSERT_TRUE(served->update_proprio(0, sample, 2).ok());
    observe();
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(served->update_image(0, image.data(), image.size()).ok());
    for (int i = 0; i < 3; ++i) observe();
    EXPECT_FALSE(served->update_image(0, image.data(), 5).ok());
    // An observer sees for itself, and misses nothing on the client's account.
    RawClient observer(served->port());
    ASSERT_EQ(observer.handshake("/observe").status, 101);
    observer.send(RequestType::obs_request);
    bytes += observer.receive().payload.size();

    for (int i = 0; i < 6; ++i) client.send(numbered_action(static_cast<float>(i)));
    for (int i = 0; i < 2; ++i) client.send(numbered_action(0, 3));
    ASSERT_TRUE(eventually([&] {
        const ServerStats stats = served->stats();
        return stats.actions_applied == 6 && stats.actions_rejected == 2 && stats.observations == 5;
    }));
    ASSERT_EQ(get(served->port(), "/nowhere").status, 426);
    client.send(bytes_of("no message"));
    EXPECT_EQ(client.receive_close().close_code(), 1007);
    RawClient next = served.connect_next();
    const std::uint64_t refused = served->stats().refused;
    RawClient third(served->port());
    ASSERT_EQ(third.handshake().status, 503);

    const Metrics figures = metrics(served->port());
    EXPECT_EQ(figures.source("source_samples_total", "camera", "wrist"), 7);
    EXPECT_EQ(figures.source("source_samples_total", "proprio", "q"), 1);
    EXPECT_EQ(figures.source("source_missed_total", "camera", "wrist"), 4);
    EXPECT_EQ(figures.source("source_missed_total", "proprio", "q"), 0);
    EXPECT_GE(figures.source("source_age_seconds", "camera", "wrist"), 0);
    EXPECT_EQ(figures("chiral_clients"), 1);
    EXPECT_EQ(figures("chiral_observers"), 1);
    EXPECT_EQ(figures("chiral_connections_total"), 2);
    EXPECT_EQ(figures("chiral_observer_connections_total"), 1);
    EXPECT_EQ(figures("chiral_refused_connections_total"), static_cast<double>(refused + 1));
    EXPECT_EQ(figures("chiral_observations_total"), 5);
    EXPECT_EQ(figures("chiral_copied_observations_total"), 0);
    // Of messages, without the frames around them.
    EXPECT_EQ(figures("chiral_sent_bytes_total"), static_cast<double>(bytes));
    EXPECT_EQ(figures("chiral_actions_received_total"), 8);
    EXPECT_EQ(figures("chiral_actions_applied_total"), 6);
    EXPECT_EQ(figures("chiral_actions_rejected_total"), 2);
    EXPECT_EQ(figures("chiral_protocol_errors_total"), 2);
    EXPECT_EQ(figures("chiral_update_errors_total"), 1);
    EXPECT_EQ(figures("chiral_action_latency_seconds_count"), 6);
    EXPECT_EQ(figures("chiral_answer_latency_seconds_count"), 4);
    EXPECT_GT(figures("chiral_answer_latency_seconds_sum"), 0);
    EXPECT_EQ(figures.type_of("chiral_observations_total"), "counter");
    EXPECT_EQ(figures.type_of("chiral_source_rate_hz"), "gauge");
    EXPECT_EQ(figures.type_of("chiral_action_latency_seconds"), "histogram");
}

TEST(Http, MetricsTellOfSlotsAsOfOtherSources) {
    Served<HookedServer> served({}, {}, [](ServerOptions& options) {
        options.engine.slots = {slot_config<int>("mode", DType::int32, {1}), slot_config<int>("secret")};
    });
    EXPECT_EQ(metrics(served->port()).status("slot", "mode"), "never");
    RawClient client = served.connect();
    const auto observe = [&] {
        client.send(RequestType::obs_request);
        static_cast<void>(client.receive());
    };
    Slot<int> mode(served->engine(), "mode"), secret(served->engine(), "secret");
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(mode.update(i).ok());
        observe();
        for (int k = 0; k < 3; ++k) ASSERT_TRUE(mode.update(k).ok());
        for (int k = 0; k < 2; ++k) ASSERT_TRUE(secret.update(k).ok());
    }
    const Metrics figures = metrics(served->port());
    EXPECT_EQ(figures.source("source_samples_total", "slot", "mode"), 12);
    EXPECT_EQ(figures.source("source_missed_total", "slot", "mode"), 6);
    EXPECT_GE(figures.source("source_age_seconds", "slot", "mode"), 0);
    EXPECT_NE(figures.status("slot", "mode"), "never");
    EXPECT_EQ(figures.source("source_samples_total", "slot", "secret"), 6);
    EXPECT_EQ(figures.source("source_missed_total", "slot", "secret"), 0) << "no observation carries it";
}

TEST(Http, MetricsTellAnAgeThatGrowsUntilTheSourceIsStale) {
    Served<HookedServer> served(one_small_camera());
    const std::vector<std::uint8_t> image(4 * 6 * 3, 1);
    ASSERT_TRUE(served->update_image(0, image.data(), image.size()).ok());
    const double first = metrics(served->port()).source("source_age_seconds", "camera", "wrist");
    EXPECT_TRUE(eventually([&] { return metrics(served->port()).source("source_age_seconds", "camera", "wrist") > first; }));
    EXPECT_TRUE(eventually([&] { return metrics(served->port()).status("camera", "wrist") == "stale"; }));
}

TEST(Http, MetricsCountARateBetweenTwoLooks) {
    Served<HookedServer> served(one_small_camera());
    const std::vector<std::uint8_t> image(4 * 6 * 3, 1);
    const auto begin = std::chrono::steady_clock::now();
    metrics(served->port());
    std::uint64_t published = 0;
    double rate = 0;
    ASSERT_TRUE(eventually([&] {
        if (served->update_image(0, image.data(), image.size()).ok()) ++published;
        rate = metrics(served->port()).source("source_rate_hz", "camera", "wrist");
        return rate > 0;
    }));
    // All images came between the two looks, which are half a second apart at least, and at most as far as the test took.
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    EXPECT_GE(1.001 * rate * seconds, static_cast<double>(published));
    EXPECT_LE(0.999 * rate * 0.5, static_cast<double>(published));
}

TEST(Http, NamesOfSourcesAreEscaped) {
    const std::vector<std::string> names = {"a \"quoted\" one", "back\\slash", "two\nlines", "\\n",
                                            "{}=,# x",          "gr\xc3\xbcn"};
    std::vector<CameraConfig> cameras;
    std::vector<ProprioConfig> proprios;
    for (const std::string& name : names) {
        cameras.push_back(camera(name, 2, 2, 1, false));
        proprios.push_back({name, 1});
    }
    Served<HookedServer> served(cameras, proprios);
    const float value = 1;
    ASSERT_TRUE(served->update_proprio(2, &value, 1).ok());
    const Metrics figures = metrics(served->port());
    for (std::size_t i = 0; i < names.size(); ++i) {
        SCOPED_TRACE(names[i]);
        EXPECT_EQ(figures.source("source_samples_total", "camera", names[i]), 0);
        EXPECT_EQ(figures.source("source_samples_total", "proprio", names[i]), i == 2 ? 1 : 0);
        EXPECT_EQ(figures.status("camera", names[i]), "never");
    }
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
