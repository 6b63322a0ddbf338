// SPDX-License-Identifier: Apache-2.0
#include "imaging/unpack.hpp"

#include <algorithm>

namespace chiral::imaging {

namespace {

wire::Bytes bytes_of(const ByteBuffer& buffer) noexcept { return {buffer.data(), buffer.size()}; }

// Memory for `size` bytes in place of the stream, which the message still holds.
std::uint8_t* make_room(ByteBuffer& buffer, std::size_t size) {
    buffer.clear();
    buffer.resize(size);
    return buffer.data();
}

}  // namespace

void Unpacker::unpack(Observation& observation, bool keep) {
    for (CameraInfo& camera : observation.cameras) {
        try {
            if (!camera.image_unchanged && is_encoded(camera.image_encoding)) unpack_image(camera);
            if (camera.has_depth && !camera.depth_unchanged && is_encoded(camera.depth_encoding)) unpack_depth(camera);
        } catch (const wire::DecodeError& error) {
            throw wire::DecodeError("camera '" + camera.name + "': " + error.what());
        }
        if (keep) remember(camera);
        if (camera.image_unchanged) recall_image(camera);
        if (camera.depth_unchanged) recall_depth(camera);
    }
    if (keep && have_.size() > observation.cameras.size()) forget_others(observation);
}

void Unpacker::unpack_image(CameraInfo& camera) {
    const std::vector<int>& shape = camera.image_shape;
    if ((shape.size() != 2 && shape.size() != 3) || camera.image_dtype != "uint8")
        throw wire::DecodeError("its image is encoded, but has no shape of two or three dimensions and eight bits");
    const ImageFormat format{{shape[0], shape[1]}, shape.size() == 3 ? shape[2] : 1, camera.image_order};
    if (!carries(camera.image_encoding, format.channels))
        throw wire::DecodeError("its encoding cannot hold " + std::to_string(format.channels) + " channels");
    const wire::Bytes stream = bytes_of(camera.image);
    const ByteBuffer own = camera.image.borrowed() ? ByteBuffer() : std::move(camera.image);
    decoder_.image(stream, camera.image_encoding, format, make_room(camera.image, format.bytes()));
}

void Unpacker::unpack_depth(CameraInfo& camera) {
    if (camera.depth_shape.size() != 2 || camera.depth_dtype != "float32")
        throw wire::DecodeError("its depth is encoded, but has no shape of two dimensions in float32");
    const ImageSize size{camera.depth_shape[0], camera.depth_shape[1]};
    const wire::Bytes stream = bytes_of(camera.depth_data);
    const ByteBuffer own = camera.depth_data.borrowed() ? ByteBuffer() : std::move(camera.depth_data);
    std::uint8_t* metres = make_room(camera.depth_data, sizeof(float) * size.height * size.width);
    decoder_.depth(stream, camera.depth_encoding, size, reinterpret_cast<float*>(metres));
}

void Unpacker::remember(const CameraInfo& camera) {
    Kept& kept = kept_[camera.name];
    wire::Have& have = have_[camera.name];
    if (!camera.image_unchanged) {
        kept.image = camera.image;
        kept.image_shape = camera.image_shape;
        have.image = camera.image.empty() ? 0 : camera.sequence;
    }
    if (!camera.depth_unchanged) {
        kept.depth = camera.depth_data;
        kept.depth_shape = camera.depth_shape;
        have.depth = camera.depth_data.empty() ? 0 : camera.depth_sequence;
    }
    if (!camera.image_unchanged && !camera.depth_unchanged) kept.intrinsics = camera.intrinsics;
}

const Unpacker::Kept& Unpacker::kept_of(const CameraInfo& camera, const char* what, std::uint64_t wire::Have::*field,
                                        std::uint64_t sequence) const {
    const auto had = have_.find(camera.name);
    if (sequence == 0 || had == have_.end() || had->second.*field != sequence)
        throw wire::DecodeError("camera '" + camera.name + "': " + what + " " + std::to_string(sequence) +
                                " is unchanged, but has not come");
    return kept_.at(camera.name);
}

// The matrix that came is of the size that was announced; if it is another by now, that of the picture which is here.
void Unpacker::recall_image(CameraInfo& camera) const {
    const Kept& kept = kept_of(camera, "image", &wire::Have::image, camera.sequence);
    if (camera.image_shape != kept.image_shape) camera.intrinsics = kept.intrinsics;
    camera.image = kept.image;
    camera.image_shape = kept.image_shape;
}

void Unpacker::recall_depth(CameraInfo& camera) const {
    const Kept& kept = kept_of(camera, "depth", &wire::Have::depth, camera.depth_sequence);
    if (camera.depth_shape != kept.depth_shape) camera.intrinsics = kept.intrinsics;
    camera.depth_data = kept.depth;
    camera.depth_shape = kept.depth_shape;
}

// A robot has the cameras that it has; names that come and go are not to fill the memory.
void Unpacker::forget_others(const Observation& observation) {
    std::erase_if(have_, [&](const auto& had) {
        return std::none_of(observation.cameras.begin(), observation.cameras.end(),
                            [&](const CameraInfo& camera) { return camera.name == had.first; });
    });
    std::erase_if(kept_, [&](const auto& kept) { return !have_.contains(kept.first); });
}

}  // namespace chiral::imaging
