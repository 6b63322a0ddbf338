// SPDX-License-Identifier: Apache-2.0
// Images that their camera delivers encoded, for clients that expect pixels.
#pragma once

#include "imaging/transform.hpp"

#include <chiral/types.hpp>

#include <string>

namespace chiral::imaging {

/// Replaces an encoded image by its pixels, in memory that the camera's buffer had before. Returns what was wrong with the
/// stream, or nothing: then, and before the first frame, the pixels are zeros, and the status is `never`. Does nothing for an image
/// that is not encoded.
std::string make_plain(CameraInfo& camera, ImageDecoder& decoder);

}  // namespace chiral::imaging
