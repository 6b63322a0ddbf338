// SPDX-License-Identifier: Apache-2.0
// What a client does with an answer to its want: encoded pixels become plain arrays, and those that did not come, because
// nothing has changed, are those that came last.
//
// Thread rule: one thread at a time.
#pragma once

#include "imaging/transform.hpp"

#include <chiral/types.hpp>
#include <chiral/wire.hpp>

#include <map>
#include <string>
#include <vector>

namespace chiral::imaging {

class Unpacker {
public:
    /// Everything that `observation` borrows must stay readable meanwhile. Memory of its buffers is used again. `keep`: what
    /// comes is remembered for answers that leave it out, of the cameras in this one. Throws wire::DecodeError.
    void unpack(Observation& observation, bool keep);
    /// What is remembered of each camera.
    const std::map<std::string, wire::Have>& have() const noexcept { return have_; }

private:
    struct Kept {
        ByteBuffer image, depth;
        std::vector<int> image_shape, depth_shape;
        Eigen::Matrix3d intrinsics;  // of pictures of these shapes
    };

    void unpack_image(CameraInfo& camera);
    void unpack_depth(CameraInfo& camera);
    void remember(const CameraInfo& camera);
    void recall_image(CameraInfo& camera) const;
    void recall_depth(CameraInfo& camera) const;
    const Kept& kept_of(const CameraInfo& camera, const char* what, std::uint64_t wire::Have::*field,
                        std::uint64_t sequence) const;
    void forget_others(const Observation& observation);

    ImageDecoder decoder_;
    std::map<std::string, Kept> kept_;
    std::map<std::string, wire::Have> have_;
};

}  // namespace chiral::imaging
