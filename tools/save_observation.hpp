// SPDX-License-Identifier: Apache-2.0
// Writes an observation into a folder, so that a person or a script can look at it.
#pragma once

#include <chiral/types.hpp>

#include <filesystem>
#include <vector>

namespace chiral::tools {

/// Writes NAME.png for each camera (gray or RGB, of 8 bits or 16), and where it has depth NAME_depth.png (16-bit gray,
/// millimetres by the camera's depth_unit, 0: none, at most 65535) and NAME_depth_preview.png (the same for the eye: from red,
/// near, to blue, far; black: none); and observation.json with K, T, times, proprio values and slots. Characters of a camera's name
/// that do not belong into a file name become '_'. Makes the folder. Returns the files; throws std::runtime_error that names
/// the file which cannot be written.
std::vector<std::filesystem::path> save_observation(const Observation& obs, const std::filesystem::path& folder);

}  // namespace chiral::tools
