// A sequence lock over relaxed atomic words (Boehm, "Can seqlocks get along with programming language memory models?",
// 2012).
//
// The writer never waits. A reader copies and tries again when the writer came in between, so beside a writer that leaves no
// gap it may never get a value: it gives up after kAttempts. The words must be atomic for the program to be free of races,
// and that keeps the compiler from making one memcpy of the loop.
#pragma once

#include "channel.hpp"

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
                const std::uint64_t before = channel_.sequence_.load(std::memory_order_acquire);
                const std::size_t half = copy_.size() / 2;
                copy_words(0, half);
                pause();
                copy_words(half, copy_.size());
                std::atomic_thread_fence(std::memory_order_acquire);  // pairs with the release fence of update()
                if (before % 2 == 0 && channel_.sequence_.load(std::memory_order_relaxed) == before)
                    return std::as_bytes(std::span<const std::uint64_t>(copy_));
            }
            return {};
        }
        void release() {}

    private:
        void copy_words(std::size_t first, std::size_t last) {
            for (std::size_t i = first; i < last; ++i) copy_[i] = channel_.words_[i].load(std::memory_order_relaxed);
        }
        Seqlock& channel_;
        std::vector<std::uint64_t> copy_;
    };

private:
    alignas(64) std::atomic<std::uint64_t> sequence_{0};
    alignas(64) std::vector<std::atomic<std::uint64_t>> words_;
};

}  // namespace chiral::bench
