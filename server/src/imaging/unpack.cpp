// SPDX-License-Identifier: Apache-2.0
#include "imaging/unpack.hpp"

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
        if (camera.unchanged) {
            recall(camera);
            continue;
        }
        try {
            if (is_encoded(camera.image_encoding)) unpack_image(camera);
            if (camera.has_depth && is_encoded(camera.depth_encoding)) unpack_depth(camera);
        } catch (const wire::DecodeError& error) {
            throw wire::DecodeError("camera '" + camera.name + "': " + error.what());
        }
        if (keep) remember(camera);
    }
}

void Unpacker::unpack_image(CameraInfo& camera) {
    if (camera.image_shape.size() != 3 || camera.image_dtype != "uint8")
        throw wire::DecodeError("its image is encoded, but has no shape of three dimensions and eight bits");
    const ImageFormat format{{camera.image_shape[0], camera.image_shape[1]}, camera.image_shape[2], camera.image_order};
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
    if (camera.version == 0) return;
    Kept& kept = kept_[camera.name];
    kept.image = camera.image;
    kept.depth = camera.depth_data;
    kept.image_shape = camera.image_shape;
    kept.depth_shape = camera.depth_shape;
    kept.intrinsics = camera.intrinsics;
    have_[camera.name] = camera.version;
}

void Unpacker::recall(CameraInfo& camera) const {
    const auto had = have_.find(camera.name);
    if (had == have_.end() || had->second != camera.version)
        throw wire::DecodeError("camera '" + camera.name + "' is unchanged at version " + std::to_string(camera.version) +
                                ", of which nothing has come");
    const Kept& kept = kept_.at(camera.name);
    camera.image = kept.image;
    camera.depth_data = kept.depth;
    camera.image_shape = kept.image_shape;
    camera.depth_shape = kept.depth_shape;
    camera.has_depth = !kept.depth_shape.empty();
    camera.intrinsics = kept.intrinsics;
}

}  // namespace chiral::imaging
