// SPDX-License-Identifier: Apache-2.0
#include "slots_in_extra.hpp"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <limits>
#include <optional>

namespace chiral::tools {

namespace {

using Json = nlohmann::ordered_json;

// Nothing, unless all sides are positive and the elements take that many bytes.
std::optional<std::vector<int>> shape_of(const Json& sides, std::size_t element, std::size_t bytes) {
    constexpr std::size_t kMostDimensions = 64;  // as in numpy
    if (sides.empty() || sides.size() > kMostDimensions) return {};
    std::vector<int> shape;
    std::size_t expected = element;
    for (const Json& side : sides) {
        if (!side.is_number_unsigned() || side == 0U || side > bytes / expected ||
            side > static_cast<unsigned>(std::numeric_limits<int>::max()))
            return {};
        shape.push_back(side.get<int>());
        expected *= side.get<std::size_t>();
    }
    if (expected != bytes) return {};
    return shape;
}

std::optional<SlotInfo> slot_of(const std::string& name, const Json& value) {
    for (const char* field : {"dtype", "shape", "data", "timestamp", "sequence", "status"})
        if (!value.is_object() || !value.contains(field)) return {};
    const Json& status = value["status"];
    if (!value["dtype"].is_string() || !value["shape"].is_array() || !value["data"].is_binary() ||
        !value["timestamp"].is_number() || !value["sequence"].is_number_unsigned() || !status.is_number_unsigned() ||
        status >= source_status_count)
        return {};
    const std::optional<DType> dtype = parse_dtype(value["dtype"].get<std::string>());
    if (!dtype) return {};
    const std::vector<std::uint8_t>& data = value["data"].get_binary();
    const std::optional<std::vector<int>> shape = shape_of(value["shape"], size_of(*dtype), data.size());
    if (!shape) return {};
    return SlotInfo{name,
                    *dtype,
                    *shape,
                    data,
                    value["timestamp"].get<double>(),
                    value["sequence"].get<std::uint64_t>(),
                    static_cast<SourceStatus>(status.get<unsigned>())};
}

}  // namespace

std::vector<SlotInfo> slots_in(const ExtraMap& extra) {
    std::vector<SlotInfo> slots;
    if (extra.encoded.empty()) return slots;  // a slot is a map, which only this can hold
    const Json values = Json::from_msgpack(extra.encoded, true, false);
    if (!values.is_object()) return slots;
    for (const auto& [name, value] : values.items())
        if (std::optional<SlotInfo> slot = slot_of(name, value)) slots.push_back(std::move(*slot));
    return slots;
}

}  // namespace chiral::tools
