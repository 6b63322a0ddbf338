// SPDX-License-Identifier: Apache-2.0
// Declarations for tests.
#pragma once

#include <chiral/sources.hpp>

#include <string>
#include <utility>

namespace chiral::test {

inline CameraConfig camera(std::string name = "wrist", int height = 3, int width = 5, int channels = 3,
                           bool has_depth = true) {
    CameraConfig config;
    config.name = std::move(name);
    config.height = height;
    config.width = width;
    config.channels = channels;
    config.has_depth = has_depth;
    return config;
}

}  // namespace chiral::test
