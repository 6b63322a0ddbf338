// SPDX-License-Identifier: Apache-2.0
// Processes that a program with many threads starts without exec(): they are forked by a process that was forked while there was one
// thread only, and so may have threads of their own.
//
// None outlives this process, however that ends.
#pragma once

#include "pacer.hpp"

#include "shared.hpp"

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace chiral::stress {

class Nursery {
public:
    /// What a process is there for, with what it was told at its start. What it throws is its problem.
    using Role = std::function<void(const std::string& argument)>;

    /// Forks. Throws std::system_error.
    explicit Nursery(std::vector<Role> roles);
    ~Nursery();
    Nursery(const Nursery&) = delete;

    /// Of the one thread that has it. Killed at the end, if it has not ended by then.
    class Child {
    public:
        Child(Child&& other) noexcept;
        ~Child();

        /// True if it was alive until now.
        bool kill();
        void send(int signal) const;  ///< SIGSTOP or SIGCONT
        /// Empty if it has ended well; nothing if it still lives at the deadline.
        std::optional<std::string> ended_by(SteadyTime deadline);

    private:
        friend Nursery;
        Child(Nursery& nursery, std::size_t role, pid_t pid) : nursery_(nursery), role_(role), pid_(pid) {}

        Nursery& nursery_;
        std::size_t role_;
        pid_t pid_;  // 0: has ended
    };

    // Any thread:

    Child start(std::size_t role, const std::string& argument);

private:
    struct Request;
    using Problem = std::array<char, 512>;

    [[noreturn]] void tend(int socket) noexcept;
    pid_t fork_child(int socket, const Request& request) noexcept;
    [[noreturn]] void play(std::size_t role, const std::string& argument) noexcept;
    int ask(const Request& request);

    const std::vector<Role> roles_;
    Shared<Problem> problems_;  // the last one of each role
    std::mutex mutex_;          // of the socket: an answer follows its question
    int socket_{-1};
    pid_t pid_{0};
};

}  // namespace chiral::stress
