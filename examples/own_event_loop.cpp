// SPDX-License-Identifier: Apache-2.0
// A robot inside a program that has an event loop of its own: serve() returns at once, signals stay the program's.
//
//     own_event_loop [SECONDS]     2 if not given; Ctrl-C ends it earlier
#include <chiral/server.hpp>

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
    const double seconds = argc > 1 ? std::atof(argv[1]) : 2.0;
    // Blocked before any thread is made, so that signals come here and nowhere else.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    const int signal_fd = ::signalfd(-1, &signals, SFD_CLOEXEC);
    const int timer_fd = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    const itimerspec every_fifth{{0, 200'000'000}, {0, 200'000'000}};
    if (signal_fd < 0 || timer_fd < 0 || ::timerfd_settime(timer_fd, 0, &every_fifth, nullptr) != 0) return 1;

    chiral::PolicyServer robot({}, {{"battery", 1}}, "127.0.0.1", 0);
    robot.serve();
    std::printf("serving on port %d\n", robot.port());

    const auto end = chiral::Clock::now() + std::chrono::duration<double>(seconds);
    float volts = 24.0f;
    while (chiral::Clock::now() < end) {
        pollfd ready[] = {{signal_fd, POLLIN, 0}, {timer_fd, POLLIN, 0}};
        if (::poll(ready, 2, 1000) < 0) break;
        if (ready[0].revents != 0) break;
        std::uint64_t ticks = 0;
        if (ready[1].revents == 0 || ::read(timer_fd, &ticks, sizeof ticks) != sizeof ticks) continue;
        volts -= 0.001f;
        const chiral::Status status = robot.engine().update_proprio(0, &volts, 1);  // any thread may; one at a time
        std::printf("%.3f V, sample %llu, %llu clients so far\n", static_cast<double>(volts),
                    static_cast<unsigned long long>(status.sequence()),
                    static_cast<unsigned long long>(robot.stats().connections));
    }
    robot.stop();  // does not wait: a loop could go on here
    robot.wait();
    ::close(signal_fd);
    ::close(timer_fd);
    std::puts("ended in order");
}
