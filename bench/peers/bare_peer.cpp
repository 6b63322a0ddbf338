// SPDX-License-Identifier: Apache-2.0
// The floor of bench/side_by_side.py: memory that two processes share, and a word in it that one of them sleeps upon. Nothing else.
//
//     chiral-bare-peer give - BYTES HZ                 says "ready FILE", publishes until its standard input ends
//     chiral-bare-peer take FILE BYTES next N          prints N figures, nanoseconds, as a JSON array
//
// Who gives wakes who takes by itself, in one system call. Nobody keeps an image from being written over while it is looked at: there
// are two by turns, and the giver does not care.
#include "pacer.hpp"

#include <chiral/time.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kBefore = 4096;  // images begin at a page, behind the word

std::int64_t now_ns() { return std::chrono::nanoseconds(chiral::Clock::now().time_since_epoch()).count(); }

class Shared {
public:
    Shared(int file, std::size_t bytes) : bytes_(bytes) {
        void* mapped = ::mmap(nullptr, kBefore + 2 * bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
        if (mapped == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
        memory_ = static_cast<std::uint8_t*>(mapped);
    }
    std::uint8_t* image(std::uint32_t number) const { return memory_ + kBefore + number % 2 * bytes_; }

    // release and acquire: who sees the number sees the image.
    void publish(std::uint32_t number) const {
        word().store(number, std::memory_order_release);
        ::syscall(SYS_futex, &word(), FUTEX_WAKE, 1, nullptr, nullptr, 0);
    }
    std::uint32_t wait_for_another_than(std::uint32_t number) const {
        for (;;) {
            if (const std::uint32_t now = word().load(std::memory_order_acquire); now != number) return now;
            ::syscall(SYS_futex, &word(), FUTEX_WAIT, number, nullptr, nullptr, 0);
        }
    }

private:
    using Word = std::atomic<std::uint32_t>;
    Word& word() const { return *reinterpret_cast<Word*>(memory_); }

    std::size_t bytes_;
    std::uint8_t* memory_{nullptr};  // until the process ends
};

void give(std::size_t bytes, double hz) {
    const int file = ::memfd_create("chiral-bare-peer", MFD_CLOEXEC);
    if (file < 0 || ::ftruncate(file, static_cast<off_t>(kBefore + 2 * bytes)) != 0)
        throw std::system_error(errno, std::generic_category(), "memfd_create");
    const Shared shared(file, bytes);
    std::atomic<bool> stopping{false};
    std::thread sensor([&] {
        const std::chrono::nanoseconds period(static_cast<std::int64_t>(1e9 / hz));
        chiral::stress::Pacer pacer(period, chiral::Clock::now() + period);
        for (std::uint32_t number = 1; !stopping; ++number) {
            pacer.wait(stopping);
            // The driver: pixels are there before the clock starts.
            std::memset(shared.image(number), static_cast<int>(number % 251), bytes);
            const std::int64_t stamp = now_ns();
            std::memcpy(shared.image(number), &stamp, sizeof stamp);
            shared.publish(number);
        }
    });
    fmt::print("ready /proc/{}/fd/{}\n", ::getpid(), file);
    std::fflush(stdout);
    for (char byte; ::read(STDIN_FILENO, &byte, 1) > 0;) {}
    stopping = true;
    sensor.join();
}

void take(const std::string& path, std::size_t bytes, std::size_t count) {
    const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (file < 0) throw std::system_error(errno, std::generic_category(), path);
    const Shared shared(file, bytes);
    std::vector<std::int64_t> times;
    std::uint32_t number = 0;
    const auto one = [&] {
        number = shared.wait_for_another_than(number);
        std::int64_t stamp = 0;
        std::memcpy(&stamp, shared.image(number), sizeof stamp);
        return now_ns() - stamp;
    };
    constexpr int warm_ups = 10;
    for (int i = 0; i < warm_ups; ++i) one();
    while (times.size() < count) times.push_back(one());
    fmt::print("[{}]\n", fmt::join(times, ", "));
}

}  // namespace

int main(int argc, char** argv) try {
    const std::vector<std::string> told(argv + 1, argv + argc);
    if (told.size() == 4 && told[0] == "give") give(std::stoul(told[2]), std::stod(told[3]));
    else if (told.size() == 5 && told[0] == "take" && told[3] == "next")
        take(told[1], std::stoul(told[2]), std::stoul(told[4]));
    else throw std::invalid_argument("expected: give - BYTES HZ, or take FILE BYTES next N");
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "chiral-bare-peer: %s\n", error.what());
    return 1;
}
