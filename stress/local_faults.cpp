// SPDX-License-Identifier: Apache-2.0
// Clients of a local socket that misbehave: processes that hold what they may and die, stop, fork or lie, and packets of nobody's
// making. The run's own client goes on beside them.
#include "faults.hpp"
#include "local_clients.hpp"
#include "local_socket.hpp"

#include <chiral/server.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace chiral::stress {
namespace {

using std::chrono::steady_clock;

// A client of these is let in, or an answer of its server comes, within this; one that hangs is killed at the end of the run.
SteadyTime patience() { return steady_clock::now() + 2 * kFaultDeadline; }

class LocalFault : public Fault {
public:
    // The run's own client is there before there is a crowd that leaves it no connection.
    void begin(FaultSite& site) override {
        room(site).look_again = false;
        room(site).orphans_end = false;
        const SteadyTime deadline = patience();
        while (site.own_client.looks == 0 && !site.stop) {
            if (steady_clock::now() > deadline) throw std::runtime_error("the run's own client gets no observation");
            sleep_until(steady_clock::now() + std::chrono::milliseconds(2), site.stop);
        }
    }
    /// A new client is served, in both ways.
    void end(FaultSite& site) override {
        if (site.stop) return;
        Nursery::Child newcomer = site.local->start_newcomer();
        expect_well(newcomer, "a new client");
    }

protected:
    static FaultRoom& room(const FaultSite& site) { return site.local->room().fault; }

    static void expect_well(Nursery::Child& child, const char* who) {
        const std::optional<std::string> end = child.ended_by(patience());
        if (!end) throw std::runtime_error(fmt::format("{} does not come to its end", who));
        if (!end->empty()) throw std::runtime_error(fmt::format("{}: {}", who, *end));
    }
    // The child says so in its room. False at the end of the run.
    static bool await_word(const FaultSite& site, Nursery::Child& child, const std::atomic<std::uint64_t>& count,
                           std::uint64_t before, const char* who) {
        while (count == before && !site.stop) {
            const std::optional<std::string> end = child.ended_by(steady_clock::now() + std::chrono::milliseconds(1));
            if (end && count == before && !site.stop) throw std::runtime_error(fmt::format("{}: {}", who, *end));
        }
        return !site.stop;
    }
    // Frames of camera 0 that go past what is held: more than there are slots.
    bool await_frames(const FaultSite& site) {
        constexpr std::uint64_t kFrames = 20;
        const std::uint64_t first = site.engine().newest_frame(0);
        const SteadyTime deadline = patience();
        while (site.engine().newest_frame(0) < first + kFrames && !site.stop) {
            if (steady_clock::now() > deadline) throw std::runtime_error("nothing is published beside such a client");
            sleep_until(steady_clock::now() + std::chrono::milliseconds(2), site.stop);
        }
        frames_ += site.engine().newest_frame(0) - first;
        return !site.stop;
    }

    std::uint64_t happened_{0};
    std::uint64_t frames_{0};  // of camera 0, meanwhile
};

// kill -9 of one that has pinned all that it may, itself and by the server.
class KilledHolder final : public LocalFault {
public:
    void occur(FaultSite& site) override {
        const std::uint64_t before = room(site).held;
        Nursery::Child child = site.local->start_holder(site.local->socket());
        if (!await_word(site, child, room(site).held, before, "the client that is to be killed")) return;
        if (child.kill()) ++happened_;
    }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = happened_;
        outcome.measured = fmt::format("{} client processes were killed while they held all that they may", happened_);
    }
};

// SIGSTOP of one, while frames go past what it holds; when it goes on it finds that unchanged.
class StoppedHolder final : public LocalFault {
public:
    void occur(FaultSite& site) override {
        const std::uint64_t before = room(site).held;
        room(site).look_again = false;
        Nursery::Child child = site.local->start_holder(site.local->socket());
        if (!await_word(site, child, room(site).held, before, "the client that is to be stopped")) return;
        child.send(SIGSTOP);
        if (!await_frames(site)) return;
        room(site).look_again = true;
        child.send(SIGCONT);
        expect_well(child, "the client that was stopped");
        if (!site.stop) ++happened_;
    }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = happened_;
        outcome.measured =
            fmt::format("{} clients were stopped, {} frames of camera 0 went past, and what they held was unchanged",
                        happened_, frames_);
    }
};

