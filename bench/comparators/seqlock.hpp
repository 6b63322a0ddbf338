// SPDX-License-Identifier: Apache-2.0
// A sequence lock over relaxed atomic words (Boehm, "Can seqlocks get along with programming language memory models?",
// 2012).
//
// The writer never waits. A reader waits for the end of an update, for about as long as one takes, copies, and tries again
// when the writer came in between. It looks for that after every page, too: what is no longer whole needs no more copying.
// Beside a writer that leaves no gap it may never get a value: it gives up after kAttempts. The words must be atomic for the
// program to be free of races, and that keeps the compiler from making one memcpy of the loop.
#pragma once

#include "channel.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

namespace chiral::bench {

class Seqlock {
public:
    static constexpr const char* name = "seqlock";
    static constexpr int kAttempts = 16;
    Seqlock(std::size_t bytes, int) : words_(bytes / sizeof(std::uint64_t)) {}

    void update(const std::byte* data) {
        const std::uint64_t sequence = sequence_.load(std::memory_order_relaxed);
        sequence_.store(sequence + 1, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_release);  // pairs with the acquire fence of look()
        for (std::size_t i = 0; i < words_.size(); ++i) {
            std::uint64_t word;
            std::memcpy(&word, data + i * sizeof word, sizeof word);
            words_[i].store(word, std::memory_order_relaxed);
        }
        sequence_.store(sequence + 2, std::memory_order_release);
    }

    class Reader {
    public:
        explicit Reader(Seqlock& channel) : channel_(channel), copy_(channel.words_.size()) {}
        template <class Pause = NoPause>
        std::span<const std::byte> look(Pause&& pause = {}) {
            for (int attempt = 0; attempt < kAttempts; ++attempt) {
                const std::uint64_t before = even_sequence();
                if (before % 2 != 0) continue;
                const std::size_t half = copy_.size() / 2;
                if (!copy_words(0, half, before)) continue;
                pause();
                if (!copy_words(half, copy_.size(), before)) continue;
                std::atomic_thread_fence(std::memory_order_acquire);  // pairs with the release fence of update()
                if (channel_.sequence_.load(std::memory_order_relaxed) == before)
                    return std::as_bytes(std::span<const std::uint64_t>(copy_));
            }
            return {};
        }
        void release() {}

    private:
        static constexpr std::size_t kPage = 4096 / sizeof(std::uint64_t);
        // Odd if the update went on for longer than it should: its writer may have been preempted.
        std::uint64_t even_sequence() const {
            std::uint64_t sequence = channel_.sequence_.load(std::memory_order_acquire);
            for (std::size_t i = 0; sequence % 2 != 0 && i < 256 + copy_.size(); ++i)
                sequence = channel_.sequence_.load(std::memory_order_acquire);
            return sequence;
        }
        // False: an update has begun. That it has not is for the fence in look() to say.
        bool copy_words(std::size_t first, std::size_t last, std::uint64_t sequence) {
            while (first < last) {
                const std::size_t end = std::min(first + kPage, last);
                for (; first < end; ++first) copy_[first] = channel_.words_[first].load(std::memory_order_relaxed);
                if (channel_.sequence_.load(std::memory_order_relaxed) != sequence) return false;
            }
            return true;
        }
        Seqlock& channel_;
        std::vector<std::uint64_t> copy_;
    };

private:
    alignas(64) std::atomic<std::uint64_t> sequence_{0};
    alignas(64) std::vector<std::atomic<std::uint64_t>> words_;
};

}  // namespace chiral::bench
