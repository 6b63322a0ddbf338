// SPDX-License-Identifier: Apache-2.0
// A whole server with a client as clients are: it infers for long, its process is stopped, its link is slow.
#include "access_support.hpp"
#include "raw_http.hpp"

#include <chiral/client.hpp>

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

namespace chiral::test {
namespace {

using wire::RequestType;

// ---- the documented client ----

TEST(AServerWithAllItsDefaults, ServesTheDocumentedClientWithoutAnObjection) {
    ServerOptions options;  // all of them
    LogBook log;
    options.log = log.sink();
    std::vector<TimePoint> applied;
    HookedServer server(one_small_camera(), {{"q", 7}}, "127.0.0.1", 0, options);
    server.on_action = [&](const Action&) { applied.push_back(Clock::now()); };
    server.serve();
    ClientOptions of_client;  // and all of its own
    of_client.log = [](const std::string&) {};
    PolicyClient client(address("ws", server.port()), of_client);
    client.connect();
    client.get_metadata();
    client.reset();
    // Observations at 30 Hz and every third time an action.
    constexpr int kActions = 10;
    const TimePoint began = Clock::now();
    for (int look = 0; look < 3 * kActions; ++look) {
        client.get_obs();
        if (look % 3 == 0) client.apply_action(numbered_action(static_cast<float>(look)));
        std::this_thread::sleep_until(began + look * std::chrono::microseconds(33333));
    }
    client.get_obs();
    client.close();
    server.stop();
    server.wait();
    const ServerStats stats = server.stats();
    EXPECT_EQ(stats.actions_received, static_cast<std::uint64_t>(kActions));
    EXPECT_EQ(stats.actions_rejected + stats.actions_dropped + stats.protocol_errors + stats.hook_errors, 0u);
    EXPECT_EQ(stats.actions_applied + stats.actions_late, static_cast<std::uint64_t>(kActions));
    // On a machine that was too busy for 10 Hz an action may have come too late, or too late for the watchdog.
    std::uint64_t gaps = 0;
    for (std::size_t i = 1; i < applied.size(); ++i) gaps += applied[i] - applied[i - 1] > options.action_timeout;
    EXPECT_LE(stats.action_timeouts, gaps + 1) << "and one for the end";
    if (gaps == 0) {
        EXPECT_EQ(stats.actions_late, 0u);
    }
}

// ---- long inference ----

TEST(AClientThatInfersForLong, IsNeitherDeadNorDeafNorIdleAndItsNextActionIsApplied) {
    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) {
        options.heartbeat_timeout = std::chrono::milliseconds(250);
        options.deaf_timeout = options.handshake_timeout = std::chrono::milliseconds(500);
    });
    RawClient client = served.connect();
    client.ask(RequestType::obs_request);
    // It reads nothing and says nothing, while its machine takes what the server asks, five times in each 250 ms: for three
    // times as long as any limit.
    constexpr int kPings = 30, kBytesOfAPing = 2;
    EXPECT_TRUE(eventually([&] {
        int waiting = 0;
        return ::ioctl(client.descriptor(), FIONREAD, &waiting) == 0 && waiting >= kPings * kBytesOfAPing;
    }));
    client.send(numbered_action(5));
    EXPECT_TRUE(eventually([&] { return served->stats().actions_applied == 1; }));
    EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    EXPECT_EQ(served->stats().half_open, 0u);
}

// ---- a slow link ----

// One image of 18 MB.
std::vector<CameraConfig> one_large_camera() { return {camera("wide", 2000, 3000, 3, false)}; }
void one_observer(ServerOptions& options) { options.max_observers = 1; }  // and so little memory

TEST(APingInTheMiddleOfALargeAnswer, IsAnsweredWithinTwoSecondsOfASlowLink) {
    constexpr std::size_t kBytesASecond = 3'000'000;
    Served<HookedServer> served(one_large_camera(), {}, one_observer);
    RawClient client = served.connect(64 * 1024);
    client.send(RequestType::obs_request);
    client.await_input();
    client.send_frame(RawClient::kPing, bytes_of("are you there"));
    std::size_t bytes = 0, bytes_before_the_pong = 0;
    int pongs = 0;
    for (bool last = false; !last;) {
        const RawClient::Frame frame = client.read_frame();
        if (frame.opcode == RawClient::kPong) {
            EXPECT_EQ(frame.payload, bytes_of("are you there"));
            bytes_before_the_pong = bytes;
            ++pongs;
        } else if (frame.opcode != RawClient::kPing) {
            bytes += frame.payload.size();
            last = frame.last;
        }
    }
    EXPECT_EQ(pongs, 1) << "while the answer came";
    EXPECT_LE(bytes_before_the_pong, 2 * kBytesASecond);
    EXPECT_GT(bytes, 18'000'000u) << "the answer is whole";
}

