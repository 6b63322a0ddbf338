// SPDX-License-Identifier: Apache-2.0
#include "mjpeg_splitter.hpp"

namespace chiral::tools {

namespace {

// ITU-T T.81, table B.1.
constexpr std::uint8_t kPrefix = 0xff, kStuffing = 0x00, kStartOfImage = 0xd8, kEndOfImage = 0xd9, kStartOfScan = 0xda,
                       kTemporary = 0x01;
constexpr bool is_restart(std::uint8_t code) noexcept { return code >= 0xd0 && code <= 0xd7; }

}  // namespace

void MjpegSplitter::reset() noexcept {
    picture_.clear();
    state_ = State::between;
}

std::size_t MjpegSplitter::take(std::span<const std::uint8_t> bytes) {
    if (whole()) reset();
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        state_ = after(bytes[i]);
        if (state_ == State::between) picture_.clear();
        else picture_.push_back(bytes[i]);
        if (state_ == State::whole) return i + 1;
        if (picture_.size() == most_) {
            ++dropped_;
            reset();
        }
    }
    return bytes.size();
}

MjpegSplitter::State MjpegSplitter::after(std::uint8_t byte) noexcept {
    switch (state_) {
        case State::whole:
        case State::between: return byte == kPrefix ? State::start : State::between;
        case State::start:
            if (byte == kPrefix) picture_.clear();  // fill bytes before a marker
            return byte == kStartOfImage ? State::marker : byte == kPrefix ? State::start : State::between;
        case State::marker: return byte == kPrefix ? State::marker_code : State::between;
        case State::marker_code: return after_marker(byte);
        case State::length_high: left_ = static_cast<std::size_t>(byte) << 8; return State::length_low;
        case State::length_low:
            left_ += byte;
            if (left_ < 2) return State::between;  // it counts its own two bytes
            left_ -= 2;
            break;
        case State::segment: --left_; break;
        case State::scan: return byte == kPrefix ? State::scan_code : State::scan;
        case State::scan_code:
            if (byte == kStuffing || is_restart(byte)) return State::scan;
            return byte == kPrefix ? State::scan_code : after_marker(byte);
    }
    return left_ > 0 ? State::segment : scan_follows_ ? State::scan : State::marker;
}

MjpegSplitter::State MjpegSplitter::after_marker(std::uint8_t code) noexcept {
    if (code == kPrefix) return State::marker_code;
    if (code == kEndOfImage) return State::whole;
    if (code == kStuffing || code == kStartOfImage) return State::between;
    if (code == kTemporary || is_restart(code)) return State::marker;
    scan_follows_ = code == kStartOfScan;
    return State::length_high;
}

}  // namespace chiral::tools
