// SPDX-License-Identifier: Apache-2.0
// Messages that wait to be sent, in buffers that are swapped with the sender's so that none is allocated in the steady state.
//
// Thread rule: any thread puts, one takes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace chiral::client {

struct Outgoing {
    std::vector<std::uint8_t> bytes;
    bool counted{false};  // what the sender wants to be told when it is sent
};

template <std::size_t size>
class OutgoingRing {
public:
    /// `message` gets back memory to reuse. False: full, and nothing was taken.
    bool put(std::vector<std::uint8_t>& message, bool counted) {
        std::lock_guard lock(mutex_);
        if (count_ == size) return false;
        Outgoing& last = ring_[(first_ + count_) % size];
        last.bytes.swap(message);
        last.counted = counted;
        ++count_;
        return true;
    }
    /// Swaps the oldest message with `sent`, whose memory is used again. False: there is none.
    bool take(Outgoing& sent) {
        std::lock_guard lock(mutex_);
        if (count_ == 0) return false;
        std::swap(sent, ring_[first_]);
        first_ = (first_ + 1) % size;
        --count_;
        return true;
    }
    bool empty() {
        std::lock_guard lock(mutex_);
        return count_ == 0;
    }

private:
    std::mutex mutex_;
    std::array<Outgoing, size> ring_;
    std::size_t first_{0};
    std::size_t count_{0};
};

}  // namespace chiral::client