TEST(AGoodbye, DoesNotWaitForTheRestOfALargeAnswer) {
    Served<HookedServer> served(one_large_camera(), {}, one_observer);
    RawClient client = served.connect(64 * 1024);
    client.send(RequestType::obs_request);
    client.await_input();
    served->stop();
    std::size_t bytes = 0;
    for (RawClient::Frame frame = client.read_frame();; frame = client.read_frame()) {
        bytes += frame.payload.size();
        if (frame.opcode != RawClient::kClose) continue;
        EXPECT_EQ(frame.close_code(), 1001);
        break;
    }
    EXPECT_LT(bytes, 9'000'000u);
}

// ---- a process that was stopped ----

// A server in a process of its own, whose hook tells which actions it was given.
class ServerProcess {
public:
    ServerProcess() {
        int to_us[2];
        if (::pipe(to_us) != 0) throw std::runtime_error("no pipe");
        child_ = ::fork();
        if (child_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            serve_until_killed(to_us[1]);
        }
        ::close(to_us[1]);
        from_child_ = to_us[0];
        port_ = static_cast<int>(next_number());
    }
    ~ServerProcess() {
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
        ::close(from_child_);
    }
    int port() const { return port_; }
    int descriptor() const { return from_child_; }  ///< to wait for the next action
    void stop() {
        int status = 0;
        ::kill(child_, SIGSTOP);
        ::waitpid(child_, &status, WUNTRACED);
    }
    void go_on() { ::kill(child_, SIGCONT); }
    /// Of the next action that is applied.
    float next_number() {
        float number = -1;
        if (::read(from_child_, &number, sizeof number) != sizeof number) throw std::runtime_error("the server has ended");
        return number;
    }

    static constexpr std::chrono::milliseconds kMostDelay{400};

private:
    [[noreturn]] static void serve_until_killed(int to_parent) {
        ServerOptions options;
        options.max_action_delay = kMostDelay;
        options.log = [](const std::string&) {};
        HookedServer server(one_small_camera(), {}, "127.0.0.1", 0, options);
        const auto tell = [to_parent](float number) {
            if (::write(to_parent, &number, sizeof number) != sizeof number) ::_exit(1);
        };
        server.on_action = [&](const Action& action) { tell(action.data[0]); };
        server.serve();
        tell(static_cast<float>(server.port()));
        for (;;) ::pause();
    }

    pid_t child_{-1};
    int from_child_{-1};
    int port_{0};
};

TEST(AServerThatWasStopped, RefusesWhatWasMeantForThePast) {
    constexpr int kMeanwhile = 20;  // so few that the kernel of a process that reads nothing has room for all
    ServerProcess server;
    RawClient client = RawClient::connected(server.port());
    std::set<float> applied;
    // On a machine that is slow some may come too late anyway: until one is in time.
    const auto apply = [&](float number) {
        while (!applied.contains(number)) {
            client.send(numbered_action(number));
            pollfd entry{server.descriptor(), POLLIN, 0};
            if (::poll(&entry, 1, static_cast<int>(ServerProcess::kMostDelay.count())) > 0)
                applied.insert(server.next_number());
        }
    };
    apply(1);
    server.stop();
    for (int i = 0; i < kMeanwhile; ++i) client.send(numbered_action(2));
    std::this_thread::sleep_for(2 * ServerProcess::kMostDelay);  // it is time itself that has to pass
    server.go_on();
    apply(3);
    EXPECT_FALSE(applied.contains(2));
}

// ---- a clock of its own ----

TEST(ACameraWhoseClockIsAhead, IsCountedByTheSampleAndLoggedOnce) {
    Served<HookedServer> served;
    const std::vector<std::uint8_t> image(4 * 6 * 3, 1);
    RawClient client = served.connect();
    const auto publish_and_look = [&](Duration ahead) {
        ASSERT_TRUE(served->update_image(0, image.data(), image.size(), Clock::now() + ahead).ok());
        for (int look = 0; look < 2; ++look) client.ask(RequestType::obs_request);
    };
    const auto counted = [&](const char* number) {
        const std::string figures = get(served->port(), "/metrics").body;
        return figures.find(std::string("chiral_source_ahead_total{kind=\"camera\",source=\"wrist\"} ") + number + '\n') !=
               std::string::npos;
    };
    publish_and_look(Duration::zero());
    EXPECT_TRUE(counted("0"));
    for (int i = 0; i < 3; ++i) publish_and_look(std::chrono::hours(1));
    EXPECT_TRUE(counted("3"));
    EXPECT_TRUE(served.log.wait_for("source 'wrist': captured after it was published"));
    publish_and_look(Duration::zero());
    publish_and_look(std::chrono::hours(1));
    EXPECT_TRUE(counted("4"));
    EXPECT_EQ(served.log.count("captured after it was published"), 1u);
}

}  // namespace
}  // namespace chiral::test
