// SPDX-License-Identifier: Apache-2.0
// Tells a source that has stopped from one that goes on sending the same thing.
//
// Judged is what this reader looked at, in a row. If it looks at every second image, and A, B, A, B is published, it sees
// A, A, A: so equal content counts only once the gaps between the looks have no common divisor but 1, which no alternation,
// of whatever period, survives. A capture time that does not move needs no such proof.
//
// Reader-private; no shared state. A camera's content is judged by 64 words spread over the image. Only while those do not
// change from one frame to the next is the whole image hashed, so that a small moving object on a still background is never
// taken for a frozen camera.
#pragma once

#include <chiral/engine.hpp>

#include <cstdint>
#include <span>

namespace chiral::detail {

/// What a source is judged by.
struct Limits {
    Duration stale_after{};
    std::uint64_t frozen_after{0};  // 0: never
    Duration ahead_tolerance{};
};

class Freshness {
public:
    /// Status of a sample. `content` is looked at only when `stamp` is a newer sample than the last one asked about.
    SourceStatus judge(const Stamp& stamp, Duration age, std::span<const std::uint8_t> content,
                       const Limits& limits) noexcept;

private:
    void observe(const Stamp& stamp, std::span<const std::uint8_t> content) noexcept;

    std::uint64_t sequence_{0};  // last sample looked at
    TimePoint captured_{};
    std::uint64_t sampled_{0};  // digest of the spread words
    std::uint64_t whole_{0};    // digest of everything, if has_whole_
    bool has_whole_{false};
    std::uint64_t same_content_{0};  // samples in a row that were looked at and had the content of the one before
    std::uint64_t same_capture_{0};  // the same for the capture time
    std::uint64_t gap_{0};           // greatest common divisor of the distances between those of the same content
};

}  // namespace chiral::detail
