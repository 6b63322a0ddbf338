// SPDX-License-Identifier: Apache-2.0
// From open port to closed one: run(), serve(), stop(), wait(), signals, ports.
#include "support.hpp"

#include <csignal>
#include <optional>
#include <system_error>
#include <utility>

namespace chiral::test {
namespace {

using wire::RequestType;

// A listening socket on a free loopback port.
class Occupied {
public:
    Occupied() {
        socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(socket_, 1) != 0 ||
            ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
            throw std::system_error(errno, std::generic_category(), "occupying a port");
        port = ntohs(address.sin_port);
    }
    ~Occupied() { ::close(socket_); }
    int port{0};

private:
    int socket_;
};

HookedServer make_server(LogBook& log, int port = 0, std::string host = "127.0.0.1") {
    return HookedServer(one_small_camera(), {}, std::move(host), port, quiet(log));
}

TEST(Serving, PortZeroPicksAFreePortAndSaysWhich) {
    LogBook log;
    auto server = make_server(log);
    EXPECT_EQ(server.port(), 0);
    server.serve();
    EXPECT_GT(server.port(), 0);
    RawClient client = RawClient::connected(server.port());
    client.close();
    server.stop();
    server.wait();
}

TEST(Serving, AGivenPortIsThePort) {
    LogBook log;
    auto first = make_server(log);
    first.serve();
    const int port = first.port();
    first.stop();
    first.wait();
    auto second = make_server(log, port);
    EXPECT_EQ(second.port(), port);
    second.serve();
    EXPECT_EQ(second.port(), port);
    RawClient::connected(port).close();
    second.stop();
    second.wait();
}

TEST(Serving, ABusyPortIsAnErrorAtOnceThatNamesIt) {
    const Occupied occupied;
    LogBook log;
    auto server = make_server(log, occupied.port);
    const std::string expected = "127.0.0.1:" + std::to_string(occupied.port);
    for (const bool run : {true, false}) {
        try {
            run ? server.run() : server.serve();
            FAIL() << "the port was occupied";
        } catch (const std::system_error& error) {
            EXPECT_EQ(error.code(), std::errc::address_in_use);
            EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
        }
    }
    server.stop();
    server.wait();
}

TEST(Serving, AHostThatDoesNotExistIsAnErrorThatSaysSo) {
    LogBook log;
    auto server = make_server(log, 0, "no.such.host.invalid");
    try {
        server.serve();
        FAIL() << "the host does not exist";
    } catch (const std::system_error& error) {
        EXPECT_NE(std::string(error.what()).find("no.such.host.invalid"), std::string::npos) << error.what();
        // getaddrinfo() numbers its errors by itself: 1 is not EPERM here.
        EXPECT_NE(error.code(), std::error_code(EPERM, std::system_category())) << error.what();
    }
}

TEST(Serving, APortThatIsNoneIsAnInvalidArgument) {
    LogBook log;
    for (const int port : {-1, 65536}) EXPECT_THROW(make_server(log, port).serve(), std::invalid_argument);
}

TEST(Serving, OptionsThatMakeNoSenseAreRefusedAtConstruction) {
    LogBook log;
    const auto refused = [&](auto&& change) {
        ServerOptions options = quiet(log);
        change(options);
        EXPECT_THROW(OpenServer(one_small_camera(), {}, "127.0.0.1", 0, options), std::invalid_argument);
    };
    refused([](ServerOptions& options) { options.max_queued_actions = 0; });
    refused([](ServerOptions& options) { options.max_message_bytes = 0; });
    refused([](ServerOptions& options) { options.handshake_timeout = Duration::zero(); });
    refused([](ServerOptions& options) { options.idle_timeout = -std::chrono::seconds(1); });
    refused([](ServerOptions& options) { options.engine.readers = -1; });
    refused([](ServerOptions& options) { options.engine.readers = 12; });
}

TEST(Serving, TimeoutsMayBeForEver) {
    Served<OpenServer> served(one_small_camera(), {}, [](ServerOptions& options) {
        options.handshake_timeout = Duration::max();
        options.idle_timeout = Duration::max();
    });
    RawClient client = served.connect();
    EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    client.send_frame(RawClient::kText, bytes_of("text"));
    EXPECT_EQ(client.receive_close().close_code(), 1003);
}

TEST(Serving, StopFromAnotherThreadEndsRun) {
    LogBook log;
    auto server = make_server(log);
    Running running(server);
    ASSERT_TRUE(running.has_port());
    RawClient client = RawClient::connected(server.port());
    server.stop();
    const RawClient::Frame end = client.receive_close();
    EXPECT_EQ(end.close_code(), 1001);
    EXPECT_EQ(end.close_reason(), "the server is stopping");
    server.wait();
    running.join();
}

TEST(Serving, StopBeforeRunMakesRunReturn) {
    LogBook log;
    auto server = make_server(log);
    server.stop();
    server.run();
    server.wait();
}

TEST(Serving, AStopIsNotForARunThatCannotBegin) {
    LogBook log;
    std::optional<Occupied> occupied(std::in_place);
    const int port = occupied->port;
    auto server = make_server(log, port);
    server.stop();
    EXPECT_THROW(server.run(), std::system_error);  // as of a program that tries until the port is free
    occupied.reset();
    server.serve();
    EXPECT_TRUE(eventually([&] {
        try {
            RawClient client(port);
            return false;
        } catch (const std::exception&) {
            return true;
        }
    })) << "it serves, though it was stopped";
    server.stop();
    server.wait();
}

TEST(Serving, StopFromEveryHookEndsTheServer) {
    for (const char* hook : {"metadata", "get_obs", "reset", "apply_action", "step"}) {
        SCOPED_TRACE(hook);
        LogBook log;
        auto server = make_server(log);
        server.on_metadata = [&] { return server.stop(), InfoMap{}; };
        server.on_get_obs = [&] { return server.stop(), server.make_obs(); };
        server.on_reset = [&] { return server.stop(), std::pair{server.make_obs(), InfoMap{}}; };
        server.on_action = [&](const Action&) { server.stop(); };
        server.on_step = [&](const Action&) { return server.stop(), StepResult{}; };
        Running running(server);
        ASSERT_TRUE(running.has_port());
        RawClient client = RawClient::connected(server.port());
        ByteVector message;
        if (hook == std::string("metadata")) message = request(RequestType::metadata);
        if (hook == std::string("get_obs")) message = request(RequestType::obs_request);
        if (hook == std::string("reset")) message = request(RequestType::reset);
        if (hook == std::string("apply_action")) message = action_message(numbered_action(1));
        if (hook == std::string("step")) wire::encode_legacy_action(numbered_action(1), message);
        client.send(message);
        EXPECT_EQ(client.receive_close().close_code(), 1001);
        running.join();
        EXPECT_EQ(server.calls.get(), std::vector<std::string>{hook});
    }
}

TEST(Serving, StopEndsAServerWhoseClientDoesNotAnswerTheClose) {
    LogBook log;
    auto server = make_server(log);
    server.serve();
    RawClient silent = RawClient::connected(server.port());
    RawClient undecided(server.port());
    server.stop();
    server.wait();
    EXPECT_EQ(silent.receive().close_code(), 1001);
}

TEST(Serving, StopWaitsForTheHookThatRuns) {
    LogBook log;
    Gate gate;
    auto server = make_server(log);
    const OpensAtEnd opener(gate);
    Watched<bool> left{false};
    server.on_get_obs = [&] {
        gate.pass();
        left.set(true);
        return server.make_obs();
    };
    server.serve();
    RawClient client = RawClient::connected(server.port());
    client.send(RequestType::obs_request);
    ASSERT_TRUE(gate.reached());
    server.stop();
    EXPECT_EQ(client.receive_close().close_code(), 1001);
    EXPECT_FALSE(left.get());
    gate.open();
    server.wait();
    EXPECT_TRUE(left.get());
}

TEST(Serving, AServerServesAgainAfterItHasEnded) {
    LogBook log;
    auto server = make_server(log);
    for (int round = 0; round < 5; ++round) {
        server.serve();
        RawClient client = RawClient::connected(server.port());
        EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
        server.stop();
        EXPECT_EQ(client.receive_close().close_code(), 1001);
        server.wait();
    }
    Running running(server);
    ASSERT_TRUE(eventually([&] {
        try {
            RawClient::connected(server.port()).close();
            return true;
        } catch (const std::exception&) {
            return false;
        }
    }));
    server.stop();
    running.join();
    EXPECT_EQ(server.stats().connections, 6u);
    EXPECT_EQ(server.stats().observations, 5u);
}

TEST(Serving, AServerThatIsServedCannotBeServedTwice) {
    Served<HookedServer> served;
    EXPECT_THROW(served->serve(), std::logic_error);
    EXPECT_THROW(served->run(), std::logic_error);
    expect_serves_the_next_client(served);
}

TEST(Serving, StopAndWaitMayBeCalledAtAnyTimeAndByMany) {
    LogBook log;
    for (int round = 0; round < 50; ++round) {
        auto server = make_server(log);
        std::thread stopper([&] {
            while (server.port() == 0) std::this_thread::yield();  // serve() may not have returned yet
            server.stop();
            server.wait();
        });
        server.serve();
        server.stop();
        server.wait();
        stopper.join();
        server.stop();
        server.wait();
    }
}

TEST(Serving, ADestructorEndsTheServer) {
    LogBook log;
    int port = 0;
    {
        OpenServer server(one_small_camera(), {}, "127.0.0.1", 0, quiet(log));
        server.serve();
        port = server.port();
    }
    EXPECT_THROW(RawClient{port}, std::system_error);
}

TEST(Serving, InterruptAndTerminateEndRun) {
    for (const int signal : {SIGINT, SIGTERM}) {
        LogBook log;
        auto server = make_server(log);
        Running running(server);
        ASSERT_TRUE(running.has_port());
        // The handler is installed before the first connection is taken.
        RawClient client = RawClient::connected(server.port());
        EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
        ASSERT_EQ(std::raise(signal), 0);
        EXPECT_EQ(client.receive_close().close_code(), 1001);
        running.join();
    }
}

TEST(ServingDeathTest, ASecondInterruptEndsAProcessWhoseHookIsStuck) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const auto interrupt_twice = [] {
        LogBook log;
        Gate never;
        auto server = make_server(log);
        server.on_get_obs = [&] {
            never.pass();
            return server.make_obs();
        };
        Running running(server);
        if (!running.has_port()) std::exit(1);
        RawClient client = RawClient::connected(server.port());
        client.send(RequestType::obs_request);
        if (!never.reached()) std::exit(2);
        std::raise(SIGINT);
        // The handler is gone before the client hears of it.
        if (client.receive_close().close_code() != 1001) std::exit(3);
        std::raise(SIGINT);
        std::exit(4);
    };
    EXPECT_EXIT(interrupt_twice(), testing::KilledBySignal(SIGINT), "");
}

TEST(Serving, ServeAndRunWithoutHandlersLeaveSignalsAlone) {
    struct sigaction before {
    }, during{};
    ASSERT_EQ(::sigaction(SIGINT, nullptr, &before), 0);
    LogBook log;
    ServerOptions options = quiet(log);
    options.handle_signals = false;
    OpenServer server(one_small_camera(), {}, "127.0.0.1", 0, options);
    Running running(server);
    ASSERT_TRUE(running.has_port());
    RawClient::connected(server.port()).close();
    Served<OpenServer> served;
    ASSERT_EQ(::sigaction(SIGINT, nullptr, &during), 0);
    EXPECT_EQ(during.sa_handler, before.sa_handler);
    server.stop();
    running.join();
}

// The guide's servers detach their sensor threads and only clear a flag in their destructor.
class DetachedSensor : public OpenServer {
public:
    enum class Stage { created, started, ended };
    DetachedSensor(LogBook& log, std::shared_ptr<Watched<Stage>> stage, std::chrono::milliseconds first_pause)
        : OpenServer(one_small_camera(), {{"q", 1}}, "127.0.0.1", 0, options(log)) {
        std::thread(&DetachedSensor::loop, this, std::move(stage), first_pause).detach();
    }
    ~DetachedSensor() override { running_ = false; }

private:
    static ServerOptions options(LogBook& log) {
        ServerOptions options = quiet(log);
        options.quiesce = std::chrono::milliseconds(200);
        return options;
    }
    // What this does when the destructor of this class has ended is not C++, and what such servers do.
    __attribute__((no_sanitize("vptr"))) void loop(std::shared_ptr<Watched<Stage>> stage,
                                                   std::chrono::milliseconds first_pause) {
        stage->set(Stage::started);
        std::this_thread::sleep_for(first_pause);
        while (running_) {
            const float q = 1;
            update_proprio(0, &q, 1);
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        stage->set(Stage::ended);
    }
    std::atomic<bool> running_{true};
};

TEST(Serving, ADestructorWaitsForDetachedSensorThreads) {
    LogBook log;
    // One that has published, and one that had no time to.
    for (const bool published : {true, false}) {
        SCOPED_TRACE(published);
        using Stage = DetachedSensor::Stage;
        const auto stage = std::make_shared<Watched<Stage>>(Stage::created);
        {
            DetachedSensor server(log, stage, std::chrono::milliseconds(published ? 0 : 10));
            ASSERT_TRUE(stage->wait([](Stage now) { return now == Stage::started; }));
            float q = 0;
            ASSERT_TRUE(eventually([&] {
                return !published || server.engine().latest_proprio(0, {&q, 1}) == ProprioRead::latest;
            }));
        }
        EXPECT_EQ(stage->get(), Stage::ended);
    }
}

}  // namespace
}  // namespace chiral::test
