// SPDX-License-Identifier: Apache-2.0
// Local clients in processes of their own, which a test kills, and what one that lies might try on memory that it was given.
#pragma once

#include "local_support.hpp"

#include <csignal>
#include <functional>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace chiral::test {

// A process that a failed test leaves behind ends by itself, as does what it forks.
inline void live_no_longer_than_needed() { alarm(static_cast<unsigned>(2 * kDeadline.count())); }

/// Runs `child` in a process of its own, which the test has to kill.
inline pid_t start_process(const std::function<void()>& child) {
    const pid_t process = fork();
    if (process == 0) {
        live_no_longer_than_needed();
        try {
            child();
        } catch (...) {  // the parent misses what it waits for
        }
        for (;;) pause();
    }
    return process;
}

inline void kill_process(pid_t process) {
    kill(process, SIGKILL);
    int status = 0;
    EXPECT_EQ(waitpid(process, &status, 0), process);
}

struct Pipe {
    Pipe() {
        if (pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    }
    ~Pipe() {
        close(ends[0]);
        close(ends[1]);
    }
    void wait_for_byte() const {
        char byte = 0;
        pollfd waiting{ends[0], POLLIN, 0};
        const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(kDeadline);
        ASSERT_EQ(poll(&waiting, 1, static_cast<int>(milliseconds.count())), 1);
        ASSERT_EQ(read(ends[0], &byte, 1), 1);
    }
    int ends[2]{-1, -1};
};

/// What a lying client might try on the memory that it was given, and must not get.
struct Attempt {
    const char* what;
    std::function<bool(int file, void* mapped, std::size_t bytes)> succeeds;
};

inline const Attempt kAttempts[] = {
    {"map it writable",
     [](int file, void*, std::size_t bytes) {
         return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) != MAP_FAILED;
     }},
    {"make its mapping writable",
     [](int, void* mapped, std::size_t bytes) { return mprotect(mapped, bytes, PROT_READ | PROT_WRITE) == 0; }},
    {"write to it", [](int file, void*, std::size_t) { return pwrite(file, "x", 1, 0) == 1; }},
    {"shorten it", [](int file, void*, std::size_t) { return ftruncate(file, 0) == 0; }},
    {"lengthen it", [](int file, void*, std::size_t bytes) { return ftruncate(file, static_cast<off_t>(2 * bytes)) == 0; }},
    {"punch a hole into it",
     [](int file, void*, std::size_t bytes) {
         return fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) == 0;
     }},
    {"remove its pages", [](int, void* mapped, std::size_t bytes) { return madvise(mapped, bytes, MADV_REMOVE) == 0; }},
    {"take its seals off", [](int file, void*, std::size_t) { return fcntl(file, F_ADD_SEALS, F_SEAL_WRITE) == 0; }},
    {"map it writable when it is opened anew",
     [](int file, void*, std::size_t bytes) {
         const net::Descriptor again(open(("/proc/self/fd/" + std::to_string(file)).c_str(), O_RDWR | O_CLOEXEC));
         return again && mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, again.get(), 0) != MAP_FAILED;
     }},
};

}  // namespace chiral::test
