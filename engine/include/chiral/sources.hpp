// SPDX-License-Identifier: Apache-2.0
// The sensor sources of a robot as the user declares them: cameras and proprioception streams.
//
// Both structs are plain aggregates that are read once, at construction of an Engine or PolicyServer.
#pragma once

#include <chiral/api.hpp>
#include <chiral/dtype.hpp>
#include <chiral/time.hpp>

#include <Eigen/Core>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <typeinfo>
#include <vector>

namespace chiral {

/// How the image of a camera comes from its driver, and lies in its slots.
enum class FrameEncoding : std::uint8_t {
    raw,   ///< elements, as many as the shape says
    jpeg,  ///< a JPEG stream of any length up to CameraConfig::max_encoded_bytes
};

/// One camera: up to four buffers that are published together or one by one.
struct CameraConfig {
    std::string name;                                          ///< unique, not empty
    int height{0};                                             ///< pixels, > 0
    int width{0};                                              ///< pixels, > 0
    int channels{3};                                           ///< elements per pixel: 3 for RGB, 1 for grayscale
    bool has_depth{false};                                     ///< allocate and stream a depth map
    Eigen::Matrix3d intrinsics = Eigen::Matrix3d::Identity();  ///< initial camera matrix K, pixels
    Eigen::Matrix4d extrinsics = Eigen::Matrix4d::Identity();  ///< initial camera-to-world transform T, metres

    /// Of this camera, instead of EngineOptions::camera_stale_after and camera_frozen_after.
    std::optional<Duration> stale_after{};
    std::optional<std::uint64_t> frozen_after{};

    DType image_dtype{DType::uint8};    ///< of an element of the image
    DType depth_dtype{DType::float32};  ///< of an element of the depth map
    /// Metres that one unit of depth stands for: 0.001 for 16-bit millimetres. 0: nobody says; float types are metres then.
    double depth_unit{0.0};
    /// The image is [H, W], not [H, W, 1]. Only with channels = 1.
    bool two_dimensional{false};

    /// Encoded images are of 8 bits, and of 3 channels or 1.
    FrameEncoding encoding{FrameEncoding::raw};
    /// Room for one encoded image; 0: as much as its pixels take.
    std::size_t max_encoded_bytes{0};

    /// Images per second that the camera is to deliver; 0: nobody says. Where stale_after is not given and three periods are
    /// longer than the engine's limit, they are the limit.
    double expected_hz{0.0};

    /// Readers that may look at this camera at once, 0 to EngineOptions::readers, which is what counts where nothing is given, and,
    /// of those, at its depth map. A field has two slots more than readers, so this is what it takes of memory. See ReaderScope.
    std::optional<int> readers{};
    std::optional<int> depth_readers{};
};

/// One proprioception stream: a vector that is read as a whole.
struct ProprioConfig {
    std::string name;  ///< unique among the streams, not empty
    int size{0};       ///< number of elements, > 0

    /// Of this stream, instead of EngineOptions::proprio_stale_after and proprio_frozen_after.
    std::optional<Duration> stale_after{};
    std::optional<std::uint64_t> frozen_after{};

    DType dtype{DType::float32};  ///< of an element as it is kept; in observations it is float32
    /// What the elements are, one name each, and in which unit: {"shoulder", "elbow"}, "rad". Empty: nobody says.
    std::vector<std::string> element_names{};
    std::string unit{};
    double expected_hz{0.0};  ///< as CameraConfig::expected_hz
};

/// One slot for data of the user's own type: see Slot<T>, and slot_config() which declares one.
struct SlotConfig {
    std::string name;                     ///< unique among the slots, not empty
    std::size_t bytes{0};                 ///< of one value, > 0
    const std::type_info* type{nullptr};  ///< what Slot<T> has to be of; null: whatever has as many bytes
    /// How observations carry it: as an array of `dtype` elements with this shape. Without a shape they do not.
    DType dtype{DType::uint8};
    std::vector<int> shape{};

    /// Of this slot, instead of EngineOptions::proprio_stale_after; and after so many equal values it is frozen, 0: never.
    std::optional<Duration> stale_after{};
    std::uint64_t frozen_after{0};

    std::optional<int> readers{};  ///< as CameraConfig::readers
};

/// Elements of the image and of the depth map of a camera as declared.
constexpr std::size_t image_elements(const CameraConfig& camera) noexcept {
    return static_cast<std::size_t>(camera.height) * static_cast<std::size_t>(camera.width) *
           static_cast<std::size_t>(camera.channels);
}
constexpr std::size_t depth_elements(const CameraConfig& camera) noexcept {
    return camera.has_depth ? static_cast<std::size_t>(camera.height) * static_cast<std::size_t>(camera.width) : 0;
}
/// Bytes that the image takes, without encoding, and the depth map.
constexpr std::size_t image_bytes(const CameraConfig& camera) noexcept {
    return image_elements(camera) * size_of(camera.image_dtype);
}
constexpr std::size_t depth_bytes(const CameraConfig& camera) noexcept {
    return depth_elements(camera) * size_of(camera.depth_dtype);
}

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
