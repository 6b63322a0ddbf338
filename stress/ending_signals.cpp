// SPDX-License-Identifier: Apache-2.0
#include "ending_signals.hpp"

#include <signal.h>

#include <algorithm>
#include <ctime>

namespace chiral::stress {
namespace {

sigset_t ending_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    return signals;
}

}  // namespace

void block_signals() {
    const sigset_t signals = ending_signals();
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

bool wait_for_signal(SteadyTime until) {
    const sigset_t signals = ending_signals();
    for (;;) {
        const auto left = std::max<Nanoseconds>(until - std::chrono::steady_clock::now(), Nanoseconds(0)).count();
        const timespec timeout{static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
        if (::sigtimedwait(&signals, nullptr, &timeout) > 0) return true;
        if (std::chrono::steady_clock::now() >= until) return false;
    }
}

void let_signals_kill(bool had_one) {
    if (had_one) wait_for_signal(std::chrono::steady_clock::now() + std::chrono::milliseconds(50));
    const sigset_t signals = ending_signals();
    ::pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

}  // namespace chiral::stress
