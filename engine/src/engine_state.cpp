// SPDX-License-Identifier: Apache-2.0
// Declarations checked, arena laid out and filled with the initial values.
#include "engine_state.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

namespace chiral::detail {
namespace {

constexpr std::size_t kMaxEncoded = std::size_t{1} << 30;  // of an encoded image or a slot
constexpr std::size_t kPage = 4096;                        // images and depths start on a page: fit for DMA

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

void check_rate(double hz, const std::string& where) {
    if (!(hz >= 0 && std::isfinite(hz)))
        refuse(where, "expected_hz is " + std::to_string(hz) + ", expected a rate, or 0 where nobody knows");
}

void check_readers(const std::optional<int>& readers, const char* what, int most, const std::string& where) {
    if (readers && (*readers < 0 || *readers > most))
        refuse(where, std::string(what) + " is " + std::to_string(*readers) + ", expected 0 to " + std::to_string(most));
}

void check_pixels(const CameraConfig& c, const std::string& where) {
    if (c.two_dimensional && c.channels != 1)
        refuse(where, "two_dimensional with channels " + std::to_string(c.channels) + ", expected channels 1");
    if (!(c.depth_unit >= 0 && std::isfinite(c.depth_unit)))
        refuse(where, "depth_unit is " + std::to_string(c.depth_unit) + ", expected metres, or 0 where nobody says");
    if (c.encoding == FrameEncoding::raw) {
        if (c.max_encoded_bytes != 0)
            refuse(where,
                   "max_encoded_bytes is " + std::to_string(c.max_encoded_bytes) + ", but its images are not encoded");
        return;
    }
    if (c.image_dtype != DType::uint8 || (c.channels != 1 && c.channels != 3) || c.two_dimensional)
        refuse(where, std::string("encoded images of ") + to_string(c.image_dtype) + " with " + std::to_string(c.channels) +
                          " channels, expected uint8 [H, W, 3] or [H, W, 1]");
    if (c.max_encoded_bytes > kMaxEncoded)
        refuse(where, "max_encoded_bytes is " + std::to_string(c.max_encoded_bytes) + ", expected at most " +
                          std::to_string(kMaxEncoded));
}

void check_slots(const EngineOptions& options) {
    const std::vector<SlotConfig>& slots = options.slots;
    std::set<std::string> names;
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const SlotConfig& slot = slots[i];
        check_name(names, slot, "slot", i);
        const std::string where = "slot '" + slot.name + "'";
        if (slot.bytes < 1 || slot.bytes > kMaxEncoded)
            refuse(where, "bytes is " + std::to_string(slot.bytes) + ", expected 1 to " + std::to_string(kMaxEncoded));
        check_readers(slot.readers, "readers", options.readers, where);
        if (slot.shape.empty()) continue;
        std::size_t bytes = size_of(slot.dtype);
        for (const int side : slot.shape) {
            if (side < 1) refuse(where, "its shape has a side of " + std::to_string(side) + ", expected positive ones");
            bytes *= std::min(static_cast<std::size_t>(side), kMaxEncoded);
            if (bytes > kMaxEncoded) break;
        }
        if (bytes != slot.bytes)
            refuse(where, "its shape of " + std::string(to_string(slot.dtype)) + " takes " + std::to_string(bytes) +
                              " bytes, its value has " + std::to_string(slot.bytes));
    }
}

EngineOptions with_whole_rings(EngineOptions options) {
    if (options.proprio_history >= 2 && options.proprio_history <= kMaxProprioHistory)  // else it is refused as it came
        options.proprio_history = std::bit_ceil(options.proprio_history);
    return options;
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
        check_pixels(c, where);
        check_rate(c.expected_hz, where);
        check_readers(c.readers, "readers", options.readers, where);
        if (c.depth_readers && !c.has_depth) refuse(where, "depth_readers is given, but it has no depth");
        check_readers(c.depth_readers, "depth_readers", c.readers.value_or(options.readers), where);
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
    for (const ProprioConfig& proprio : proprios) {
        const std::string where = "proprio '" + proprio.name + "'";
        check_rate(proprio.expected_hz, where);
        if (!proprio.element_names.empty() && proprio.element_names.size() != static_cast<std::size_t>(proprio.size))
            refuse(where, "element_names has " + std::to_string(proprio.element_names.size()) + " names, expected " +
                              std::to_string(proprio.size) + " or none");
    }
    check_slots(options);
    if (options.readers < 1 || options.readers > core::kMaxReaders)
        refuse("options",
               "readers is " + std::to_string(options.readers) + ", expected 1 to " + std::to_string(core::kMaxReaders));
    static_assert(kMostGuests == core::kMaxGuests);
    if (options.guests < 0 || options.guests > kMostGuests)
        refuse("options", "guests is " + std::to_string(options.guests) + ", expected 0 to " + std::to_string(kMostGuests));
    if (options.guests > 0 && !options.guest_memory) refuse("options", "there may be guests, but no guest_memory is given");
    if (const int all = options.readers + kGuestPins * options.guests; all > core::kMaxReaders)
        refuse("options", "readers and " + std::to_string(kGuestPins) + " for each of the guests are " +
                              std::to_string(all) + ", expected at most " + std::to_string(core::kMaxReaders));
    if (options.proprio_history < 2 || options.proprio_history > kMaxProprioHistory)
        refuse("options", "proprio_history is " + std::to_string(options.proprio_history) + ", expected 2 to " +
                              std::to_string(kMaxProprioHistory));
}

}  // namespace

