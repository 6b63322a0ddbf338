// SPDX-License-Identifier: Apache-2.0
// Tells a source that has stopped from one that goes on sending the same thing.
//
// Reader-private; no shared state. A camera's content is judged by 64 words spread over the image. Only while those do not
// change from one frame to the next is the whole image hashed, so that a small moving object on a still background is never
// taken for a frozen camera.
#pragma once

#include <chiral/engine.hpp>

#include <cstdint>
#include <span>

namespace chiral::detail {

class Freshness {
public:
    /// Status of a sample. `content` is looked at only when `stamp` is a newer sample than the last one asked about.
    SourceStatus judge(const Stamp& stamp, Duration age, std::span<const std::uint8_t> content, Duration stale_after,
                       std::uint64_t frozen_after) noexcept;

private:
    void observe(const Stamp& stamp, std::span<const std::uint8_t> content) noexcept;

    std::uint64_t sequence_{0};  // last sample looked at
    TimePoint captured_{};
    std::uint64_t sampled_{0};  // digest of the spread words
    std::uint64_t whole_{0};    // digest of everything, if has_whole_
    bool has_whole_{false};
    std::uint64_t unchanged_{0};  // samples in a row that brought nothing new
};

}  // namespace chiral::detail
