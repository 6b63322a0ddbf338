// SPDX-License-Identifier: Apache-2.0
// What a client wants of an observation: which cameras, how large, how encoded. docs/WANT.md says what comes of it,
// docs/PROTOCOL.md has its form on the wire.
//
// A Want that is left as it is asks for the documented observation: every camera as it is, raw, and every proprio.
#pragma once

#include <chiral/api.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace chiral {

/// How an image of one aspect ratio becomes one of another.
enum class Fit : std::uint8_t {
    stretch,  ///< both sides by a factor of their own
    crop,     ///< one factor for both sides; what then sticks out is cut off, half of it on either side
    pad,      ///< one factor for both sides; what then is missing is black, half of it on either side
};

enum class ImageEncoding : std::uint8_t {
    none,  ///< no image
    raw,   ///< H*W*C bytes
    jpeg,  ///< lossy, of 1 or 3 channels
    png,   ///< lossless, of 1, 3 or 4 channels
    zstd,  ///< lossless: the raw bytes as one Zstandard frame
};

/// The order of the channels in the image that the caller gets; of cameras with three.
enum class ColourOrder : std::uint8_t { rgb, bgr };

enum class DepthEncoding : std::uint8_t {
    none,             ///< no depth
    raw,              ///< H*W float32, metres
    lossless,         ///< the same to the last bit, by Zstandard
    millimetres,      ///< rounded to millimetres, 0 (not measured) to 65535, by Zstandard
    millimetres_png,  ///< the same as a 16-bit PNG
};

/// Whether bytes have to be decoded before they are pixels.
constexpr bool is_encoded(ImageEncoding encoding) noexcept { return encoding > ImageEncoding::raw; }
constexpr bool is_encoded(DepthEncoding encoding) noexcept { return encoding > DepthEncoding::raw; }

struct ImageSize {
    int height{0};  ///< pixels; both 0: as the camera has it
    int width{0};

    friend bool operator==(const ImageSize&, const ImageSize&) = default;
};

/// What is wanted of one camera. Where an encoding cannot carry an image (JPEG of four channels), zstd does.
struct CameraWish {
    ImageSize size;  ///< of image and depth
    Fit fit{Fit::stretch};
    ImageEncoding image{ImageEncoding::raw};
    int quality{85};  ///< of jpeg, 1 to 100
    ColourOrder order{ColourOrder::rgb};
    DepthEncoding depth{DepthEncoding::raw};

    friend bool operator==(const CameraWish&, const CameraWish&) = default;
};

/// What a stream may cost. While it costs more, the server lowers quality, then size, then rate, each down to its bound, and
/// says so in `extra`: chiral.want_quality, chiral.want_scale, chiral.want_hz. It raises them again when there is room.
struct WantBudget {
    double bytes_per_second{0.0};  ///< 0: any
    double latency{0.0};           ///< seconds from a request until its answer is there; 0: any
    int min_quality{30};           ///< 1 to 100
    double min_scale{0.5};         ///< of the sides that were asked for, 0.05 to 1
    double min_hz{5.0};            ///< answers a second, 0.1 to 1000

    friend bool operator==(const WantBudget&, const WantBudget&) = default;
};

struct Want {
    CameraWish all;                                      ///< of every camera that `cameras` does not name
    std::map<std::string, CameraWish> cameras;           ///< by name; names that the robot does not have are ignored
    std::optional<std::vector<std::string>> proprios{};  ///< nothing: every stream
    /// An image or depth map that is still that of a previous answer is named, but not sent again. The client puts the one
    /// there that it has.
    bool only_if_newer{false};
    std::optional<WantBudget> budget{};

    const CameraWish& of(const std::string& camera) const {
        const auto own = cameras.find(camera);
        return own != cameras.end() ? own->second : all;
    }
    friend bool operator==(const Want&, const Want&) = default;
};

}  // namespace chiral
