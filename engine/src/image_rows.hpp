// SPDX-License-Identifier: Apache-2.0
// The one copy of an image from its driver's memory to its slot: rows with a stride, converted on the way.
#pragma once

#include <chiral/image_view.hpp>
#include <chiral/sources.hpp>

#include <cstddef>
#include <cstdint>

namespace chiral::detail {

/// What an image view lacks; `text` is null where it goes with the camera.
struct RowProblem {
    const char* text{nullptr};
    std::size_t got{0};
};

RowProblem problem_of(const ImageView& image, const CameraConfig& camera) noexcept;

/// Fills a slot of `camera` with an image of which problem_of() finds nothing.
void convert_rows(const ImageView& image, const CameraConfig& camera, std::uint8_t* slot) noexcept;

}  // namespace chiral::detail
