// SPDX-License-Identifier: Apache-2.0
// Memory of the queues between threads, where a thread's first push is concerned.
//
// A moodycamel queue makes two small things for a thread that pushes for the first time. If there is memory for the first one alone,
// it keeps that as if it were whole, and refuses whatever the thread pushes from then on, though memory may be back a moment later:
// the watchdog would be mute for ever, or a client's thread deaf. So there is a reserve for these where malloc() has nothing. What is
// larger (room for what is pushed) fails as a whole, and is tried anew with the next push.
#pragma once

#include <concurrentqueue/concurrentqueue.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>

namespace chiral::net {

/// For the whole process. Any thread; lock-free.
class QueueReserve {
public:
    static constexpr std::size_t kSlotBytes = 1024;
    static constexpr std::size_t kSlots = 64;  // two for each thread and queue; they return with the queue

    /// Null if it is not for so many bytes, or has no more.
    void* take(std::size_t bytes) noexcept {
        if (bytes > kSlotBytes) return nullptr;
        std::uint64_t used = used_.load(std::memory_order_relaxed);
        while (~used != 0) {
            const auto slot = static_cast<unsigned>(std::countr_one(used));
            // acquire pairs with the release in give_back(): what was there is no longer read.
            if (used_.compare_exchange_weak(used, used | std::uint64_t{1} << slot, std::memory_order_acquire,
                                            std::memory_order_relaxed))
                return slots_[slot].data();
        }
        return nullptr;
    }
    /// False if it is not from here.
    bool give_back(void* memory) noexcept {
        const auto* const place = static_cast<const std::byte*>(memory);
        const std::byte* const first = slots_.front().data();
        if (std::less<>()(place, first) || !std::less<>()(place, first + kSlots * kSlotBytes)) return false;
        const auto slot = static_cast<std::size_t>(place - first) / kSlotBytes;
        used_.fetch_and(~(std::uint64_t{1} << slot), std::memory_order_release);
        return true;
    }

private:
    std::atomic<std::uint64_t> used_{0};  // a bit for each
    alignas(std::max_align_t) std::array<std::array<std::byte, kSlotBytes>, kSlots> slots_{};
};

inline constinit QueueReserve queue_reserve;

/// For queues of T.
template <class T>
struct QueueTraits : moodycamel::ConcurrentQueueDefaultTraits {
    // Blocks for what is pushed are larger than a slot: however much that is, the reserve remains.
    static constexpr std::size_t BLOCK_SIZE = 32 * sizeof(T) > QueueReserve::kSlotBytes ? 32 : 128;
    static_assert(BLOCK_SIZE * sizeof(T) > QueueReserve::kSlotBytes);
    // Sleeping soon is kinder to the robot's other threads than spinning is fast.
    static constexpr int MAX_SEMA_SPINS = 50;

    static void* malloc(std::size_t bytes) noexcept {
        void* const memory = std::malloc(bytes);
        return memory != nullptr ? memory : queue_reserve.take(bytes);
    }
    static void free(void* memory) noexcept {
        if (!queue_reserve.give_back(memory)) std::free(memory);
    }
};

}  // namespace chiral::net
