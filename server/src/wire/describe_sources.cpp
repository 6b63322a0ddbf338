// SPDX-License-Identifier: Apache-2.0
#include <chiral/wire.hpp>
#include "wire/values.hpp"
#include "wire/writer.hpp"

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

namespace chiral::wire {
namespace {

constexpr const char* kKey = "chiral.sources";

struct Told {
    bool unit, elements, rate;
    std::size_t count() const noexcept { return std::size_t{unit} + std::size_t{elements} + std::size_t{rate}; }
};
Told told_of(const CameraConfig& camera) noexcept {
    return {camera.has_depth && camera.depth_unit > 0, false, camera.expected_hz > 0};
}
Told told_of(const ProprioConfig& proprio) noexcept {
    return {!proprio.unit.empty(), !proprio.element_names.empty(), proprio.expected_hz > 0};
}

void write_unit(Writer& writer, const CameraConfig& camera) {
    writer.text("depth_unit");
    writer.float64(camera.depth_unit);
}
void write_unit(Writer& writer, const ProprioConfig& proprio) {
    writer.text("unit");
    writer.text(proprio.unit);
}
void write_elements(Writer&, const CameraConfig&) {}
void write_elements(Writer& writer, const ProprioConfig& proprio) {
    writer.text("elements");
    writer.array(proprio.element_names.size());
    for (const std::string& name : proprio.element_names) writer.text(name);
}

template <class Config>
std::size_t told(std::span<const Config> configs) {
    return static_cast<std::size_t>(
        std::count_if(configs.begin(), configs.end(), [](const Config& config) { return told_of(config).count() > 0; }));
}

template <class Config>
void write(Writer& writer, const char* kind, std::span<const Config> configs) {
    writer.text(kind);
    writer.map(told(configs));
    for (const Config& config : configs) {
        const Told what = told_of(config);
        if (what.count() == 0) continue;
        writer.text(config.name);
        writer.map(what.count());
        if (what.unit) write_unit(writer, config);
        if (what.elements) write_elements(writer, config);
        if (what.rate) {
            writer.text("expected_hz");
            writer.float64(config.expected_hz);
        }
    }
}

}  // namespace

void describe_sources(std::span<const CameraConfig> cameras, std::span<const ProprioConfig> proprios, InfoMap& metadata) {
    if (told(cameras) + told(proprios) == 0 || metadata.contains(kKey)) return;
    std::size_t pairs = 0, head = 0;
    if (!metadata.encoded.empty()) {
        try {
            const Value& map = parse_header(metadata.encoded, {});
            if (map.find(kKey) != nullptr) return;
            pairs = map.size;
        } catch (const DecodeError& error) {
            throw std::invalid_argument(std::string("metadata: encoded is not a MessagePack map: ") + error.what());
        }
        const std::uint8_t format = metadata.encoded.front();  // a count of 32 bits, of 16, or in the byte itself
        head = format == 0xdf ? 5 : format == 0xde ? 3 : 1;
    }
    std::vector<std::uint8_t> all;
    Writer writer(all, 0);
    writer.map(pairs + 1);
    writer.raw(metadata.encoded.data() + head, metadata.encoded.size() - head);
    writer.text(kKey);
    writer.map(2);
    write(writer, "cameras", cameras);
    write(writer, "proprios", proprios);
    metadata.encoded = std::move(all);
}

}  // namespace chiral::wire
