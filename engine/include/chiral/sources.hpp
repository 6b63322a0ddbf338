// SPDX-License-Identifier: Apache-2.0
// The sensor sources of a robot as the user declares them: cameras and proprioception streams.
//
// Both structs are plain aggregates that are read once, at construction of an Engine or PolicyServer.
#pragma once

#include <chiral/api.hpp>
#include <chiral/time.hpp>

#include <Eigen/Core>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace chiral {

/// One camera: up to four buffers that are published together or one by one.
struct CameraConfig {
    std::string name;                                          ///< unique, not empty
    int height{0};                                             ///< pixels, > 0
    int width{0};                                              ///< pixels, > 0
    int channels{3};                                           ///< bytes per pixel: 3 for RGB, 1 for grayscale
    bool has_depth{false};                                     ///< allocate and stream a float32 depth map, metres
    Eigen::Matrix3d intrinsics = Eigen::Matrix3d::Identity();  ///< initial camera matrix K, pixels
    Eigen::Matrix4d extrinsics = Eigen::Matrix4d::Identity();  ///< initial camera-to-world transform T, metres

    /// Of this camera, instead of EngineOptions::camera_stale_after and camera_frozen_after.
    std::optional<Duration> stale_after{};
    std::optional<std::uint64_t> frozen_after{};
};

/// One proprioception stream: a vector of float32 that is read as a whole.
struct ProprioConfig {
    std::string name;  ///< unique among the streams, not empty
    int size{0};       ///< number of float32 elements, > 0

    /// Of this stream, instead of EngineOptions::proprio_stale_after and proprio_frozen_after.
    std::optional<Duration> stale_after{};
    std::optional<std::uint64_t> frozen_after{};
};

/// What a reader may expect of a source, judged when the reader asks. Of several that apply, the first in the order never,
/// stale, ahead, frozen.
enum class SourceStatus : std::uint8_t {
    never = 0,   ///< nothing has been published yet; the buffers hold their initial values
    fresh = 1,   ///< the newest sample is younger than the configured limit
    stale = 2,   ///< the newest sample was captured or published longer ago than the configured limit
    frozen = 3,  ///< samples arrive, but their content or their capture time no longer changes
    ahead = 4,   ///< samples arrive that are captured after they are published: they are stamped by another clock
};

inline constexpr std::size_t source_status_count = 5;

/// "never", "fresh", "stale", "frozen" or "ahead".
constexpr const char* to_string(SourceStatus status) noexcept {
    switch (status) {
        case SourceStatus::never: return "never";
        case SourceStatus::fresh: return "fresh";
        case SourceStatus::stale: return "stale";
        case SourceStatus::frozen: return "frozen";
        case SourceStatus::ahead: return "ahead";
    }
    return "unknown";
}

}  // namespace chiral
