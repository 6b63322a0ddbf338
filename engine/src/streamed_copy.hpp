// SPDX-License-Identifier: Apache-2.0
// The copy of a payload into a slot that readers have looked at (core/looks.hpp): through the caches, or round them.
//
// A streamed copy costs the same wherever the slot's lines are. A plain one costs half of that where they are at hand, and up to
// ten times as much where they must be taken from a core that is far away, in another part of the processor or another socket.
// Which it is depends on machine, size and scheduler; so both are timed, and the quicker one is taken (bench/README.md).
#pragma once

#include <chiral/time.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace chiral::detail {

/// Below that a streamed copy wins little, and costs the reader more, who finds nothing in any cache.
inline constexpr std::size_t kLeastStreamed = 8192;

/// As memcpy, and seen as its stores are by whoever learns of them. `to` lies on a multiple of 16.
void copy_streamed(void* to, const void* from, std::size_t bytes) noexcept;

/// Which copy is the quicker one for one field, by what they took lately. Any thread; each value is a guess by itself, so
/// nothing is ordered: all is relaxed. In the engine's arena, a cache line for each: what a sensor thread writes lies nowhere else.
class alignas(64) CopyChoice {
public:
    /// Copies in either way, and learns from it. `now` reads a clock; from one that stands there is nothing to learn.
    template <class Now>
    void copy(void* to, const void* from, std::size_t bytes, Now now) noexcept {
        const bool streamed = prefers_streamed();
        const TimePoint start = now();
        if (streamed) copy_streamed(to, from, bytes);
        else std::memcpy(to, from, bytes);
        took(streamed, difference(now(), start), bytes);
    }

    /// The one that was quicker; to begin with each so often, and later once in so many copies the other one, which may have become
    /// quicker.
    bool prefers_streamed() noexcept;
    static constexpr std::uint32_t kFirst = 4, kTryOther = 1024;
    void took(bool streamed, Duration time, std::size_t bytes) noexcept;

private:
    // Time of a byte in 2^-16 nanoseconds: the least of the first ones, in any of which the core may have been taken away, and then
    // the mean.
    struct Way {
        std::atomic<std::uint64_t> time{0};
        std::atomic<std::uint32_t> tried{0};  // up to kFirst
    };
    Way plain_, streamed_;
    std::atomic<std::uint32_t> copies_{0};
};

}  // namespace chiral::detail
