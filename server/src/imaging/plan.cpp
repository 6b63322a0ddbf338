// SPDX-License-Identifier: Apache-2.0
#include "imaging/plan.hpp"

#include "imaging/geometry.hpp"
#include "imaging/transform.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

namespace chiral::imaging {

namespace {

// What can be scaled: eight-bit pixels that are as many as their shape says.
std::optional<ImageFormat> image_format_of(const CameraInfo& camera) {
    const std::vector<int>& shape = camera.image_shape;
    if ((shape.size() != 2 && shape.size() != 3) || !(camera.image_dtype.empty() || camera.image_dtype == "uint8") ||
        std::any_of(shape.begin(), shape.end(), [](int side) { return side <= 0; }))
        return std::nullopt;
    const ImageFormat format{{shape[0], shape[1]}, shape.size() == 3 ? shape[2] : 1, ColourOrder::rgb};
    const bool fits = is_encoded(camera.image_encoding) || format.bytes() == camera.image.size();
    return fits ? std::optional(format) : std::nullopt;
}

bool is_float_metres(const CameraInfo& camera) {
    return (camera.depth_dtype.empty() || camera.depth_dtype == "float32") &&
           (camera.depth_unit == 0 || camera.depth_unit == 1);
}

std::optional<ImageFormat> depth_format_of(const CameraInfo& camera) {
    const std::vector<int>& shape = camera.depth_shape;
    const bool metres = is_float_metres(camera), units = camera.depth_dtype == "uint16" && camera.depth_unit > 0;
    if (shape.size() != 2 || shape[0] <= 0 || shape[1] <= 0 || (!metres && !units)) return std::nullopt;
    const ImageFormat format{{shape[0], shape[1]}, 1, ColourOrder::rgb};
    const std::size_t bytes = format.pixels() * (metres ? sizeof(float) : sizeof(std::uint16_t));
    return bytes == camera.depth_data.size() ? std::optional(format) : std::nullopt;
}

CameraWish reduced(CameraWish wish, ImageSize camera, const Reduction& reduction) {
    wish.quality = std::min(wish.quality, reduction.quality);
    if (reduction.scale >= 1.0) return wish;
    if (wish.size == ImageSize{}) wish.size = camera;
    const auto less = [&](int side) { return std::max(1, static_cast<int>(std::lround(side * reduction.scale))); };
    wish.size = {less(wish.size.height), less(wish.size.width)};
    return wish;
}

// ---- a wish without what makes no difference, so that those who want the same are found to ----

CameraWish of_image(CameraWish wish) {
    wish.depth = DepthEncoding::none;
    if (wish.image != ImageEncoding::jpeg) wish.quality = 0;
    if (wish.image == ImageEncoding::png || wish.image == ImageEncoding::jpeg) wish.order = ColourOrder::rgb;
    return wish;
}

CameraWish of_depth(CameraWish wish) {
    wish.image = ImageEncoding::none;
    wish.quality = 0;
    wish.order = ColourOrder::rgb;
    return wish;
}

// ---- what is not sent ----

void drop_image(CameraInfo& camera) {
    camera.image.clear();
    camera.image_shape.clear();
    camera.image_encoding = ImageEncoding::none;
}

void drop_depth(CameraInfo& camera) {
    camera.has_depth = false;
    camera.depth_data.clear();
    camera.depth_shape.clear();
    camera.depth_encoding = DepthEncoding::none;
}

void drop_proprios(Observation& observation, const std::optional<std::vector<std::string>>& wanted) {
    if (!wanted) return;
    std::erase_if(observation.proprios, [&](const ProprioInfo& proprio) {
        return std::find(wanted->begin(), wanted->end(), proprio.name) == wanted->end();
    });
}

// The client has these pixels; it is told how large they would be.
void leave_out(ByteBuffer& pixels, std::vector<int>& shape, ImageSize size, bool& unchanged) {
    pixels.clear();
    shape[0] = size.height;
    shape[1] = size.width;
    unchanged = true;
}

/// One camera's part of the plan.
class CameraPlan {
public:
    CameraPlan(Observation& observation, std::size_t index, const wire::WantRequest& request, const Reduction& reduction,
               const IsEngines& is_engines)
        : camera_(observation.cameras[index]),
          index_(index),
          request_(request),
          reduction_(reduction),
          is_engines_(is_engines) {}

