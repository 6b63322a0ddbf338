// SPDX-License-Identifier: Apache-2.0
#include "imaging/plain.hpp"

#include <algorithm>

namespace chiral::imaging {

std::string make_plain(CameraInfo& camera, ImageDecoder& decoder) {
    if (!is_encoded(camera.image_encoding) || camera.image_shape.size() != 3) return {};
    const ImageFormat format{{camera.image_shape[0], camera.image_shape[1]}, camera.image_shape[2], ColourOrder::rgb};
    std::string problem;
    camera.image.become(format.bytes(), [&](const std::uint8_t* stream, std::size_t size, std::uint8_t* pixels) {
        if (size > 0) {
            try {
                return decoder.image({stream, size}, camera.image_encoding, format, pixels);
            } catch (const wire::DecodeError& error) {
                problem = error.what();
            }
        }
        std::fill_n(pixels, format.bytes(), std::uint8_t{0});
        camera.status = SourceStatus::never;
    });
    camera.image_encoding = ImageEncoding::raw;
    return problem;
}

}  // namespace chiral::imaging
