// SPDX-License-Identifier: Apache-2.0
#include "sources.hpp"

#include "held_server.hpp"
#include "observation.hpp"
#include "options.hpp"

#include <algorithm>

namespace chiral::python {
namespace {

void check_readers(const std::string& where, const char* what, int readers, int most) {
    if (readers < 0 || readers > most)
        throw nb::value_error(
            (where + ": " + what + " is " + std::to_string(readers) + ", expected 0 to " + std::to_string(most)).c_str());
}

// What Python declares are the views that pin; the reader for brief looks is one more.
void count_brief_looks(CameraConfig& config) {
    const auto count = [&config](std::optional<int>& views, const char* what, int most) {
        if (!views) return;
        check_readers("camera '" + config.name + "'", what, *views, most);
        ++*views;
    };
    count(config.depth_readers, "depth_readers",
          std::clamp(config.readers.value_or(HeldServer::kViews), 0, HeldServer::kViews));
    count(config.readers, "readers", HeldServer::kViews);
}

template <class Config>
void set_limits(Config& config, const LimitsTuple& limits) {
    const auto& [stale_after, frozen_after, expected_hz] = limits;
    if (stale_after) config.stale_after = to_duration(*stale_after);
    config.frozen_after = frozen_after;
    config.expected_hz = expected_hz;
}

DType dtype_of(const std::string& name) {
    const std::optional<DType> type = parse_dtype(name);
    if (!type) throw nb::value_error(("no such dtype: " + name).c_str());
    return *type;
}

}  // namespace

CameraConfig camera_config(const CameraTuple& camera) {
    const auto& [name, height, width, channels, has_depth, K, T, image, depth, depth_unit, flat, encoding, most, limits,
                 readers] = camera;
    CameraConfig config = {name, height, width, channels, has_depth, to_matrix<3>(K), to_matrix<4>(T)};
    config.image_dtype = dtype_of(image);
    config.depth_dtype = dtype_of(depth);
    config.depth_unit = depth_unit;
    config.two_dimensional = flat;
    if (encoding != "raw" && encoding != "jpeg")
        throw nb::value_error(("camera '" + name + "': encoding is '" + encoding + "', expected 'raw' or 'jpeg'").c_str());
    config.encoding = encoding == "jpeg" ? FrameEncoding::jpeg : FrameEncoding::raw;
    config.max_encoded_bytes = most;
    set_limits(config, limits);
    std::tie(config.readers, config.depth_readers) = readers;
    count_brief_looks(config);
    return config;
}

ProprioConfig proprio_config(const ProprioTuple& proprio) {
    const auto& [name, size, limits, element_names, unit] = proprio;
    ProprioConfig config;
    config.name = name;
    config.size = size;
    config.element_names = element_names;
    config.unit = unit;
    set_limits(config, limits);
    return config;
}

SlotConfig slot_config(const SlotTuple& slot) {
    const auto& [name, bytes, dtype, shape, stale_after, frozen_after, readers] = slot;
    check_readers("slot '" + name + "'", "readers", readers, 1);
    SlotConfig config;
    config.name = name;
    config.bytes = bytes;
    config.dtype = dtype_of(dtype);
    config.shape = shape;
    if (stale_after) config.stale_after = to_duration(*stale_after);
    config.frozen_after = frozen_after;
    config.readers = readers;  // the one for brief looks: no view of Python's shows a slot
    return config;
}

}  // namespace chiral::python
