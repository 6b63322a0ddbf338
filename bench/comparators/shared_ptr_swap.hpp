// SPDX-License-Identifier: Apache-2.0
// std::atomic<std::shared_ptr>: the writer fills a buffer that nobody holds and swaps it in; a reader takes a reference.
//
// Nobody copies but the writer. What it costs: libstdc++ locks inside the atomic, for a few instructions, by spinning on a
// bit of the pointer, so a thread that is preempted there makes the others spin.
//
// The buffers are used again: readers + 2 of them, of which the writer holds one reference each. One that only the writer
// holds is free for good, because nobody can get a reference to it any more.
#pragma once

#include "channel.hpp"

#include <atomic>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

namespace chiral::bench {

class SharedPtrSwap {
public:
    static constexpr const char* name = "shared_ptr_swap";
    using Buffer = std::vector<std::byte>;
    SharedPtrSwap(std::size_t bytes, int readers) {
        for (int i = 0; i < readers + 2; ++i) buffers_.push_back(std::make_shared<Buffer>(bytes));
        current_.store(buffers_[0]);
    }

    void update(const std::byte* data) {
        std::shared_ptr<Buffer>& buffer = buffers_[free_buffer()];
        std::memcpy(buffer->data(), data, buffer->size());
        current_.store(buffer, std::memory_order_release);
    }

    class Reader {
    public:
        explicit Reader(SharedPtrSwap& channel) : channel_(channel) {}
        template <class Pause = NoPause>
        std::span<const std::byte> look(Pause&& pause = {}) {
            held_ = channel_.current_.load(std::memory_order_acquire);
            pause();
            return *held_;
        }
        void release() { held_.reset(); }

    private:
        SharedPtrSwap& channel_;
        std::shared_ptr<const Buffer> held_;
    };

private:
    std::size_t free_buffer() const {
        for (std::size_t i = 0; i < buffers_.size(); ++i)
            if (buffers_[i].use_count() == 1) {
                // use_count() is relaxed; the count that it has read was left by the reader's release.
                std::atomic_thread_fence(std::memory_order_acquire);
                return i;
            }
        throw std::logic_error("shared_ptr_swap: more buffers are held than there are readers");
    }

    std::vector<std::shared_ptr<Buffer>> buffers_;
    alignas(64) std::atomic<std::shared_ptr<const Buffer>> current_;
};

}  // namespace chiral::bench
