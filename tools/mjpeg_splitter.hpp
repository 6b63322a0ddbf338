// SPDX-License-Identifier: Apache-2.0
// Finds the pictures in a stream of JPEGs, one behind the other, as UVC cameras and `ffmpeg -f mjpeg` write them.
//
// Markers are followed as ITU-T T.81 says, so that a thumbnail inside a picture does not end it. What lies between pictures is
// passed over. A picture that grows beyond the most that it may have is dropped. No I/O; one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace chiral::tools {

class MjpegSplitter {
public:
    /// `most`: bytes of a picture.
    explicit MjpegSplitter(std::size_t most) : most_(most) { picture_.reserve(most); }

    /// Takes bytes up to the end of a picture, or all. Returns how many; whole() says whether a picture has ended there.
    std::size_t take(std::span<const std::uint8_t> bytes);
    bool whole() const noexcept { return state_ == State::whole; }
    /// From its first byte to its last, until the next take().
    std::span<const std::uint8_t> picture() const noexcept { return picture_; }
    /// Bytes of a picture that has not ended.
    std::size_t unfinished() const noexcept { return whole() ? 0 : picture_.size(); }
    /// Pictures that were dropped because they were too large.
    std::uint64_t dropped() const noexcept { return dropped_; }

    /// Forgets what is unfinished: another stream begins.
    void reset() noexcept;

private:
    // Between pictures; a marker is expected; the two bytes of a segment's length; its content; entropy-coded data; what follows
    // an 0xff in each of them.
    enum class State : std::uint8_t {
        between,
        start,
        marker,
        marker_code,
        length_high,
        length_low,
        segment,
        scan,
        scan_code,
        whole
    };

    State after(std::uint8_t byte) noexcept;
    State after_marker(std::uint8_t code) noexcept;

    const std::size_t most_;
    std::vector<std::uint8_t> picture_;
    State state_{State::between};
    std::size_t left_{0};  // of a segment
    bool scan_follows_{false};
    std::uint64_t dropped_{0};
};

}  // namespace chiral::tools
