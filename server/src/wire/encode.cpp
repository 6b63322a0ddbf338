// SPDX-License-Identifier: Apache-2.0
// Encodes what a server sends. Headers are written by hand with fixed-width numbers, so that those of an observation can be written
// over in place when the next one has the same layout.
#include <chiral/wire.hpp>
#include "wire/pixels.hpp"
#include "wire/values.hpp"
#include "wire/words.hpp"
#include "wire/writer.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>
#include <variant>

namespace chiral::wire {

namespace {

static_assert(std::endian::native == std::endian::little, "payloads are little-endian and sent as they are");

// What is sent is within the limits of our own decoder: the sender is told, not the receiver.
constexpr Limits limits{};

void check_count(const char* message, const char* what, std::size_t count, std::size_t limit) {
    if (count > limit)
        throw std::invalid_argument(std::string(message) + ": " + what + " has " + std::to_string(count) +
                                    " entries, expected at most " + std::to_string(limit));
}

// Bytes of a map's format byte and count.
std::size_t map_head_size(std::uint8_t format) noexcept { return format == 0xdf ? 5 : format == 0xde ? 3 : 1; }

// The encoded pairs, then the others, each value written by `write_value`.
template <class Map, class WriteValue>
void write_map(Writer& writer, const char* message, const char* key, const Map& map, WriteValue write_value) {
    writer.text(key);
    const Value* encoded = nullptr;
    if (!map.encoded.empty()) {
        try {
            encoded = &parse_header(map.encoded, {});
        } catch (const DecodeError& error) {
            throw std::invalid_argument(std::string(key) + ": encoded is not a MessagePack map: " + error.what());
        }
    }
    const auto is_encoded = [&](const std::string& name) { return encoded != nullptr && encoded->find(name) != nullptr; };
    std::size_t size = encoded != nullptr ? encoded->size : 0;
    for (const auto& pair : map) size += is_encoded(pair.first) ? 0 : 1;
    check_count(message, key, size, limits.max_map_entries);
    writer.map(size);
    if (encoded != nullptr) {
        const std::size_t head = map_head_size(map.encoded.front());
        writer.raw(map.encoded.data() + head, map.encoded.size() - head);
    }
    for (const auto& [name, value] : map) {
        if (is_encoded(name)) continue;
        writer.text(name);
        write_value(value);
    }
}

void write_info(Writer& writer, const char* message, const char* key, const InfoMap& info) {
    write_map(writer, message, key, info, [&](const std::string& value) { writer.text(value); });
}

void write_extra(Writer& writer, const char* message, const ExtraMap& extra) {
    write_map(writer, message, "extra", extra, [&](const ExtraValue& value) {
        if (const bool* boolean = std::get_if<bool>(&value)) {
            writer.boolean(*boolean);
        } else if (const std::int64_t* integer = std::get_if<std::int64_t>(&value)) {
            writer.integer(*integer);
        } else if (const double* real = std::get_if<double>(&value)) {
            writer.float64(*real);
        } else {
            writer.text(std::get<std::string>(value));
        }
    });
}

// The numbers of a source or an answer that change each time stand together, keys and all, and always take the same
// number of bytes: building a header and writing over the kept one are the same function at the same place.

void write_times(Writer& writer, const Observation& obs) {
    writer.text("timestamp");
    writer.float64(obs.timestamp);
    writer.text("snapshot_time");
    writer.float64(obs.snapshot_time);
}

template <class Source>
void write_currency(Writer& writer, const Source& source) {
    writer.text("sequence");
    writer.uint64(source.sequence);
    writer.text("missed");
    writer.uint64(source.missed);
    writer.text("status");
    writer.byte(static_cast<unsigned>(source.status) & 0x7f);
}

template <class Matrix>
void write_matrix(Writer& writer, const char* key, const Matrix& matrix) {
    writer.text(key);
    writer.array(static_cast<std::size_t>(matrix.size()));
    for (Eigen::Index row = 0; row < matrix.rows(); ++row)  // Eigen stores by columns, the wire wants rows
        for (Eigen::Index column = 0; column < matrix.cols(); ++column) writer.float64(matrix(row, column));
}

void write_numbers(Writer& writer, const CameraInfo& camera) {
    writer.text("timestamp");
    writer.float64(camera.timestamp);
    write_matrix(writer, "intrinsics", camera.intrinsics);
    write_matrix(writer, "extrinsics", camera.extrinsics);
    write_currency(writer, camera);
}

void write_numbers(Writer& writer, const ProprioInfo& proprio) {
    writer.text("timestamp");
    writer.float64(proprio.timestamp);
    write_currency(writer, proprio);
}

void write_numbers(Writer& writer, const StepResult& step) {
    writer.text("reward");
    writer.float64(static_cast<double>(step.reward));
    writer.text("terminated");
    writer.boolean(step.terminated);
    writer.text("truncated");
    writer.boolean(step.truncated);
}

bool tells_depth_unit(const CameraInfo& camera) noexcept { return camera.has_depth && camera.depth_unit > 0; }

[[noreturn]] void refuse(const CameraInfo& camera, const std::string& problem) {
    throw std::invalid_argument("camera '" + camera.name + "': " + problem);
}

// `encoded`: as large as they are, whatever the shape says.
void check_pixels(const CameraInfo& camera, const PixelFormat& format, bool encoded) {
    const ByteBuffer& pixels = camera.*format.bytes;
    const std::vector<int>& shape = camera.*format.shape;
    const std::optional<DType> dtype = dtype_of(camera, format);
    if (!dtype)
        refuse(camera, std::string(format.dtype_key) + " is '" + camera.*format.dtype + "', expected " + dtypes_text());
    bool shape_fits = format.ranks.has(shape.size());
    std::size_t expected = shape.empty() ? 0 : size_of(*dtype);
    for (const int dimension : shape) {
        shape_fits = shape_fits && dimension > 0;
        if (shape_fits) expected = saturating_product(expected, static_cast<std::size_t>(dimension));
    }
    if (!shape_fits)
        refuse(camera, std::string(format.shape_key) + " is " + shape_text(shape) + ", expected " + format.dimensions +
                           " with positive sizes");
    if (pixels.size() != expected && !encoded)
        refuse(camera, std::string(format.what) + " is " + std::to_string(pixels.size()) + " bytes, shape " +
                           shape_text(shape) + ' ' + to_string(*dtype) + " needs " + std::to_string(expected));
}

void check(const CameraInfo& camera, bool wanted) {
    check_pixels(camera, image_format, wanted && (camera.image_unchanged || is_encoded(camera.image_encoding)));
    if (!camera.has_depth) return;
    check_pixels(camera, depth_format, wanted && (camera.depth_unchanged || is_encoded(camera.depth_encoding)));
    if (!(camera.depth_unit >= 0 && std::isfinite(camera.depth_unit)))
        refuse(camera, "depth_unit is " + std::to_string(camera.depth_unit) + ", expected metres, or 0 where nobody knows");
}

// What only clients that have asked for it are told.
void write_wanted(Writer& writer, const CameraInfo& camera) {
    const bool depth_unchanged = camera.has_depth && camera.depth_unchanged;
    writer.text("depth_sequence");
    writer.count(camera.depth_sequence);
    writer.text("unchanged");
    writer.array(std::size_t{0} + camera.image_unchanged + depth_unchanged);
    if (camera.image_unchanged) writer.text("image");
    if (depth_unchanged) writer.text("depth");
    writer.text("image_encoding");
    writer.text(word(camera.image_encoding));
    writer.text("image_order");
    writer.text(word(camera.image_order));
    writer.text("depth_encoding");
    writer.text(word(camera.depth_encoding));
}

// Announces pixels at `offset` of the payload and moves it on.
void write_pixels(Writer& writer, const CameraInfo& camera, const PixelFormat& format, std::size_t& offset) {
    const std::size_t size = (camera.*format.bytes).size();
    writer.text(format.shape_key);
    writer.array((camera.*format.shape).size());
    for (const int dimension : camera.*format.shape) writer.count(static_cast<std::uint64_t>(dimension));
    writer.text(format.dtype_key);
    writer.text(to_string(*dtype_of(camera, format)));
    writer.text(format.offset_key);
    writer.count(offset);
    writer.text(format.size_key);
    writer.count(size);
    offset += size;
}

}  // namespace

void check_sources(std::span<const CameraConfig> cameras, std::span<const ProprioConfig> proprios) {
    const auto refuse = [](const std::string& problem) { throw std::invalid_argument("declaration: " + problem); };
    check_count("declaration", "cameras", cameras.size(), limits.max_cameras);
    check_count("declaration", "proprios", proprios.size(), limits.max_proprios);
    std::size_t names = 0;
    const auto check_name = [&](const char* kind, const std::string& name) {
        names += name.size();
        if (!is_utf8(name))
            refuse(std::string(kind) + " '" + repaired_utf8(name) + "': its name is not UTF-8, which every client expects");
    };
    for (const CameraConfig& camera : cameras) check_name("camera", camera.name);
    for (const ProprioConfig& proprio : proprios) check_name("proprio", proprio.name);
    const std::size_t most = limits.max_header_bytes / 4;  // much of a header is numbers, and some is the application's
    if (names > most)
        refuse("names of " + std::to_string(names) + " bytes together, expected at most " + std::to_string(most));
}

void encode_metadata_response(const InfoMap& metadata, std::vector<std::uint8_t>& out) {
    Writer writer = begin_frame(out);
    writer.map(2);
    writer.text("type");
    writer.text(to_string(ResponseType::metadata_response));
    write_info(writer, to_string(ResponseType::metadata_response), "data", metadata);
    end_header(out, writer.position(), to_string(ResponseType::metadata_response), "data", limits);
}

void ObservationEncoder::encode_obs_response(const Observation& obs) {
    encode(ResponseType::obs_response, obs, nullptr, nullptr);
}

void ObservationEncoder::encode_wanted_response(const Observation& obs) {
    kept_.valid = false;  // sizes differ from answer to answer
    wanted_ = true;
    encode(ResponseType::obs_response, obs, nullptr, nullptr);
    kept_.valid = false;
    wanted_ = false;
}

void ObservationEncoder::encode_reset_response(const Observation& obs, const InfoMap& info) {
    encode(ResponseType::reset_response, obs, &info, nullptr);
}

void ObservationEncoder::encode_step_response(const StepResult& result) {
    encode(ResponseType::step_response, result.obs, &result.info, &result);
}

std::size_t ObservationEncoder::total_bytes() const noexcept {
    std::size_t total = head_.size();
    for (const Bytes& piece : payload_) total += piece.size();
    return total;
}

void ObservationEncoder::encode(ResponseType type, const Observation& obs, const InfoMap* info, const StepResult* step) {
    check_count(to_string(type), "cameras", obs.cameras.size(), limits.max_cameras);
    check_count(to_string(type), "proprios", obs.proprios.size(), limits.max_proprios);
    for (const CameraInfo& camera : obs.cameras) check(camera, wanted_);

    if (matches(type, obs)) {
        patch(obs, step);
    } else {
        rebuild(type, obs, step);
    }
    try {
        write_tail(type, obs, info);
    } catch (const std::invalid_argument&) {
        kept_.valid = false;
        head_.clear();
        payload_.clear();
        throw;
    }

    payload_.clear();
    const auto add = [&](Bytes piece) {
        if (!piece.empty()) payload_.push_back(piece);
    };
    for (const CameraInfo& camera : obs.cameras) {
        add({camera.image.data(), camera.image.size()});
        if (camera.has_depth) add({camera.depth_data.data(), camera.depth_data.size()});
    }
    for (const ProprioInfo& proprio : obs.proprios) add(bytes_of(proprio.data));
}

void ObservationEncoder::write_tail(ResponseType type, const Observation& obs, const InfoMap* info) {
    Writer writer(head_, kept_.tail);
    write_extra(writer, to_string(type), obs.extra);
    const std::size_t extra = writer.position() - kept_.tail;
    if (info != nullptr) write_info(writer, to_string(type), "info", *info);
    const std::size_t rest = writer.position() - kept_.tail - extra;
    const char* largest = kept_.tail >= std::max(extra, rest) ? "names" : extra >= rest ? "extra" : "info";
    end_header(head_, writer.position(), to_string(type), largest, limits);
}

ObservationEncoder::Layout ObservationEncoder::layout_of(const CameraInfo& camera) noexcept {
    Layout layout;
    for (std::size_t i = 0; i < camera.image_shape.size(); ++i) layout.shape[i] = camera.image_shape[i];
    layout.image = *dtype_of(camera, image_format);
    if (!camera.has_depth) return layout;
    for (std::size_t i = 0; i < camera.depth_shape.size(); ++i) layout.shape[3 + i] = camera.depth_shape[i];
    layout.depth = *dtype_of(camera, depth_format);
    layout.depth_unit = camera.depth_unit;
    return layout;
}

bool ObservationEncoder::matches(ResponseType type, const Observation& obs) const noexcept {
    if (!kept_.valid || kept_.type != type || kept_.cameras.size() != obs.cameras.size() ||
        kept_.proprios.size() != obs.proprios.size())
        return false;
    for (std::size_t i = 0; i < obs.cameras.size(); ++i)
        if (kept_.cameras[i].name != obs.cameras[i].name || kept_.cameras[i].layout != layout_of(obs.cameras[i]))
            return false;
    for (std::size_t i = 0; i < obs.proprios.size(); ++i)
        if (kept_.proprios[i].name != obs.proprios[i].name || kept_.proprios[i].elements != obs.proprios[i].data.size())
            return false;
    return true;
}

void ObservationEncoder::patch(const Observation& obs, const StepResult* step) {
    const auto at = [this](std::size_t position) { return Writer(head_, position); };
    Writer times = at(kept_.times);
    write_times(times, obs);
    for (std::size_t i = 0; i < obs.cameras.size(); ++i) {
        Writer numbers = at(kept_.cameras[i].numbers);
        write_numbers(numbers, obs.cameras[i]);
    }
    for (std::size_t i = 0; i < obs.proprios.size(); ++i) {
        Writer numbers = at(kept_.proprios[i].numbers);
        write_numbers(numbers, obs.proprios[i]);
    }
    if (step != nullptr) {
        Writer numbers = at(kept_.step_numbers);
        write_numbers(numbers, *step);
    }
}

void ObservationEncoder::rebuild(ResponseType type, const Observation& obs, const StepResult* step) {
    kept_.valid = false;
    kept_.type = type;
    kept_.cameras.resize(obs.cameras.size());
    kept_.proprios.resize(obs.proprios.size());
    ++rebuilds_;

    Writer writer = begin_frame(head_);
    const std::size_t fields = 6;  // type, two times, cameras, proprios, extra
    writer.map(fields + (type == ResponseType::obs_response ? 0 : 1) + (step != nullptr ? 3 : 0));
    writer.text("type");
    writer.text(to_string(type));
    kept_.times = writer.position();
    write_times(writer, obs);

    std::size_t offset = 0;
    writer.text("cameras");
    writer.array(obs.cameras.size());
    for (std::size_t i = 0; i < obs.cameras.size(); ++i) {
        const CameraInfo& camera = obs.cameras[i];
        writer.map((camera.has_depth ? 15 : 11) + (wanted_ ? 5 : 0) + (tells_depth_unit(camera) ? 1 : 0));
        writer.text("name");
        writer.text(camera.name);
        kept_.cameras[i] = {camera.name, layout_of(camera), writer.position()};
        write_numbers(writer, camera);
        if (wanted_) write_wanted(writer, camera);
        write_pixels(writer, camera, image_format, offset);
        if (camera.has_depth) write_pixels(writer, camera, depth_format, offset);
        if (tells_depth_unit(camera)) {
            writer.text("depth_unit");
            writer.float64(camera.depth_unit);
        }
    }

    writer.text("proprios");
    writer.array(obs.proprios.size());
    for (std::size_t i = 0; i < obs.proprios.size(); ++i) {
        const ProprioInfo& proprio = obs.proprios[i];
        const std::size_t size = proprio.data.size() * sizeof(float);
        writer.map(8);
        writer.text("name");
        writer.text(proprio.name);
        kept_.proprios[i] = {proprio.name, proprio.data.size(), writer.position()};
        write_numbers(writer, proprio);
        writer.text("dtype");
        writer.text("float32");
        writer.text("offset");
        writer.count(offset);
        writer.text("size");
        writer.count(size);
        offset += size;
    }

    kept_.step_numbers = writer.position();
    if (step != nullptr) write_numbers(writer, *step);
    kept_.tail = writer.position();
    kept_.valid = true;
}

}  // namespace chiral::wire
