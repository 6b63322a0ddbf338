// SPDX-License-Identifier: Apache-2.0
// The floor: memcpy and nothing else. It shows nobody anything.
//
// The writer copies into two buffers by turns, as any design must that does not write over what is being shown; into one
// buffer, a small payload would stay in the nearest cache and the floor would be one that nobody can reach. bare_memcpy_one
// is that other floor. A reader copies, once per look, a buffer that nobody writes.
#pragma once

#include "channel.hpp"

#include <array>
#include <span>
#include <vector>

namespace chiral::bench {

template <std::size_t Buffers>
class BareMemcpyInto {
public:
    static constexpr const char* name = Buffers == 1 ? "bare_memcpy_one" : "bare_memcpy";
    BareMemcpyInto(std::size_t bytes, int) : bytes_(bytes) {
        for (auto& buffer : buffers_) buffer.resize(bytes);
    }

    void update(const std::byte* data) {
        std::memcpy(buffers_[next_].data(), data, bytes_);
        next_ = (next_ + 1) % Buffers;
    }

    class Reader {
    public:
        explicit Reader(BareMemcpyInto& channel) : from_(channel.bytes_), to_(channel.bytes_) {}
        template <class Pause = NoPause>
        std::span<const std::byte> look(Pause&& pause = {}) {
            copy_with_pause(to_.data(), from_.data(), to_.size(), pause);
            return to_;
        }
        void release() {}

    private:
        std::vector<std::byte> from_, to_;
    };

private:
    std::size_t bytes_;
    std::array<std::vector<std::byte>, Buffers> buffers_;
    std::size_t next_{0};
};

using BareMemcpy = BareMemcpyInto<2>;
using BareMemcpyOne = BareMemcpyInto<1>;

}  // namespace chiral::bench
