// SPDX-License-Identifier: Apache-2.0
#include "nursery.hpp"

#include <fmt/format.h>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace chiral::stress {
namespace {

constexpr int kStillAlive = -1;

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

void die_with_parent(pid_t parent) noexcept {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
}

int wait_for(pid_t pid, int options) noexcept {
    int status = 0;
    pid_t ended = 0;
    while ((ended = ::waitpid(pid, &status, options)) < 0 && errno == EINTR) {}
    return ended == pid ? status : kStillAlive;
}

}  // namespace

// Number 0: a role to start, with its argument; else the process to be waited for.
struct Nursery::Request {
    pid_t pid{0};
    std::size_t role{0};
    std::array<char, 256> argument{};
};

Nursery::Nursery(std::vector<Role> roles) : roles_(std::move(roles)), problems_(roles_.size()) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) fail("fork");
    if (pid_ == 0) {
        die_with_parent(parent);
        ::close(ends[0]);
        tend(ends[1]);
    }
    ::close(ends[1]);
    socket_ = ends[0];
}

Nursery::~Nursery() {
    ::close(socket_);
    wait_for(pid_, 0);
}

// Until the other end is closed. Its children die with it.
void Nursery::tend(int socket) noexcept {
    Request request;
    for (;;) {
        const ssize_t got = ::recv(socket, &request, sizeof request, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got != sizeof request) ::_exit(0);
        const int answer = request.pid == 0 ? fork_child(socket, request) : wait_for(request.pid, WNOHANG);
        if (::send(socket, &answer, sizeof answer, MSG_NOSIGNAL) != sizeof answer) ::_exit(0);
    }
}

pid_t Nursery::fork_child(int socket, const Request& request) noexcept {
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child != 0) return child;
    die_with_parent(parent);
    ::close(socket);
    play(request.role, request.argument.data());
}

void Nursery::play(std::size_t role, const std::string& argument) noexcept {
    Problem& problem = problems_[role];
    problem.fill(0);
    try {
        roles_[role](argument);
        ::_exit(0);
    } catch (const std::exception& error) {
        std::strncpy(problem.data(), error.what(), problem.size() - 1);
    }
    ::_exit(1);
}

int Nursery::ask(const Request& request) {
    const std::lock_guard lock(mutex_);
    int answer = 0;
    if (::send(socket_, &request, sizeof request, MSG_NOSIGNAL) != sizeof request ||
        ::recv(socket_, &answer, sizeof answer, 0) != sizeof answer)
        throw std::runtime_error("the process that starts others has ended");
    return answer;
}

Nursery::Child Nursery::start(std::size_t role, const std::string& argument) {
    Request request;
    request.role = role;
    if (argument.size() >= request.argument.size()) throw std::length_error("too long for a process: " + argument);
    std::ranges::copy(argument, request.argument.begin());
    const pid_t pid = ask(request);
    if (pid < 0) throw std::runtime_error("cannot start a process");
    return {*this, role, pid};
}

Nursery::Child::Child(Child&& other) noexcept
    : nursery_(other.nursery_), role_(other.role_), pid_(std::exchange(other.pid_, 0)) {}

Nursery::Child::~Child() {
    try {
        kill();
    } catch (const std::exception&) {  // then it has ended with the one that started it
    }
}

void Nursery::Child::send(int signal) const {
    if (pid_ != 0 && ::kill(pid_, signal) != 0) fail("kill");
}

bool Nursery::Child::kill() {
    if (pid_ == 0) return false;
    ::kill(pid_, SIGKILL);
    const std::optional<std::string> end = ended_by(SteadyTime::max());
    return end && *end == strsignal(SIGKILL);
}

std::optional<std::string> Nursery::Child::ended_by(SteadyTime deadline) {
    static const std::atomic<bool> never{false};
    while (pid_ != 0) {
        const int status = nursery_.ask({pid_, 0, {}});
        if (status == kStillAlive) {
            if (std::chrono::steady_clock::now() >= deadline) return std::nullopt;
            sleep_until(std::chrono::steady_clock::now() + std::chrono::milliseconds(1), never);
            continue;
        }
        pid_ = 0;
        if (WIFSIGNALED(status)) return strsignal(WTERMSIG(status));
        if (WEXITSTATUS(status) == 0) return std::string();
        const char* const why = nursery_.problems_[role_].data();
        return *why != 0 ? why : fmt::format("it ended with {}", WEXITSTATUS(status));
    }
    return std::string();
}

}  // namespace chiral::stress
