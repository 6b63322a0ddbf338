// SPDX-License-Identifier: Apache-2.0
// The values that server and client exchange: observations, actions and step results.
//
// Names and shapes are those of the documented system. Shapes are height x width x channels, row-major. Times are
// seconds on the robot's monotonic clock (std::chrono::steady_clock) unless a field says otherwise.
#pragma once

#include <chiral/api.hpp>
#include <chiral/byte_buffer.hpp>
#include <chiral/sources.hpp>
#include <chiral/want.hpp>

#include <Eigen/Core>

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace chiral {

/// A map that can also carry what its C++ values cannot hold: `encoded` is a MessagePack map, or empty for none.
///
/// Sent: the pairs of `encoded` as they are, then those of the C++ map whose keys it lacks. Received: if a value is of a type
/// that the C++ map cannot hold, `encoded` is the whole map as it came (numbers in the format that this library writes).
template <class Map>
class EncodableMap : public Map {
public:
    using Map::Map;
    EncodableMap() = default;
    EncodableMap(Map map) : Map(std::move(map)) {}
    void clear() noexcept {
        Map::clear();
        encoded.clear();
    }

    std::vector<std::uint8_t> encoded;
};

/// Metadata and step info: strings only. Values of other types that a Python server sends arrive as JSON text.
using InfoMap = EncodableMap<std::unordered_map<std::string, std::string>>;

/// One value of Observation::extra. Lists, maps and nil that a peer sends arrive as JSON text.
using ExtraValue = std::variant<bool, std::int64_t, double, std::string>;
using ExtraMap = EncodableMap<std::map<std::string, ExtraValue>>;

/// One camera in an observation.
struct CameraInfo {
    std::string name;
    Eigen::Matrix3d intrinsics = Eigen::Matrix3d::Identity();  ///< camera matrix K, pixels
    Eigen::Matrix4d extrinsics = Eigen::Matrix4d::Identity();  ///< camera-to-world T, metres
    double timestamp{0.0};                                     ///< when the image was captured, seconds

    ByteBuffer image;              ///< elements as bytes in host order (little-endian)
    std::vector<int> image_shape;  ///< [H, W, C] or [H, W]
    std::string image_dtype;       ///< "uint8", or another name that parse_dtype() knows

    bool has_depth{false};
    ByteBuffer depth_data;         ///< elements as bytes in host order (little-endian)
    std::vector<int> depth_shape;  ///< [H, W]
    std::string depth_dtype;       ///< "float32", or another name that parse_dtype() knows

    // Beyond the documented fields: how current the camera is. A peer that does not send them leaves the defaults.
    std::uint64_t sequence{0};                 ///< number of the image since start, 0 before the first
    std::uint64_t missed{0};                   ///< images published since the previous observation that it did not show
    SourceStatus status{SourceStatus::never};  ///< judged when the observation was made

    /// Metres that one unit of depth stands for: 0.001 where 16 bits are millimetres. 0 where the peer does not say; then float
    /// types are metres, as documented.
    double depth_unit{0.0};

    // Of a client that wants something (see Want).
    std::uint64_t depth_sequence{0};  ///< number of the depth map since start; 0 where a peer does not say
    bool image_unchanged{false};      ///< it is that of an answer before, so the pixels were not sent again
    bool depth_unchanged{false};
    ImageEncoding image_encoding{ImageEncoding::raw};  ///< how they travelled; from a PolicyClient the image is plain bytes
    ColourOrder image_order{ColourOrder::rgb};
    DepthEncoding depth_encoding{DepthEncoding::raw};
};

/// One proprioception stream in an observation.
struct ProprioInfo {
    std::string name;
    std::vector<float> data;

    double timestamp{0.0};                     ///< capture time of the sample, seconds
    std::uint64_t sequence{0};                 ///< number of the sample since start, 0 before the first
    std::uint64_t missed{0};                   ///< samples published since the previous observation, less one
    SourceStatus status{SourceStatus::never};  ///< judged when the observation was made
};

/// All sensors at one point in time.
struct Observation {
    std::vector<CameraInfo> cameras;    ///< in declaration order
    std::vector<ProprioInfo> proprios;  ///< in declaration order
    double timestamp{0.0};              ///< whatever the application sets: episode time, wall clock
    double snapshot_time{0.0};          ///< when the snapshot was taken, seconds; 0 where a peer does not send it
    ExtraMap extra;                     ///< application data, sent in the header

    /// Looks a camera up by name. Throws std::out_of_range that names it if absent.
    CameraInfo& operator[](const std::string& name) { return find(cameras, name, "camera"); }
    const CameraInfo& operator[](const std::string& name) const { return find(cameras, name, "camera"); }

    /// Looks a proprio stream up by name. Throws std::out_of_range that names it if absent.
    ProprioInfo& proprio(const std::string& name) { return find(proprios, name, "proprio"); }
    const ProprioInfo& proprio(const std::string& name) const { return find(proprios, name, "proprio"); }

private:
    template <class Sources>
    static auto find(Sources& sources, const std::string& name, const char* kind) -> decltype(sources.front()) {
        for (auto& source : sources)
            if (source.name == name) return source;
        std::string message = std::string("observation has no ") + kind + " '" + name + "'; it has:";
        for (auto& source : sources) message += " '" + source.name + "'";
        throw std::out_of_range(message);
    }
};

/// A chunk of N actions of dimension D, row-major. N = 1 for single-step policies.
struct Action {
    std::vector<float> data;  ///< N*D values
    int N{0}, D{0};

    // Beyond the documented fields.
    std::map<std::string, double> obs_timestamps{};  ///< camera -> capture time of the image the policy saw, seconds
    double received_at{0.0};                         ///< set by the server: arrival, seconds on its monotonic clock
};

/// What one legacy step returns.
struct StepResult {
    Observation obs;
    float reward{0.f};
    bool terminated{false};
    bool truncated{false};
    InfoMap info;
};

}  // namespace chiral
