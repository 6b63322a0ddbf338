// SPDX-License-Identifier: Apache-2.0
// What a want makes of an observation: which pictures have to be made, of what, and what the answer's header says of each
// camera. Looks at no pixel.
#pragma once

#include "imaging/codecs.hpp"

#include <chiral/sources.hpp>
#include <chiral/types.hpp>
#include <chiral/wire.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace chiral::imaging {

/// How far a want is cut down to stay within its budget.
struct Reduction {
    int quality{100};   ///< at most
    double scale{1.0};  ///< of both sides
    bool anew{false};   ///< it is another than before: what the client has does not fit what it gets, so nothing is left out

    friend bool operator==(const Reduction&, const Reduction&) = default;
};

/// Whether these bytes are the engine's: what lies there under one sequence number is the same for everybody.
using IsEngines = std::function<bool(const std::uint8_t* pixels)>;

/// A picture or a depth map that has to be made.
struct Piece {
    std::size_t camera;  ///< where it stands in the observation
    bool depth;
    ImageFormat format;      ///< of the pixels that are there
    CameraWish wish;         ///< without what makes no difference to this piece
    std::uint64_t sequence;  ///< of the engine's pixels; 0: they are nobody else's
    /// How an image is there: a camera may deliver streams.
    ImageEncoding stored{ImageEncoding::raw};
    /// Metres of one unit of a depth map of 16 bits; 0: it is float32 in metres.
    double depth_unit{0.0};
};

/// Drops from `observation` what is not wanted, or has come before; moves camera matrices to the size that is wanted; and says
/// what is left to be made. Of a camera with pixels that cannot be scaled (other types than eight-bit images, float32 depth and
/// 16-bit depth of a known unit, or shapes that contradict them) image and depth stay as they are, unless they are not wanted at
/// all. Depth that is made is float32 in metres.
std::vector<Piece> plan(Observation& observation, const wire::WantRequest& request, const Reduction& reduction,
                        const IsEngines& is_engines);

/// What such a want takes at most to be made of such cameras, before it is encoded.
std::size_t wanted_bytes(std::span<const CameraConfig> cameras, const Want& want);

}  // namespace chiral::imaging
