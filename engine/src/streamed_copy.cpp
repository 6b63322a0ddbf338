// SPDX-License-Identifier: Apache-2.0
#include "streamed_copy.hpp"

#include <algorithm>
#include <cstring>

// ThreadSanitizer does not see streamed stores, and is to see every store to a slot.
#if defined(__SANITIZE_THREAD__)
#define CHIRAL_STREAMS 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHIRAL_STREAMS 0
#endif
#endif
#if !defined(CHIRAL_STREAMS) && defined(__SSE2__)
#define CHIRAL_STREAMS 1
#include <emmintrin.h>
#endif

namespace chiral::detail {

void copy_streamed(void* to, const void* from, std::size_t bytes) noexcept {
    std::size_t done = 0;
#if defined(CHIRAL_STREAMS) && CHIRAL_STREAMS
    // A line at a time, so that each leaves the core whole.
    constexpr std::size_t kLine = 64, kVector = sizeof(__m128i);
    auto* const target = static_cast<std::byte*>(to);
    const auto* const source = static_cast<const std::byte*>(from);
    for (; done + kLine <= bytes; done += kLine) {
        __m128i line[kLine / kVector];
        std::memcpy(line, source + done, kLine);
        for (std::size_t i = 0; i < kLine / kVector; ++i)
            _mm_stream_si128(reinterpret_cast<__m128i*>(target + done) + i, line[i]);
    }
    // Streamed stores come in no order with others: before whatever publishes them.
    _mm_sfence();
#endif
    std::memcpy(static_cast<std::byte*>(to) + done, static_cast<const std::byte*>(from) + done, bytes - done);
}

bool CopyChoice::prefers_streamed() noexcept {
    const std::uint32_t plain = plain_.tried.load(std::memory_order_relaxed),
                        streamed = streamed_.tried.load(std::memory_order_relaxed);
    if (std::min(plain, streamed) < kFirst) return streamed < plain;
    const std::uint32_t copies = copies_.load(std::memory_order_relaxed) + 1;
    copies_.store(copies, std::memory_order_relaxed);
    const bool quicker = streamed_.time.load(std::memory_order_relaxed) < plain_.time.load(std::memory_order_relaxed);
    return (copies % kTryOther == 0) != quicker;
}

void CopyChoice::took(bool streamed, Duration time, std::size_t bytes) noexcept {
    if (time <= Duration::zero()) return;
    Way& way = streamed ? streamed_ : plain_;
    const auto nanoseconds = static_cast<std::uint64_t>(time.count());
    const std::uint64_t now = std::max<std::uint64_t>((nanoseconds << 16) / bytes, 1);
    const std::uint64_t before = way.time.load(std::memory_order_relaxed);
    const std::uint32_t tried = way.tried.load(std::memory_order_relaxed);
    // A copy in which the core was taken away counts as one of twice the time.
    const std::uint64_t mean = before - before / 8 + std::min(now, 2 * before) / 8;
    way.time.store(tried == 0 ? now : tried < kFirst ? std::min(before, now) : mean, std::memory_order_relaxed);
    if (tried < kFirst) way.tried.store(tried + 1, std::memory_order_relaxed);
}

}  // namespace chiral::detail
