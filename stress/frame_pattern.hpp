// SPDX-License-Identifier: Apache-2.0
// What the stress harness writes into every buffer, and how it tells from any part of a buffer which frame wrote it.
//
// Every frame carries its number everywhere:
//   image        every 8 bytes hold the whole number and the camera, scrambled differently at every position
//   depth        every element is the number modulo what its type counts exactly: 2^24 from 32 bits on, 65536 for 16-bit
//                integers, 2048 for float16, 256 for 8 bits
//   K and T      element i of camera c is number + (i + 16 c) / 4096, exactly
//   proprio      value i of stream s is an integer below 2^24 that holds number, i and s
//   capture time the count of 100 ns steps within 100 us is number mod 1000
// So a buffer that two updates wrote, a field or a time that belongs to another frame, and a buffer of another camera are
// all told apart, and a report can say which frame lies where. Filling and checking run at memory speed.
#pragma once

#include <chiral/dtype.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace chiral::stress {

/// Elements of a buffer that a check looks at.
struct Coverage {
    std::size_t first{0};
    std::size_t stride{1};  ///< 0: only `first`
    static constexpr Coverage all() noexcept { return {0, 1}; }
};

/// Where a buffer stops being what one frame wrote.
struct Difference {
    std::size_t element;                 ///< index of the first wrong byte (image) or value
    std::optional<std::uint64_t> frame;  ///< the frame that lies there instead; empty if it is none
};

/// Images are checked in units of 8 bytes; the last one may be shorter.
constexpr std::size_t image_units(std::size_t bytes) noexcept { return (bytes + 7) / 8; }

void fill_image(std::span<std::uint8_t> image, std::uint64_t number, std::size_t camera) noexcept;
void fill_depth(std::span<std::uint8_t> depth, DType type, std::uint64_t number) noexcept;
void fill_matrix(std::span<double> matrix, std::uint64_t number, std::size_t camera) noexcept;
void fill_proprio(std::span<float> values, std::uint64_t number, std::size_t stream) noexcept;

/// The number that the first elements of a buffer hold; empty if it is no number of this source. For depth and proprio, the
/// one nearest to `about`, because their numbers wrap.
std::optional<std::uint64_t> image_number(std::span<const std::uint8_t> image, std::size_t camera) noexcept;
std::optional<std::uint64_t> depth_number(std::span<const std::uint8_t> depth, DType type, std::uint64_t about) noexcept;
std::optional<std::uint64_t> matrix_number(std::span<const double> matrix, std::size_t camera) noexcept;
std::optional<std::uint64_t> proprio_number(std::span<const float> values, std::uint64_t about, std::size_t stream) noexcept;

/// Compares what `coverage` covers with what frame `number` wrote. Empty: all equal. Coverage of an image is in units.
std::optional<Difference> check_image(std::span<const std::uint8_t> image, std::uint64_t number, std::size_t camera,
                                      Coverage coverage = Coverage::all()) noexcept;
std::optional<Difference> check_depth(std::span<const std::uint8_t> depth, DType type, std::uint64_t number,
                                      Coverage coverage = Coverage::all()) noexcept;
std::optional<Difference> check_matrix(std::span<const double> matrix, std::uint64_t number, std::size_t camera) noexcept;
std::optional<Difference> check_proprio(std::span<const float> values, std::uint64_t number, std::size_t stream) noexcept;

/// `now`, changed by less than 200 us so that it carries `number`, and later than `previous`.
std::chrono::nanoseconds tag_time(std::chrono::nanoseconds now, std::uint64_t number,
                                  std::chrono::nanoseconds previous) noexcept;
/// True if `time` carries `number`. Forgives 40 ns, which a time loses on its way as seconds in a double.
bool time_carries(std::chrono::nanoseconds time, std::uint64_t number) noexcept;

}  // namespace chiral::stress
