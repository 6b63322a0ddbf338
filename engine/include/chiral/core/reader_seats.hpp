// SPDX-License-Identifier: Apache-2.0
// Which of the configured readers of a source exist. A seat hands its reader's hazard, with its epoch, from one owner to the next.
//
// Not on the hot path: taken and dropped when a reader is made and destroyed. Any thread.
#pragma once

#include <chiral/core/atomics.hpp>
#include <chiral/core/camera_sync.hpp>

#include <array>
#include <cstdint>

namespace chiral::core {

template <class P>
class ReaderSeats {
public:
    /// Index of a free seat that is now the caller's, or -1 if all `readers` are taken.
    int take(int readers) noexcept {
        for (int r = 0; r < readers; ++r)
            if (taken_[r].exchange(Site::seat_take, 1, std::memory_order_acquire) == 0) return r;
        return -1;
    }
    /// The same, the last free one: the first ones are for who reads a field that not all read.
    int take_last(int readers) noexcept {
        for (int r = readers - 1; r >= 0; --r)
            if (taken_[r].exchange(Site::seat_take, 1, std::memory_order_acquire) == 0) return r;
        return -1;
    }
    void drop(int r) noexcept { taken_[r].store(Site::seat_drop, 0, std::memory_order_release); }

private:
    std::array<typename P::template Atomic<std::uint32_t>, kMaxReaders> taken_;
};

}  // namespace chiral::core
