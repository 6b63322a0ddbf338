// SPDX-License-Identifier: Apache-2.0
// Triple buffers, as the crate of that name has them: one for each reader, because each has one reader. The writer fills the buffer that
// nobody sees and swaps it with the middle one; the reader swaps its own with the middle one if that is newer. Both wait for nobody,
// and the price is a copy for each reader, and that no two readers, and no two cameras, need show the same instant.
#pragma once

#include "channel.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace chiral::bench {

class TripleBuffer {
    struct Lane {
        explicit Lane(std::size_t size) {
            for (auto& buffer : buffers) buffer.resize(size);
        }
        std::array<std::vector<std::byte>, 3> buffers;
        alignas(64) std::atomic<std::uint32_t> middle{1};  // both ends'
        alignas(64) std::uint32_t back{2};                 // the writer's
        alignas(64) std::uint32_t front{0};                // the reader's
    };

public:
    static constexpr const char* name = "triple_buffer";
    TripleBuffer(std::size_t bytes, int readers) : bytes_(bytes) {
        for (int i = 0; i < std::max(1, readers); ++i) lanes_.push_back(std::make_unique<Lane>(bytes));
    }

    void update(const std::byte* data) {
        for (auto& lane : lanes_) {
            std::memcpy(lane->buffers[lane->back].data(), data, bytes_);
            // Release: the reader that takes the buffer sees the copy. Acquire: what comes back has been read to the end.
            lane->back = lane->middle.exchange(lane->back | kNew, std::memory_order_acq_rel) & kIndex;
        }
    }

    class Reader {
    public:
        explicit Reader(TripleBuffer& channel) : lane_(*channel.lanes_[channel.next_reader_++]) {}
        template <class Pause = NoPause>
        std::span<const std::byte> look(Pause&& pause = {}) {
            // Relaxed: only this reader takes the mark away. The exchange pairs with the writer's.
            if (lane_.middle.load(std::memory_order_relaxed) & kNew)
                lane_.front = lane_.middle.exchange(lane_.front, std::memory_order_acq_rel) & kIndex;
            pause();
            return lane_.buffers[lane_.front];
        }
        void release() {}  // keeps the value: if no newer one comes, it is the latest

    private:
        Lane& lane_;
    };

private:
    static constexpr std::uint32_t kIndex = 3, kNew = 4;

    std::size_t bytes_;
    std::vector<std::unique_ptr<Lane>> lanes_;
    std::size_t next_reader_{0};
};

}  // namespace chiral::bench