// The client is killed, and its child has its socket and its mappings still: the next one is let in all the same.
class ForkedHolder final : public LocalFault {
public:
    void occur(FaultSite& site) override {
        const std::uint64_t before = room(site).held;
        room(site).orphans_end = false;
        Nursery::Child child = site.local->start_parent();
        if (!await_word(site, child, room(site).held, before, "the client that is to fork")) return;
        child.kill();
        if (!told_of_processes()) room(site).orphans_end = true;
        Nursery::Child next = site.local->start_newcomer();
        expect_well(next, "the client after the one that left a child");
        room(site).orphans_end = true;
        if (!site.stop) ++happened_;
    }
    void finish(FaultSite& site) override { room(site).orphans_end = true; }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = happened_;
        outcome.measured = fmt::format("{} clients were killed and left a child with their socket{}", happened_,
                                       told_of_processes() ? "" : ", which this kernel has to wait for");
    }

private:
    // SO_PEERPIDFD, since Linux 6.5.
    static bool told_of_processes() {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
        const Descriptor one(ends[0]), other(ends[1]);
        constexpr int kPeerPidfd = 77;
        int number = -1;
        socklen_t size = sizeof number;
        const bool told = ::getsockopt(one.number(), SOL_SOCKET, kPeerPidfd, &number, &size) == 0;
        const Descriptor process(number);
        return told;
    }
};

// Nonsense in every word of a page that writers look into, as fast as it comes, killed in the middle.
class LyingPage final : public LocalFault {
public:
    void occur(FaultSite& site) override {
        const std::uint64_t held = room(site).held, words = room(site).words;
        Nursery::Child child = site.local->start_liar();
        if (!await_word(site, child, room(site).held, held, "the client that is to lie")) return;
        const bool frames = await_frames(site);
        child.kill();
        if (frames && room(site).words > words) ++happened_;
        words_ += room(site).words - words;
    }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = happened_;
        outcome.measured =
            fmt::format("{} clients wrote {:.1f} million words of nonsense where writers look; {} frames of camera 0",
                        happened_, static_cast<double>(words_) / 1e6, frames_);
    }

private:
    std::uint64_t words_{0};
};

// Packets that nobody may send, more of them than anybody may, descriptors, other versions, and more connections than one user has.
class LocalFlood final : public LocalFault {
public:
    Nanoseconds interval() const override { return std::chrono::milliseconds(5); }
    void occur(FaultSite& site) override {
        const std::string& path = site.local->socket();
        switch (rounds_++ % 5) {
            case 0: {  // of another version
                const LocalSocket socket(path);
                socket.send(hello(kLocalVersion + 1, "observe", true));
                return expect_closed(socket, "another version");
            }
            case 1: {  // anything, and no hello
                const LocalSocket socket(path);
                socket.send(nonsense());
                return expect_closed(socket, "nonsense");
            }
            case 2:  // many packets of a known kind
                if (const auto socket = LocalSocket::let_in(path, "observe", false, site.stop)) {
                    for (int i = 0; i < 5000 && socket->send("p" + std::string(16, 'x')); ++i) {}
                    const SteadyTime at_last = patience();  // it is read on, if not as fast as it was sent
                    while (!socket->send("R\x01") && errno == EAGAIN && steady_clock::now() < at_last)
                        sleep_until(steady_clock::now() + std::chrono::milliseconds(1), site.stop);
                    expect_closed(*socket, "what it does not hold given back, after a flood");
                }
                return;
            case 3:  // descriptors
                if (const auto socket = LocalSocket::let_in(path, "observe", false, site.stop)) {
                    const Descriptor null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
                    socket->send(nonsense(), null.number());
                    expect_closed(*socket, "a descriptor");
                }
                return;
            case 4: {  // a crowd that says nothing; those beyond the user's share are closed
                std::vector<LocalSocket> crowd;
                const std::size_t share = LocalAccess{}.max_connections_per_user;
                for (std::size_t i = 0; i < share; ++i) crowd.emplace_back(path);
                return expect_closed(crowd.back(), "one connection too many");  // the run's own is one of the share
            }
        }
    }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = happened_;
        outcome.measured = fmt::format("{} clients that sent what they must not were closed", happened_);
    }