    void add_to(std::vector<Piece>& pieces) {
        CameraWish wish = request_.want.of(camera_.name);
        if (wish.image == ImageEncoding::none) drop_image(camera_);
        if (wish.depth == DepthEncoding::none) drop_depth(camera_);
        const auto image = image_format_of(camera_);
        const auto depth = depth_format_of(camera_);
        const bool has_image = !camera_.image_shape.empty();
        if ((has_image && !image) || (camera_.has_depth && !depth)) return;  // no pixels that could be made others
        if (!image && !depth) return;
        const ImageSize size = image ? image->size : depth->size;
        wish = reduced(wish, size, reduction_);
        const Placement placement = place(size, wish.size, wish.fit);
        camera_.intrinsics = placed_intrinsics(camera_.intrinsics, placement);
        if (image) plan_image(*image, wish, placement.size, pieces);
        if (depth) plan_depth(*depth, wish, pieces);
    }

private:
    void plan_image(const ImageFormat& format, const CameraWish& wish, ImageSize size, std::vector<Piece>& pieces) {
        if (format.channels == 3) camera_.image_order = wish.order;
        const std::uint64_t sequence = is_engines_(as_read(camera_.image)) ? camera_.sequence : 0;
        if (has(&wire::Have::image, sequence)) {
            leave_out(camera_.image, camera_.image_shape, size, camera_.image_unchanged);
            camera_.image_encoding = wish.image;
        } else if (!passes(format, wish)) {
            pieces.push_back({index_, false, format, of_image(wish), sequence, camera_.image_encoding});
        }
    }
    void plan_depth(const ImageFormat& format, const CameraWish& wish, std::vector<Piece>& pieces) {
        if (depth_is_as_wished(format.size, wish)) {
            if (!has(&wire::Have::depth, depth_sequence())) return;
            leave_out(camera_.depth_data, camera_.depth_shape, format.size, camera_.depth_unchanged);
            return;
        }
        const std::uint64_t sequence = depth_sequence();
        const double unit = is_float_metres(camera_) ? 0.0 : camera_.depth_unit;
        camera_.depth_dtype = "float32";
        camera_.depth_unit = 0;
        if (!has(&wire::Have::depth, sequence)) {
            pieces.push_back({index_, true, format, of_depth(wish), sequence, ImageEncoding::raw, unit});
            return;
        }
        const ImageSize size = place(format.size, wish.size, wish.fit).size;
        leave_out(camera_.depth_data, camera_.depth_shape, size, camera_.depth_unchanged);
        camera_.depth_encoding = wish.depth;
    }
    // Whether the image goes on as it is: pixels that are as they are wished for, or the very stream of a camera that delivers
    // streams, which has a quality of its own.
    bool passes(const ImageFormat& format, const CameraWish& wish) const {
        if (!is_encoded(camera_.image_encoding)) return is_as_wished(format, wish);
        return wish.image == camera_.image_encoding && !camera_.image.empty() && reduction_.quality >= 100 &&
               place(format.size, wish.size, wish.fit).identity(format.size);
    }
    std::uint64_t depth_sequence() const { return is_engines_(as_read(camera_.depth_data)) ? camera_.depth_sequence : 0; }
    bool has(std::uint64_t wire::Have::*field, std::uint64_t sequence) const {
        if (!request_.want.only_if_newer || reduction_.anew || sequence == 0) return false;
        const auto had = request_.have.find(camera_.name);
        return had != request_.have.end() && had->second.*field == sequence;
    }
    static const std::uint8_t* as_read(const ByteBuffer& pixels) noexcept { return pixels.data(); }  // borrowed stays so

    CameraInfo& camera_;
    const std::size_t index_;
    const wire::WantRequest& request_;
    const Reduction& reduction_;
    const IsEngines& is_engines_;
};

}  // namespace

std::vector<Piece> plan(Observation& observation, const wire::WantRequest& request, const Reduction& reduction,
                        const IsEngines& is_engines) {
    std::vector<Piece> pieces;
    pieces.reserve(2 * observation.cameras.size());
    drop_proprios(observation, request.want.proprios);
    for (std::size_t i = 0; i < observation.cameras.size(); ++i)
        CameraPlan(observation, i, request, reduction, is_engines).add_to(pieces);
    return pieces;
}

std::size_t wanted_bytes(std::span<const CameraConfig> cameras, const Want& want) {
    std::size_t bytes = 0;
    for (const CameraConfig& camera : cameras) {
        const CameraWish& wish = want.of(camera.name);
        const ImageSize own{camera.height, camera.width};
        const ImageFormat image{wish.size == ImageSize{} ? own : wish.size, camera.channels, wish.order};
        const bool pixels = camera.encoding == FrameEncoding::raw;
        if (wish.image != ImageEncoding::none && !(pixels && is_as_wished({own, camera.channels}, wish)))
            bytes += image.bytes();
        if (camera.has_depth && wish.depth != DepthEncoding::none && !depth_is_as_wished(own, wish))
            bytes += image.pixels() * sizeof(float);
    }
    return bytes;
}

}  // namespace chiral::imaging
