// SPDX-License-Identifier: Apache-2.0
#include "freshness.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <numeric>

namespace chiral::detail {
namespace {

// A digest, not a checksum: equal content gives equal digests, and a change is missed with a chance of about 2^-64. Each
// word is mixed with the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
constexpr std::uint64_t mix(std::uint64_t x) noexcept {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

std::uint64_t load_word(const std::uint8_t* at) noexcept {
    std::uint64_t word;
    std::memcpy(&word, at, sizeof word);
    return word;
}

std::uint64_t digest_all(std::span<const std::uint8_t> content) noexcept {
    // Four independent lanes keep the multiplier busy: about memory speed.
    std::array<std::uint64_t, 4> lanes{1, 2, 3, 4};
    std::size_t i = 0;
    for (; i + 32 <= content.size(); i += 32)
        for (std::size_t lane = 0; lane < 4; ++lane)
            lanes[lane] =
                (lanes[lane] ^ load_word(content.data() + i + 8 * lane)) * 0x9e3779b97f4a7c15u + (lanes[lane] >> 29);
    for (; i < content.size(); ++i) lanes[0] = mix(lanes[0] ^ content[i]);
    return mix(lanes[0]) ^ mix(lanes[1] + 1) ^ mix(lanes[2] + 2) ^ mix(lanes[3] + 3);
}

std::uint64_t digest_sampled(std::span<const std::uint8_t> content) noexcept {
    constexpr std::size_t kSamples = 64;
    if (content.size() <= kSamples * sizeof(std::uint64_t)) return digest_all(content);
    const std::size_t room = content.size() - sizeof(std::uint64_t);
    std::uint64_t digest = 0;
    for (std::size_t i = 0; i < kSamples; ++i) {
        // The fractional parts of multiples of the golden ratio spread evenly over rows and columns alike.
        const std::size_t offset = static_cast<std::size_t>(
            static_cast<double>(room) * static_cast<double>((i + 1) * 0x9e3779b97f4a7c15u >> 11) * 0x1p-53);
        digest = mix(digest ^ load_word(content.data() + offset));
    }
    return digest;
}

}  // namespace

void Freshness::observe(const Stamp& stamp, std::span<const std::uint8_t> content) noexcept {
    const std::uint64_t sampled = digest_sampled(content);
    bool same = false;
    if (sampled != sampled_) {
        has_whole_ = false;
    } else {
        const std::uint64_t whole = digest_all(content);
        same = has_whole_ && whole == whole_;
        whole_ = whole;
        has_whole_ = true;
    }
    const bool first = sequence_ == 0;
    same_content_ = same && !first ? same_content_ + 1 : 0;
    gap_ = same_content_ > 0 ? std::gcd(gap_, stamp.sequence - sequence_) : 0;
    same_capture_ = stamp.captured == captured_ && !first ? same_capture_ + 1 : 0;
    sequence_ = stamp.sequence;
    captured_ = stamp.captured;
    sampled_ = sampled;
}

SourceStatus Freshness::judge(const Stamp& stamp, Duration age, std::span<const std::uint8_t> content,
                              const Limits& limits) noexcept {
    if (stamp.sequence == 0) return SourceStatus::never;
    if (limits.frozen_after > 0 && stamp.sequence > sequence_) observe(stamp, content);
    if (age > limits.stale_after) return SourceStatus::stale;
    if (difference(stamp.captured, stamp.published) > limits.ahead_tolerance) return SourceStatus::ahead;
    const bool frozen = same_capture_ >= limits.frozen_after || (same_content_ >= limits.frozen_after && gap_ == 1);
    return limits.frozen_after > 0 && frozen ? SourceStatus::frozen : SourceStatus::fresh;
}

}  // namespace chiral::detail