EngineLayout::EngineLayout(const std::vector<CameraConfig>& camera_configs,
                           const std::vector<ProprioConfig>& proprio_configs, const EngineOptions& options) {
    check(camera_configs, proprio_configs, options);
    Cursor cursor;
    seats = cursor.take(sizeof(core::ReaderSeats<Policy>), core::kCacheLine);
    bell = cursor.take(core::kCacheLine, core::kCacheLine);
    const auto add_camera = [&](const std::optional<int>& readers) -> CameraLayout& {
        CameraLayout& layout = cameras.emplace_back();
        layout.block = cursor.take(sizeof(CameraBlock), alignof(CameraBlock));
        layout.seats = cursor.take(sizeof(core::ReaderSeats<Policy>), core::kCacheLine);
        layout.copies = cursor.take(sizeof(CopyChoice) * core::kLargeFields, alignof(CopyChoice));
        layout.readers = core::readers_of_all(readers.value_or(options.readers));
        return layout;
    };
    for (const CameraConfig& config : camera_configs) {
        CameraLayout& layout = add_camera(config.readers);
        if (config.depth_readers) layout.readers[kDepth] = static_cast<std::uint8_t>(*config.depth_readers);
        const bool encoded = config.encoding != FrameEncoding::raw;
        layout.bytes = {encoded && config.max_encoded_bytes > 0 ? config.max_encoded_bytes : image_bytes(config),
                        depth_bytes(config), 9 * sizeof(double), 16 * sizeof(double)};
        layout.room = layout.bytes;
        layout.guest_pins = std::size_t{kGuestPins} * static_cast<std::size_t>(options.guests);
        layout.encoded = encoded;
        if (encoded) layout.room[kImage] = bytes_with_size(layout.bytes[kImage]);
    }
    for (const SlotConfig& slot : options.slots) {
        CameraLayout& layout = add_camera(slot.readers);
        layout.bytes[kImage] = layout.room[kImage] = slot.bytes;
    }
    for (const ProprioConfig& config : proprio_configs) {
        ProprioLayout& layout = proprios.emplace_back();
        layout.block = cursor.take(sizeof(ProprioBlock), alignof(ProprioBlock));
        const std::size_t bytes_of_values = static_cast<std::size_t>(config.size) * size_of(config.dtype);
        layout.words = 2 + (bytes_of_values + sizeof(std::uint64_t) - 1) / sizeof(std::uint64_t);
    }
    for (CameraLayout& layout : cameras)
        for (int field = 0; field < kFields; ++field) {
            const bool of_a_camera = &layout < cameras.data() + camera_configs.size();
            const bool bulk = field <= kDepth && (of_a_camera || layout.room[field] >= kPage);
            const std::size_t alignment = bulk ? kPage : 2 * core::kCacheLine;
            layout.stride[field] = (layout.room[field] + alignment - 1) / alignment * alignment;
            layout.slots[field] = cursor.take(layout.stride[field] * layout.count(field), alignment);
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
      options(with_whole_rings(std::move(engine_options))),
      layout(cameras, proprios, options),
      arena(layout.bytes, layout.spare_bytes, options),
      spares_ready_(layout.cameras.size()) {
    std::byte* base = arena.base();
    new (base + layout.seats) core::ReaderSeats<Policy>;
    new (base + layout.bell) core::Bell<Policy>;
    for (const CameraLayout& camera : layout.cameras) {
        new (base + camera.block) CameraBlock;
        new (base + camera.seats) core::ReaderSeats<Policy>;
        for (std::size_t field = 0; field < core::kLargeFields; ++field)
            new (base + camera.copies + field * sizeof(CopyChoice)) CopyChoice;
    }
    for (std::size_t i = 0; i < cameras.size(); ++i) {
        store_row_major(cameras[i].intrinsics, slot(i, static_cast<int>(Field::intrinsics), 0));
        store_row_major(cameras[i].extrinsics, slot(i, static_cast<int>(Field::extrinsics), 0));
    }
    for (const ProprioLayout& p : layout.proprios) {
        new (base + p.block) ProprioBlock;
        for (std::size_t i = 0; i < options.proprio_history * (1 + p.words); ++i)
            new (base + p.cells + i * sizeof(std::uint64_t)) Policy::Atomic<std::uint64_t>;
    }
    if (options.guests > 0) lay_out_guests();
}

std::size_t guest_page_bytes(std::size_t cameras) noexcept {
    return std::max(kPage, (guest_line(cameras) + kPage - 1) / kPage * kPage);
}

void EngineState::lay_out_guests() {
    using Word = core::Hazard<Policy>::Word;
    const std::size_t bytes = guest_page_bytes(cameras.size());
    guest_memory_ = options.guest_memory(bytes * static_cast<std::size_t>(options.guests));
    for (std::size_t i = 0; i < cameras.size(); ++i) {
        auto* const first = reinterpret_cast<Word*>(guest_memory_.get() + guest_line(i));
        guest_hazards_.push_back({&guest_seats, options.guests, kGuestPins, first, bytes / sizeof(Word)});
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
