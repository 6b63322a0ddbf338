// SPDX-License-Identifier: Apache-2.0
// What a client does with an answer to its want: encoded pixels become plain arrays, and cameras that came without any, because
// nothing has changed, get those that came last.
//
// Thread rule: one thread at a time.
#pragma once

#include "imaging/transform.hpp"

#include <chiral/types.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace chiral::imaging {

class Unpacker {
public:
    /// Everything that `observation` borrows must stay readable meanwhile. Memory of its buffers is used again. `keep`: what
    /// comes is remembered for answers that leave it out. Throws wire::DecodeError.
    void unpack(Observation& observation, bool keep);
    /// The version of each camera of which the pixels are remembered.
    const std::map<std::string, std::uint64_t>& have() const noexcept { return have_; }

private:
    // Image, depth and the camera matrix that belongs to their size.
    struct Kept {
        ByteBuffer image, depth;
        std::vector<int> image_shape, depth_shape;
        Eigen::Matrix3d intrinsics;
    };

    void unpack_image(CameraInfo& camera);
    void unpack_depth(CameraInfo& camera);
    void remember(const CameraInfo& camera);
    void recall(CameraInfo& camera) const;

    ImageDecoder decoder_;
    std::map<std::string, Kept> kept_;
    std::map<std::string, std::uint64_t> have_;
};

}  // namespace chiral::imaging
