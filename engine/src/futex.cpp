// SPDX-License-Identifier: Apache-2.0
// Sleeping on a word and waking its sleepers: futex(2). The kernel compares 32 bits, so the low half of the 64-bit word is
// handed to it; that half changes with every step of the sequence.
#include <chiral/core/atomics.hpp>
#include <chiral/time.hpp>

#include <algorithm>
#include <bit>
#include <climits>
#include <ctime>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace chiral::core {
namespace {

const void* low_half(const void* word) noexcept {
    return std::endian::native == std::endian::little ? word : static_cast<const char*>(word) + 4;
}

}  // namespace

bool StdAtomics::wait(const Atomic<std::uint64_t>& word, std::uint64_t value, Deadline deadline) noexcept {
    const auto now = deadline.now ? deadline.now() : std::chrono::steady_clock::now();
    if (now >= deadline.end) return false;
    // At most so long at a time: a minute keeps the arithmetic in range for time_point::max(), and a clock of one's own may
    // run faster than the kernel's.
    const std::chrono::nanoseconds at_most = deadline.now ? std::chrono::milliseconds(10) : std::chrono::minutes(1);
    const std::chrono::nanoseconds left = difference(deadline.end, now);
    const std::chrono::nanoseconds sleep = std::min(left, at_most);
    timespec timeout{};
    timeout.tv_sec = static_cast<time_t>(sleep.count() / 1'000'000'000);
    timeout.tv_nsec = static_cast<long>(sleep.count() % 1'000'000'000);
    // Any return is fine: the caller looks at the word and the clock again.
    syscall(SYS_futex, low_half(word.address()), FUTEX_WAIT_PRIVATE, static_cast<std::uint32_t>(value), &timeout, nullptr,
            0);
    return true;
}

void StdAtomics::wake_all(const Atomic<std::uint64_t>& word) noexcept {
    syscall(SYS_futex, low_half(word.address()), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace chiral::core
