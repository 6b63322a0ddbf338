// SPDX-License-Identifier: Apache-2.0
// Clients that misbehave, on plain sockets: a well-behaved library would not let them.
#include "descriptor.hpp"
#include "faults.hpp"
#include "ws_reader.hpp"

#include <chiral/wire.hpp>

#include <chiral/server.hpp>

#include <fmt/format.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <utility>

extern char** environ;

namespace chiral::stress {
namespace {

using std::chrono::steady_clock;

// A TCP connection to the server and as much WebSocket as asking takes. Everything that has to come has kFaultDeadline.
class Connection {
public:
    explicit Connection(int port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        if (socket_.number() < 0) fail("socket");
        // Small, so that the kernel does not take what the client does not.
        const int buffer = 16 << 10;
        ::setsockopt(socket_.number(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
        const timeval deadline{std::chrono::seconds(kFaultDeadline).count(), 0};
        ::setsockopt(socket_.number(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
        ::setsockopt(socket_.number(), SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(socket_.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("connect");
    }

    int descriptor() const noexcept { return socket_.number(); }

    void send_handshake() {
        static constexpr char request[] =
            "GET / HTTP/1.1\r\nHost: robot\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        send(request, sizeof request - 1);
    }
    /// The HTTP status: 101 if the server lets us in.
    int handshake() {
        send_handshake();
        std::string answer;
        while (answer.find("\r\n\r\n") == std::string::npos) {  // byte by byte: what follows is no answer to this
            char byte = 0;
            if (read(&byte, 1) == 0) throw std::runtime_error("the server ended the connection in the handshake: " + answer);
            answer += byte;
        }
        return answer.size() > 12 ? std::atoi(answer.c_str() + 9) : 0;
    }
    void ask_for_observation() {
        std::vector<std::uint8_t> message;
        wire::encode_request(wire::RequestType::obs_request, message);
        std::vector<std::uint8_t> frame{0x82, static_cast<std::uint8_t>(0x80 | message.size()), 0, 0, 0, 0};  // mask 0
        frame.insert(frame.end(), message.begin(), message.end());
        send(frame.data(), frame.size());
    }
    std::size_t read(void* to, std::size_t size) {
        for (;;) {
            const ssize_t got = ::recv(socket_.number(), to, size, 0);
            if (got >= 0) return static_cast<std::size_t>(got);
            if (errno != EINTR) fail("recv");
        }
    }
    /// Ends it as a machine does that loses its power and comes back.
    void reset() noexcept {
        const linger at_once{1, 0};
        ::setsockopt(socket_.number(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        socket_.close();
    }
    void close() noexcept { socket_.close(); }

private:
    void send(const void* data, std::size_t size) {
        if (::send(socket_.number(), data, size, MSG_NOSIGNAL) != static_cast<ssize_t>(size)) fail("send");
    }
    Descriptor socket_;
};

// Through the handshake. A server that has just lost a client may need a moment to notice.
std::optional<Connection> connect(const FaultSite& site) {
    const SteadyTime deadline = steady_clock::now() + kFaultDeadline;
    while (!site.stop) {
        Connection connection(site.port());
        const int status = connection.handshake();
        if (status == 101) return connection;
        if (steady_clock::now() > deadline)
            throw std::runtime_error(fmt::format("the server still answers {} to a new client", status));
        connection.close();
        sleep_until(steady_clock::now() + std::chrono::milliseconds(5), site.stop);
    }
    return std::nullopt;
}

// Has the harness' own client make room, and back in afterwards.
class NetworkFault : public Fault {
public:
    void begin(FaultSite& site) override { site.turn.take(site.stop); }
    /// A new client is served, then the harness' own.
    void end(FaultSite& site) override {
        if (!site.stop) {
            LookChecker checker("a new client", site.cameras, site.proprios, Writes::frame, site.progress);
            observe_once(checker, site.progress, site.port(), kFaultDeadline, site.stop);
            if (checker.tally().violations() > 0) throw std::runtime_error(checker.tally().examples.front());
            if (checker.tally().looks == 0 && !site.stop) throw std::runtime_error("a new client got no observation");
        }
        site.turn.give_back();
    }
    void finish(FaultSite& site) override { site.turn.give_back(); }
};

// Asks for an observation, takes the beginning of it, and then nothing, until the server lets the next client in.
class StalledClient final : public NetworkFault {
public:
    void occur(FaultSite& site) override {
        std::optional<Connection> stalled = connect(site);
        if (!stalled) return;
        const std::uint64_t sent = site.store.server()->stats().observations;
        stalled->ask_for_observation();
        char some[4096];
        std::size_t taken = 0;
        while (taken < sizeof some) {
            const std::size_t got = stalled->read(some, sizeof some - taken);
            if (got == 0) throw std::runtime_error("the server ended the connection in the beginning of an observation");
            taken += got;
        }
        const std::uint64_t frames = site.engine().newest_frame(0);
        if (!connect(site)) return;
        // Half a frame that waits for ever in the server is not sent.
        (site.store.server()->stats().observations == sent ? in_the_middle_ : in_the_buffers_) += 1;
        frames_ += site.engine().newest_frame(0) - frames;
    }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = in_the_middle_;
        outcome.measured = fmt::format(
            "{} clients stopped in the middle of an observation and were dropped, {} frames of camera 0 came "
            "meanwhile{}",
            in_the_middle_, frames_,
            in_the_buffers_ ? fmt::format("; {} fitted into the kernel's buffers", in_the_buffers_) : "");
    }

private:
    std::uint64_t in_the_middle_{0};
    std::uint64_t in_the_buffers_{0};
    std::uint64_t frames_{0};
};

// A process that is killed while it reads: cat, whose output is a pipe that nobody empties.
class Victim {
public:
    explicit Victim(int input) {
        int pipe[2];
        if (::pipe2(pipe, O_CLOEXEC) != 0) fail("pipe");
        output_ = Descriptor(pipe[0]);
        const Descriptor writing(pipe[1]);
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions, writing.number(), STDOUT_FILENO);
        char name[] = "cat";
        char* const arguments[] = {name, nullptr};
        const int error = ::posix_spawnp(&pid_, name, &actions, nullptr, arguments, environ);
        ::posix_spawn_file_actions_destroy(&actions);
        if (error != 0) throw std::system_error(error, std::generic_category(), "cannot start cat");
    }
    Victim(const Victim&) = delete;
    ~Victim() { kill(); }

    /// Waits until it has read something, and written it.
    void await_reading() const {
        pollfd entry{output_.number(), POLLIN, 0};
        if (::poll(&entry, 1, static_cast<int>(std::chrono::milliseconds(kFaultDeadline).count())) <= 0)
            throw std::runtime_error("the client that is to be killed reads nothing");
    }
    /// True if it was alive until now.
    bool kill() noexcept {
        if (pid_ <= 0) return false;
        ::kill(pid_, SIGKILL);
        int status = 0;
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {}
        pid_ = -1;
        return WIFSIGNALED(status);
    }

private:
    pid_t pid_{-1};
    Descriptor output_;
};

class KilledClient final : public NetworkFault {
public:
    Nanoseconds interval() const override { return std::chrono::milliseconds(10); }
    void occur(FaultSite& site) override {
        std::optional<Connection> connection = connect(site);
        if (!connection) return;
        connection->ask_for_observation();
        Victim victim(connection->descriptor());
        connection->close();  // the victim has the only one
        victim.await_reading();
        if (victim.kill()) ++killed_;
    }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = killed_;
        outcome.measured = fmt::format("{} client processes were killed while they read an observation", killed_);
    }

private:
    std::uint64_t killed_{0};
};

class ReconnectStorm final : public NetworkFault {
public:
    // Every connection keeps a port of the machine for a minute.
    Nanoseconds interval() const override { return std::chrono::milliseconds(2); }
    void occur(FaultSite& site) override {
        switch (rounds_++ % 4) {
            case 0:
                Connection(site.port()).close();  // has not said a word
                ++connections_;
                break;
            case 1:
                Connection(site.port()).reset();
                ++connections_;
                break;
            case 2: {  // half of an observation
                std::optional<Connection> connection = connect(site);
                if (!connection) return;
                connection->ask_for_observation();
                char byte = 0;
                connection->read(&byte, 1);
                connection->reset();
                ++connections_;
                ++served_;
                break;
            }
            case 3: {  // all at once: one of them is let in, at most
                std::vector<Connection> crowd;
                for (int i = 0; i < 8; ++i) crowd.emplace_back(site.port()).send_handshake();
                connections_ += crowd.size();
                break;
            }
        }
    }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = connections_;
        outcome.measured =
            fmt::format("{} connections that ended without a goodbye, {} of them in an observation", connections_, served_);
    }

private:
    std::uint64_t rounds_{0};
    std::uint64_t connections_{0};
    std::uint64_t served_{0};
};

template <class Kind>
std::unique_ptr<Fault> make() {
    return std::make_unique<Kind>();
}

}  // namespace

std::span<const FaultEntry> network_faults() noexcept {
    static constexpr FaultEntry entries[] = {
        {"stalled_client", "a client stops reading in the middle of an observation", Needs::ws, true, make<StalledClient>},
        {"killed_client", "a client's process is killed in the middle of an observation", Needs::ws, true,
         make<KilledClient>},
        {"reconnect_storm", "clients come and go without end and without a goodbye", Needs::ws, false, make<ReconnectStorm>},
    };
    return entries;
}

}  // namespace chiral::stress
