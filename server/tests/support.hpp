// SPDX-License-Identifier: Apache-2.0
// What the server tests share: a server whose hooks are given by the test, its log, and things to wait for.
#pragma once

#include "raw_client.hpp"

#include <chiral/server.hpp>

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace chiral::test {

/// A value that tests wait for. Any thread.
template <class T>
class Watched {
public:
    explicit Watched(T value = {}) : value_(std::move(value)) {}
    template <class Change>
    void change(Change&& how) {
        {
            const std::lock_guard lock(mutex_);
            how(value_);
        }
        changed_.notify_all();
    }
    void set(T value) {
        change([&](T& current) { current = std::move(value); });
    }
    T get() const {
        const std::lock_guard lock(mutex_);
        return value_;
    }
    /// False at the deadline.
    template <class Condition>
    bool wait(Condition&& condition) const {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, kDeadline, [&] { return condition(std::as_const(value_)); });
    }

private:
    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    T value_;
};

/// Hooks stop here until the test opens it, which it does at the latest when it ends.
class Gate {
public:
    void open() { open_.set(true); }
    void pass() {
        waiting_.change([](int& waiting) { ++waiting; });
        EXPECT_TRUE(open_.wait([](bool open) { return open; })) << "the gate was never opened";
    }
    /// Waits until somebody stands, or has stood, at the gate.
    [[nodiscard]] bool reached() const {
        return waiting_.wait([](int waiting) { return waiting > 0; });
    }

private:
    Watched<bool> open_{false};
    Watched<int> waiting_{0};
};

/// Opens the gate when the test's scope ends, before the server waits for its hooks.
class OpensAtEnd {
public:
    explicit OpensAtEnd(Gate& gate) : gate_(gate) {}
    ~OpensAtEnd() { gate_.open(); }

private:
    Gate& gate_;
};

/// Waits for a condition that nothing announces: a counter of another thread, the end of a connection.
template <class Condition>
[[nodiscard]] bool eventually(Condition&& condition) {
    const auto end = std::chrono::steady_clock::now() + kDeadline;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

class LogBook {
public:
    std::function<void(const std::string&)> sink() {
        return [this](const std::string& line) { lines_.change([&](auto& lines) { lines.push_back(line); }); };
    }
    [[nodiscard]] bool wait_for(const std::string& part) const {
        return lines_.wait([&](const auto& lines) { return count_in(lines, part) > 0; });
    }
    std::size_t count(const std::string& part) const { return count_in(lines_.get(), part); }

private:
    static std::size_t count_in(const std::vector<std::string>& lines, const std::string& part) {
        std::size_t found = 0;
        for (const std::string& line : lines) found += line.find(part) != std::string::npos;
        return found;
    }
    Watched<std::vector<std::string>> lines_;
};

inline CameraConfig camera(const std::string& name, int height, int width, int channels, bool depth) {
    CameraConfig config;
    config.name = name;
    config.height = height;
    config.width = width;
    config.channels = channels;
    config.has_depth = depth;
    return config;
}

inline std::vector<CameraConfig> one_small_camera() { return {camera("wrist", 4, 6, 3, true)}; }

/// Options of a server that writes to `log` and does not wait for sensor threads that are not there.
inline ServerOptions quiet(LogBook& log) {
    ServerOptions options;
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
