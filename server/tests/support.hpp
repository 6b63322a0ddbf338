// SPDX-License-Identifier: Apache-2.0
// What the server tests share: a server whose hooks are given by the test, and its log.
#pragma once

#include "raw_client.hpp"
#include "support/cameras.hpp"
#include "support/log_book.hpp"
#include "support/waiting.hpp"

#include <chiral/server.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace chiral::test {

inline std::vector<CameraConfig> one_small_camera() { return {camera("wrist", 4, 6, 3, true)}; }

/// Options of a server that writes to `log`, does not wait for sensor threads that are not there, and takes nothing for late
/// because this machine is busy: tests of that set their own limits.
inline ServerOptions quiet(LogBook& log) {
    ServerOptions options;
    options.max_action_delay = Duration::zero();
    options.departed_action_time = kDeadline;
    options.log = log.sink();
    options.quiesce = Duration::zero();
    return options;
}

/// Opens what is protected to the tests.
class OpenServer : public PolicyServer {
public:
    using PolicyServer::begin_frame;
    using PolicyServer::make_obs;
    using PolicyServer::PolicyServer;
    using PolicyServer::update_depth;
    using PolicyServer::update_extrinsics;
    using PolicyServer::update_image;
    using PolicyServer::update_intrinsics;
    using PolicyServer::update_proprio;
};

/// A server whose hooks are the functions that are set; the others do what the library does by default. Records which
/// hooks were called, in order.
class HookedServer : public OpenServer {
public:
    using OpenServer::OpenServer;
    std::function<InfoMap()> on_metadata;
    std::function<std::pair<Observation, InfoMap>()> on_reset;
    std::function<Observation()> on_get_obs;
    std::function<void(const Action&)> on_action;
    std::function<StepResult(const Action&)> on_step;
    Watched<std::vector<std::string>> calls;
    /// Who came and went and what was executed between, in the order of the action thread: "connect", "action 3",
    /// "timeout", "disconnect: REASON".
    Watched<std::vector<std::string>> control;
    std::function<void(const std::string&)> on_control;  // of each of them but actions

    void on_connect(const std::string&) override { note("connect"); }
    void on_disconnect(const std::string& reason) override { note("disconnect: " + reason); }
    void on_action_timeout() override { note("timeout"); }

    InfoMap get_metadata() override {
        record("metadata");
        return on_metadata ? on_metadata() : OpenServer::get_metadata();
    }
    std::pair<Observation, InfoMap> reset() override {
        record("reset");
        return on_reset ? on_reset() : OpenServer::reset();
    }
    Observation get_obs() override {
        record("get_obs");
        return on_get_obs ? on_get_obs() : OpenServer::get_obs();
    }
    void apply_action(const Action& action) override {
        record("apply_action");
        control.change(
            [&](auto& events) { events.push_back("action " + std::to_string(static_cast<int>(action.data[0]))); });
        if (on_action) on_action(action);
    }
    StepResult step(const Action& action) override {
        record("step");
        return on_step ? on_step(action) : OpenServer::step(action);
    }

private:
    void note(const std::string& event) {
        control.change([&](auto& events) { events.push_back(event); });
        if (on_control) on_control(event);
    }
    void record(const char* hook) {
        calls.change([&](auto& names) { names.push_back(hook); });
    }
};

/// A server on a free loopback port that is served from construction to the end of the scope, with its log.
template <class Server>
class Served {
public:
    explicit Served(
        std::vector<CameraConfig> cameras = one_small_camera(), std::vector<ProprioConfig> proprios = {},
        std::function<void(ServerOptions&)> adjust = [](ServerOptions&) {},
        std::function<void(Server&)> prepare = [](Server&) {})
        : server_(std::move(cameras), std::move(proprios), "127.0.0.1", 0, adjusted(adjust)) {
        prepare(server_);
        server_.serve();
    }
    ~Served() {
        server_.stop();
        server_.wait();
    }
    Server* operator->() { return &server_; }
    Server& operator*() { return server_; }
    RawClient connect(int receive_buffer = 0) { return RawClient::connected(server_.port(), receive_buffer); }
    /// Connects as soon as the previous client has been let go.
    RawClient connect_next() {
        for (const auto end = std::chrono::steady_clock::now() + kDeadline;;) {
            RawClient client(server_.port());
            const RawClient::HttpAnswer answer = client.handshake();
            if (answer.status == 101) return client;
            if (answer.status != 503 || std::chrono::steady_clock::now() > end)
                throw std::runtime_error("not let in: " + answer.head);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }
    LogBook log;

private:
    ServerOptions adjusted(const std::function<void(ServerOptions&)>& adjust) {
        ServerOptions options = quiet(log);
        adjust(options);
        return options;
    }
    Server server_;
};

/// A server in run() on a thread of its own, which is stopped at the end of the scope at the latest.
class Running {
public:
    explicit Running(PolicyServer& server) : server_(server), thread_([&server] { server.run(); }) {}
    ~Running() {
        server_.stop();
        join();
    }
    void join() {
        if (thread_.joinable()) thread_.join();
    }
    /// Waits until the port of a server that was given port 0 is known.
    [[nodiscard]] bool has_port() const {
        return eventually([&] { return server_.port() != 0; });
    }

private:
    PolicyServer& server_;
    std::thread thread_;
};

/// The server still does its work: a new client gets an observation.
template <class Server>
void expect_serves_the_next_client(Served<Server>& served) {
    RawClient client = served.connect_next();
    EXPECT_EQ(client.ask(wire::RequestType::obs_request).type, wire::ResponseType::obs_response);
    client.close();
}

}  // namespace chiral::test
