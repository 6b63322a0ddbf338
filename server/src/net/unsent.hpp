// SPDX-License-Identifier: Apache-2.0
// What of a message is still to be sent. No I/O: takes the message apart, and is told how far it got.
#pragma once

#include <boost/asio/buffer.hpp>

#include <cstddef>
#include <vector>

namespace chiral::net {

/// A range of buffers that a write operation may copy freely: the buffers themselves stay where they are.
struct BufferRange {
    using value_type = boost::asio::const_buffer;
    using const_iterator = const value_type*;
    BufferRange() = default;
    BufferRange(const_iterator from, const_iterator to) noexcept : first(from), last(to) {}
    explicit BufferRange(const std::vector<value_type>& all) noexcept : first(all.data()), last(all.data() + all.size()) {}
    const_iterator first{nullptr}, last{nullptr};
    const_iterator begin() const noexcept { return first; }
    const_iterator end() const noexcept { return last; }
};

class Unsent {
public:
    /// A message, of which nothing has been sent.
    void begin(BufferRange message) noexcept {
        rest_ = message;
        skipped_ = 0;
        left_ = boost::asio::buffer_size(message);
    }
    /// Bytes.
    std::size_t left() const noexcept { return left_; }
    /// The next bytes, `most` of them if there are as many; valid until it is asked again.
    BufferRange front(std::size_t most) {
        part_.clear();
        std::size_t skip = skipped_;
        for (const boost::asio::const_buffer& piece : rest_) {
            if (most == 0) break;
            part_.push_back(boost::asio::buffer(piece + skip, most));
            most -= part_.back().size();
            skip = 0;
        }
        return BufferRange(part_);
    }
    /// So many of them have been sent.
    void sent(std::size_t bytes) noexcept {
        left_ -= bytes;
        for (; rest_.first != rest_.last && bytes >= rest_.first->size() - skipped_; ++rest_.first, skipped_ = 0)
            bytes -= rest_.first->size() - skipped_;
        skipped_ += bytes;
    }

private:
    BufferRange rest_;
    std::size_t skipped_{0};  // of its first buffer
    std::size_t left_{0};
    std::vector<boost::asio::const_buffer> part_;
};

}  // namespace chiral::net