private:
    std::string nonsense() {
        std::string bytes(1 + random_() % 2000, ' ');
        for (char& byte : bytes) byte = static_cast<char>(random_());
        bytes.front() = "xXWN?"[random_() % 5];
        return bytes;
    }
    void expect_closed(const LocalSocket& socket, const char* after) {
        if (!socket.is_closed()) throw std::runtime_error(fmt::format("the server goes on with a client after {}", after));
        ++happened_;
    }

    std::minstd_rand random_;
    std::uint64_t rounds_{0};
};

// Another server of this process ends while a client holds what it has lent, and one at the same place comes after it.
class RestartedServer final : public LocalFault {
public:
    void occur(FaultSite& site) override {
        const std::string path = site.local->socket() + ".2";
        const std::uint64_t before = room(site).held;
        room(site).look_again = false;
        auto first = std::make_unique<Little>(path, std::uint8_t{1});
        Nursery::Child child = site.local->start_survivor(path);
        const bool holds = await_word(site, child, room(site).held, before, "the client of a server that ends");
        first.reset();
        if (!holds) return;
        const Little second(path, std::uint8_t{2});
        room(site).look_again = true;
        expect_well(child, "the client whose server was started anew");
        if (!site.stop) ++happened_;
    }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = happened_;
        outcome.measured = fmt::format(
            "{} servers ended under a held image, which stayed as it was, and their successors served", happened_);
    }

private:
    // Shows one image, all of the same byte.
    class Little final : public PolicyServer {
    public:
        Little(const std::string& path, std::uint8_t byte) : PolicyServer({camera()}, {}, "127.0.0.1", 0, options(path)) {
            const std::vector<std::uint8_t> image(image_bytes(camera()), byte);
            static_cast<void>(engine().update_image(0, image.data(), image.size()));
            serve();
        }
        ~Little() override {
            stop();
            wait();
        }

    private:
        static CameraConfig camera() {
            CameraConfig camera;
            camera.name = "cam";
            camera.width = camera.height = 64;
            camera.stale_after = std::chrono::minutes(10);  // a busy machine is no reason
            return camera;
        }
        static ServerOptions options(const std::string& path) {
            ServerOptions options;
            options.local_socket = path;
            options.access.local.only = true;
            options.access.local.max_observers = 0;
            options.access.local.direct_readers = 1;
            options.handle_signals = false;
            options.quiesce = {};
            options.log = [](const std::string&) {};
            return options;
        }
    };
};

template <class Kind>
std::unique_ptr<Fault> make() {
    return std::make_unique<Kind>();
}

}  // namespace

std::span<const FaultEntry> local_faults() noexcept {
    static constexpr FaultEntry entries[] = {
        {"local_killed", "a local client is killed while it holds all that it may", Needs::local, true, make<KilledHolder>},
        {"local_stopped", "a local client is stopped while it holds all that it may, and goes on", Needs::local, true,
         make<StoppedHolder>},
        {"local_forked", "a local client is killed, and a child has all that it had", Needs::local, true,
         make<ForkedHolder>},
        {"local_lies", "a local client writes nonsense where it says what it has pinned", Needs::local, true,
         make<LyingPage>},
        {"local_flood", "local clients send what they must not, and too much, and descriptors", Needs::local, false,
         make<LocalFlood>},
        {"local_restart", "a server ends while a local client holds what it has lent", Needs::local, false,
         make<RestartedServer>},
    };
    return entries;
}

}  // namespace chiral::stress
