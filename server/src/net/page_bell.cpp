// SPDX-License-Identifier: Apache-2.0
#include "net/page_bell.hpp"

#include <algorithm>
#include <chrono>
#include <ctime>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace chiral::net {

// release, paired with the acquire in answer_to(): who sees the number sees the newest image of that answer.
void PageBell::ring(const BellAnswer& answer) const noexcept {
    newest().store(answer.newest, std::memory_order_relaxed);
    rung().store(static_cast<std::uint32_t>(answer.number), std::memory_order_release);
    wake();
}

std::optional<std::uint64_t> PageBell::answer_to(std::uint64_t number) const noexcept {
    if (rung().load(std::memory_order_acquire) != static_cast<std::uint32_t>(number)) return std::nullopt;
    return newest().load(std::memory_order_relaxed);
}

// Not FUTEX_PRIVATE: the two are of different processes.
void PageBell::wait_for(std::uint64_t number, Duration at_most) const noexcept {
    const std::uint32_t seen = rung().load(std::memory_order_relaxed);
    if (seen == static_cast<std::uint32_t>(number)) return;
    const auto left = std::max<std::int64_t>(std::chrono::nanoseconds(at_most).count(), 0);
    constexpr std::int64_t second = 1'000'000'000;
    const timespec timeout{static_cast<std::time_t>(left / second), static_cast<long>(left % second)};
    ::syscall(SYS_futex, &rung(), FUTEX_WAIT, seen, &timeout, nullptr, 0);
}

// One thread of the client waits. More than that a hostile one could make to be walked through, each time.
void PageBell::wake() const noexcept { ::syscall(SYS_futex, &rung(), FUTEX_WAKE, 1, nullptr, nullptr, 0); }

}  // namespace chiral::net
