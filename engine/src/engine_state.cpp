// SPDX-License-Identifier: Apache-2.0
// Declarations checked, arena laid out and filled with the initial values.
#include "engine_state.hpp"

#include <cmath>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

namespace chiral::detail {
namespace {

constexpr std::size_t kPage = 4096;  // images and depths start on a page: fit for DMA

class Cursor {
public:
    std::size_t take(std::size_t bytes, std::size_t alignment) {
        const std::size_t start = (offset_ + alignment - 1) / alignment * alignment;
        offset_ = start + bytes;
        return start;
    }
    std::size_t end() const { return offset_; }

private:
    std::size_t offset_{0};
};

[[noreturn]] void refuse(const std::string& source, const std::string& problem) {
    throw std::invalid_argument("chiral::Engine: " + source + ": " + problem);
}

template <class Config>
void check_name(std::set<std::string>& names, const Config& config, const char* kind, std::size_t index) {
    const std::string where = std::string(kind) + " " + std::to_string(index);
    if (config.name.empty()) refuse(where, "the name is empty");
    if (!names.insert(config.name).second) refuse(where, "the name '" + config.name + "' is taken by an earlier " + kind);
}

void check(const std::vector<CameraConfig>& cameras, const std::vector<ProprioConfig>& proprios,
           const EngineOptions& options) {
    constexpr int kMaxSide = 1 << 16;
    std::set<std::string> names;
    for (std::size_t i = 0; i < cameras.size(); ++i) {
        const CameraConfig& c = cameras[i];
        check_name(names, c, "camera", i);
        const std::string where = "camera '" + c.name + "'";
        const auto in_range = [&](const char* what, int value, int max) {
            if (value < 1 || value > max)
                refuse(where, std::string(what) + " is " + std::to_string(value) + ", expected 1 to " + std::to_string(max));
        };
        in_range("height", c.height, kMaxSide);
        in_range("width", c.width, kMaxSide);
        in_range("channels", c.channels, 64);
        if (!c.intrinsics.allFinite()) refuse(where, "the initial intrinsics hold NaN or infinity");
        if (!c.extrinsics.allFinite()) refuse(where, "the initial extrinsics hold NaN or infinity");
    }
    names.clear();
    for (std::size_t i = 0; i < proprios.size(); ++i) {
        check_name(names, proprios[i], "proprio", i);
        if (proprios[i].size < 1 || proprios[i].size > static_cast<int>(kMaxProprioSize))
            refuse("proprio '" + proprios[i].name + "'",
                   "size is " + std::to_string(proprios[i].size) + ", expected 1 to " + std::to_string(kMaxProprioSize));
    }
    if (options.readers < 1 || options.readers > core::kMaxReaders)
        refuse("options",
               "readers is " + std::to_string(options.readers) + ", expected 1 to " + std::to_string(core::kMaxReaders));
    if (options.proprio_history < 2 || options.proprio_history > kMaxProprioHistory)
        refuse("options", "proprio_history is " + std::to_string(options.proprio_history) + ", expected 2 to " +
                              std::to_string(kMaxProprioHistory));
}

}  // namespace

EngineLayout::EngineLayout(const std::vector<CameraConfig>& camera_configs,
                           const std::vector<ProprioConfig>& proprio_configs, const EngineOptions& options) {
    check(camera_configs, proprio_configs, options);
    const auto slot_count = static_cast<std::size_t>(options.readers) + 2;
    Cursor cursor;
    seats = cursor.take(sizeof(core::ReaderSeats<Policy>), core::kCacheLine);
    for (const CameraConfig& config : camera_configs) {
        CameraLayout& layout = cameras.emplace_back();
        layout.block = cursor.take(sizeof(CameraBlock), alignof(CameraBlock));
        const std::size_t pixels = static_cast<std::size_t>(config.height) * static_cast<std::size_t>(config.width);
        layout.bytes = {pixels * static_cast<std::size_t>(config.channels), config.has_depth ? pixels * sizeof(float) : 0,
                        9 * sizeof(double), 16 * sizeof(double)};
    }
    for (const ProprioConfig& config : proprio_configs) {
        ProprioLayout& layout = proprios.emplace_back();
        layout.block = cursor.take(sizeof(ProprioBlock), alignof(ProprioBlock));
        layout.words = 2 + (static_cast<std::size_t>(config.size) + 1) / 2;
    }
    for (CameraLayout& layout : cameras)
        for (int field = 0; field < kFields; ++field) {
            const bool bulk = field <= static_cast<int>(Field::depth);
            const std::size_t alignment = bulk ? kPage : 2 * core::kCacheLine;
            layout.stride[field] = (layout.bytes[field] + alignment - 1) / alignment * alignment;
            layout.slots[field] = cursor.take(layout.stride[field] * slot_count, alignment);
        }
    for (ProprioLayout& layout : proprios)
        layout.cells = cursor.take(options.proprio_history * (1 + layout.words) * sizeof(std::uint64_t), core::kCacheLine);
    bytes = cursor.end();
    cursor.take(0, kPage);
    for (CameraLayout& layout : cameras)
        for (int field = 0; field < kFields; ++field) layout.spare[field] = cursor.take(layout.stride[field], kPage);
    spare_bytes = cursor.end() - bytes;
}

EngineState::EngineState(std::vector<CameraConfig> camera_configs, std::vector<ProprioConfig> proprio_configs,
                         EngineOptions engine_options)
    : cameras(std::move(camera_configs)),
      proprios(std::move(proprio_configs)),
      options(engine_options),
      layout(cameras, proprios, options),
      arena(layout.bytes, layout.spare_bytes, options),
      spares_ready_(cameras.size()) {
    std::byte* base = arena.base();
    new (base + layout.seats) core::ReaderSeats<Policy>;
    for (std::size_t i = 0; i < cameras.size(); ++i) {
        new (base + layout.cameras[i].block) CameraBlock;
        store_row_major(cameras[i].intrinsics, slot(i, static_cast<int>(Field::intrinsics), 0));
        store_row_major(cameras[i].extrinsics, slot(i, static_cast<int>(Field::extrinsics), 0));
    }
    for (const ProprioLayout& p : layout.proprios) {
        new (base + p.block) ProprioBlock;
        for (std::size_t i = 0; i < options.proprio_history * (1 + p.words); ++i)
            new (base + p.cells + i * sizeof(std::uint64_t)) Policy::Atomic<std::uint64_t>;
    }
}

core::Revocation EngineState::revoke(std::size_t index, int field, WriterFate fate) noexcept {
    auto& claims = camera(index).claims;
    const std::lock_guard one_at_a_time(revoking_);
    if (fate == WriterFate::dead) return claims.bury(field);
    if (!std::exchange(spares_ready_[index][field], true))
        arena.prefault(layout.cameras[index].spare[field], layout.cameras[index].stride[field]);
    return claims.revoke(field);
}

}  // namespace chiral::detail
