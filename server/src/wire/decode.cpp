// SPDX-License-Identifier: Apache-2.0
// Decodes frames: splits them, looks the fields of each message up in its header, and checks every offset, size, shape
// and count against the payload before a byte is copied.
#include <chiral/wire.hpp>
#include "wire/fields.hpp"
#include "wire/pixels.hpp"
#include "wire/values.hpp"
#include "wire/want.hpp"
#include "wire/words.hpp"

#include <bit>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace chiral::wire {

namespace {

static_assert(std::endian::native == std::endian::little, "payloads are little-endian and copied as they are");

struct Frame {
    Bytes header;
    Bytes payload;
};

Frame split(Bytes message, const Limits& limits) {
    if (message.size() < 4)
        throw DecodeError("frame: message is " + std::to_string(message.size()) +
                          " bytes, expected at least the 4 of the header length");
    const std::size_t length = payload_offset(message) - 4;
    const Bytes rest = message.subspan(4);
    if (length > limits.max_header_bytes)
        throw DecodeError("frame: header of " + std::to_string(length) + " bytes, at most " +
                          std::to_string(limits.max_header_bytes) + " accepted");
    if (length > rest.size())
        throw DecodeError("frame: header of " + std::to_string(length) + " bytes, but only " + std::to_string(rest.size()) +
                          " follow its length");
    return {rest.first(length), rest.subspan(length)};
}

// Makes `map` hold exactly the pairs of `pairs`, the first where a key is repeated. Nodes of keys that were there
// before are kept, so that a map with the same keys each time is decoded without allocation.
template <class Map, class Assign>
void decode_map(const Value& pairs, Map& map, Assign assign) {
    thread_local std::string name;
    Map previous;
    previous.swap(map);  // the pairs only: `encoded` keeps its memory
    pairs.for_each_pair([&](const Value& key, const Value& value) {
        if (key.is_text()) {
            name.assign(key.text());
        } else {
            name.clear();
            append_json(key, name);
        }
        if (map.find(name) != map.end()) return;
        auto node = previous.extract(name);
        if (node) {
            assign(node.mapped(), value);
            map.insert(std::move(node));
        } else {
            assign(map[name], value);
        }
    });
}

// Keeps the map as it came if the C++ map cannot hold one of its values or keys.
template <class Map, class Holds>
void keep_encoded(const Value& pairs, Map& map, Holds holds) {
    map.encoded.clear();
    bool all = true;
    pairs.for_each_pair([&](const Value& key, const Value& value) { all = all && key.is_text() && holds(value); });
    if (!all) append_msgpack(pairs, map.encoded);
}

bool extra_value_holds(const Value& value) noexcept {
    switch (value.kind) {
        case Value::Kind::boolean:
        case Value::Kind::real:
        case Value::Kind::negative_integer:
        case Value::Kind::text: return true;
        case Value::Kind::unsigned_integer:
            return value.unsigned_integer <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
        default: return false;
    }
}

void decode_info(const Where& where, const char* key, const Value& value, InfoMap& info) {
    if (!value.is_map()) fail(where, key, &value, "a map");
    decode_map(value, info, [](std::string& text, const Value& element) {
        text.clear();
        if (element.is_text()) {
            text.assign(element.text());
        } else {
            append_json(element, text);
        }
    });
    keep_encoded(value, info, [](const Value& element) { return element.is_text(); });
}

// Assigns in place where the variant already holds this type, so that its text keeps its memory.
template <class T, class From>
void assign_alternative(ExtraValue& extra, const From& from) {
    if (T* held = std::get_if<T>(&extra)) {
        *held = from;
    } else {
        extra = T(from);
    }
}

void decode_extra_value(ExtraValue& extra, const Value& value) {
    switch (value.kind) {
        case Value::Kind::boolean: assign_alternative<bool>(extra, value.boolean); return;
        case Value::Kind::real: assign_alternative<double>(extra, value.real); return;
        case Value::Kind::negative_integer: assign_alternative<std::int64_t>(extra, value.negative_integer); return;
        case Value::Kind::text: assign_alternative<std::string>(extra, value.text()); return;
        case Value::Kind::unsigned_integer:
            if (value.unsigned_integer > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) break;
            assign_alternative<std::int64_t>(extra, static_cast<std::int64_t>(value.unsigned_integer));
            return;
        default: break;
    }
    std::string json;
    append_json(value, json);
    extra = std::move(json);
}

RequestType request_type(const Value& header) {
    const std::string_view name = require_text({"request"}, header, "type");
    for (const RequestType type : {RequestType::metadata, RequestType::reset, RequestType::obs_request,
                                   RequestType::apply_action, RequestType::action})
        if (name == to_string(type)) return type;
    throw DecodeError("request: type is " + quoted(name) +
                      ", expected metadata, reset, obs_request, apply_action or action");
}

void decode_action(const Where& where, const Value& header, Bytes payload, Action& action, const Limits& limits) {
    thread_local std::vector<int> shape;
    require_dtype(where, header, "dtype", "float32");
    const std::size_t elements = require_shape(where, header, "shape", {1, 2}, "[D] or [N, D]", shape);
    if (elements > limits.max_action_elements)
        fail(where, "shape " + shape_text(shape) + " has more than the " + std::to_string(limits.max_action_elements) +
                        " elements accepted");
    const std::size_t expected = elements * sizeof(float);
    if (payload.size() != expected)
        fail(where, "payload is " + std::to_string(payload.size()) + " bytes, shape " + shape_text(shape) +
                        " float32 needs " + std::to_string(expected));
    action.N = shape.size() == 2 ? shape.front() : 1;
    action.D = shape.back();
    action.received_at = 0.0;
    action.data.resize(elements);
    std::memcpy(action.data.data(), payload.data(), payload.size());
    for (std::size_t i = 0; i < elements; ++i)
        if (!std::isfinite(action.data[i]))
            fail(where,
                 "element " + std::to_string(i) + " is " + std::to_string(action.data[i]) + ", expected a finite number");

    const Value* timestamps = given(header, "obs_timestamps");
    if (timestamps == nullptr) {
        action.obs_timestamps.clear();
        return;
    }
    if (!timestamps->is_map()) fail(where, "obs_timestamps", timestamps, "a map");
    if (timestamps->size > limits.max_cameras)
        fail(where, "obs_timestamps has " + std::to_string(timestamps->size) + " cameras, at most " +
                        std::to_string(limits.max_cameras) + " accepted");
    decode_map(*timestamps, action.obs_timestamps, [&](double& seconds, const Value& value) {
        seconds = to_number(where, "obs_timestamps", &value);
        if (!std::isfinite(seconds)) fail(where, "obs_timestamps", &value, "finite numbers");
    });
}

ResponseType response_type(const Value& header) {
    const std::string_view name = require_text({"response"}, header, "type");
    for (const ResponseType type : {ResponseType::metadata_response, ResponseType::reset_response,
                                    ResponseType::obs_response, ResponseType::step_response})
        if (name == to_string(type)) return type;
    throw DecodeError("response: type is " + quoted(name) +
                      ", expected metadata_response, reset_response, obs_response or step_response");
}

// The name of element `i` of `cameras` or `proprios`, which must be a map.
std::string_view source_name(const Where& where, const char* list, std::size_t i, const Value& source) {
    const auto position = [&] { return std::string(list) + '[' + std::to_string(i) + ']'; };
    if (!source.is_map()) fail(where, position() + " is " + describe(&source) + ", expected a map");
    const Value* name = source.find("name");
    if (name == nullptr || !name->is_text()) fail(where, position() + ": name is " + describe(name) + ", expected a string");
    return name->text();
}

template <class Source>
void decode_currency(const Where& where, const Value& fields, Source& source) {
    source.sequence = count_or_zero(where, fields, "sequence");
    source.missed = count_or_zero(where, fields, "missed");
    const std::uint64_t status = count_or_zero(where, fields, "status");
    source.status =
        status <= static_cast<std::uint64_t>(SourceStatus::ahead) ? static_cast<SourceStatus>(status) : SourceStatus::stale;
}

// Bytes that are encoded are not as many as the shape says; of what is unchanged there are none.
void decode_pixels(const Where& where, const Value& fields, const PixelFormat& format, Payload& payload, CameraInfo& camera,
                   bool encoded, bool unchanged, Loan* lender) {
    const DType dtype = to_dtype(where, fields, format.dtype_key);
    // The codecs know one type each: another would make pixels of another size than the shape says.
    if (encoded && !unchanged && dtype != format.usual)
        fail(where, format.dtype_key, fields.find(format.dtype_key),
             std::string(to_string(format.usual)) + " where it is encoded");
    std::vector<int>& shape = camera.*format.shape;
    const std::size_t elements = require_shape(where, fields, format.shape_key, format.ranks, format.dimensions, shape);
    const std::size_t expected = saturating_product(elements, size_of(dtype));
    const std::uint64_t size = require_count(where, fields, format.size_key);
    if (unchanged && size != 0)
        fail(where, std::string(format.what) + " is unchanged and has " + std::to_string(size) + " bytes, expected none");
    if (encoded || unchanged) payload.announce(where, format.what, expected);
    else if (size != expected)
        fail(where, std::string(format.what) + " is " + std::to_string(size) + " bytes, shape " + shape_text(shape) + ' ' +
                        to_string(dtype) + " needs " + std::to_string(expected));
    const Bytes bytes = payload.claim(where, format.what, require_count(where, fields, format.offset_key), size);
    const bool aligned = encoded || reinterpret_cast<std::uintptr_t>(bytes.data()) % size_of(dtype) == 0;
    ByteBuffer& pixels = camera.*format.bytes;
    if (lender != nullptr && aligned && !bytes.empty()) pixels.borrow(bytes.data(), bytes.size(), *lender);
    else pixels.assign(bytes.data(), bytes.data() + bytes.size());
    (camera.*format.dtype).assign(to_string(dtype));
}

// One of the words of an enumeration; its first meaning where the key is missing.
template <class Enum>
Enum word_or(const Where& where, const Value& fields, const char* key, Enum missing) {
    const Value* value = given(fields, key);
    if (value == nullptr) return missing;
    const std::optional<Enum> known = value->is_text() ? from_word<Enum>(value->text()) : std::nullopt;
    if (!known) fail(where, key, value, words_of<Enum>());
    return *known;
}

// Whether an array of words, if there is one, has this among them.
bool names(const Where& where, const Value& fields, const char* key, std::string_view word) {
    const Value* list = given(fields, key);
    if (list == nullptr) return false;
    if (!list->is_array()) fail(where, key, list, "an array of strings");
    bool found = false;
    list->for_each_element([&](const Value& each) { found = found || (each.is_text() && each.text() == word); });
    return found;
}

// Only observations are wanted in some way; reset and step answer with what the documented fields say.
void decode_wanted(const Where& where, const Value& fields, CameraInfo& camera) {
    const bool may_say = where.message == to_string(ResponseType::obs_response);
    camera.depth_sequence = may_say ? count_or_zero(where, fields, "depth_sequence") : 0;
    camera.image_unchanged = may_say && names(where, fields, "unchanged", "image");
    camera.depth_unchanged = may_say && names(where, fields, "unchanged", "depth");
    camera.image_encoding = ImageEncoding::raw;
    camera.image_order = ColourOrder::rgb;
    camera.depth_encoding = DepthEncoding::raw;
    if (!may_say) return;
    camera.image_encoding = word_or(where, fields, "image_encoding", ImageEncoding::raw);
    camera.image_order = word_or(where, fields, "image_order", ColourOrder::rgb);
    camera.depth_encoding = word_or(where, fields, "depth_encoding", DepthEncoding::raw);
}

void decode_camera(const Where& where, const Value& fields, Payload& payload, CameraInfo& camera, Loan* lender) {
    camera.timestamp = require_number(where, fields, "timestamp");
    require_matrix(where, fields, "intrinsics", camera.intrinsics);
    require_matrix(where, fields, "extrinsics", camera.extrinsics);
    decode_currency(where, fields, camera);
    decode_wanted(where, fields, camera);
    decode_pixels(where, fields, image_format, payload, camera, is_encoded(camera.image_encoding), camera.image_unchanged,
                  lender);
    camera.has_depth = given(fields, "depth_shape") != nullptr;
    if (camera.has_depth) {
        decode_pixels(where, fields, depth_format, payload, camera, is_encoded(camera.depth_encoding),
                      camera.depth_unchanged, lender);
        camera.depth_unit = number_or_zero(where, fields, "depth_unit");
        if (!(camera.depth_unit >= 0 && std::isfinite(camera.depth_unit)))
            fail(where, "depth_unit", given(fields, "depth_unit"), "metres, or 0 where nobody knows");
    } else {
        camera.depth_data.clear();
        camera.depth_shape.clear();
        camera.depth_dtype.clear();
        camera.depth_unit = 0.0;
        camera.depth_unchanged = false;
    }
}

void decode_proprio(const Where& where, const Value& fields, Payload& payload, ProprioInfo& proprio) {
    proprio.timestamp = number_or_zero(where, fields, "timestamp");
    decode_currency(where, fields, proprio);
    if (to_dtype(where, fields, "dtype") != DType::float32) fail(where, "dtype", fields.find("dtype"), "float32");
    const std::uint64_t size = require_count(where, fields, "size");
    if (size % sizeof(float) != 0)
        fail(where, "size is " + std::to_string(size) + " bytes, expected a multiple of 4 for float32");
    const Bytes data = payload.claim(where, "data", require_count(where, fields, "offset"), size);
    proprio.data.resize(data.size() / sizeof(float));
    if (!data.empty()) std::memcpy(proprio.data.data(), data.data(), data.size());
}

// Decodes a list of cameras or proprios.
template <class Source, class Decode>
void decode_sources(const Where& where, const Value& header, const char* list, const char* kind, std::size_t limit,
                    std::vector<Source>& sources, Decode decode) {
    const Value& values = require(where, header, list, Value::Kind::array, "an array");
    if (values.size > limit)
        fail(where, std::to_string(values.size) + ' ' + list + ", at most " + std::to_string(limit) + " accepted");
    sources.resize(values.size);
    std::size_t i = 0;
    values.for_each_element([&](const Value& fields) {
        const std::string_view name = source_name(where, list, i, fields);
        Source& source = sources[i++];
        source.name.assign(name);
        decode({where.message, kind, name}, fields, source);
    });
}

void decode_observation(const Where& where, const Value& header, Payload payload, Observation& obs, const Limits& limits,
                        Loan* lender) {
    obs.timestamp = require_number(where, header, "timestamp");
    obs.snapshot_time = number_or_zero(where, header, "snapshot_time");
    decode_sources(where, header, "cameras", "camera", limits.max_cameras, obs.cameras,
                   [&](const Where& camera_at, const Value& fields, CameraInfo& camera) {
                       decode_camera(camera_at, fields, payload, camera, lender);
                   });
    decode_sources(where, header, "proprios", "proprio", limits.max_proprios, obs.proprios,
                   [&](const Where& proprio_at, const Value& fields, ProprioInfo& proprio) {
                       decode_proprio(proprio_at, fields, payload, proprio);
                   });
    if (const Value* extra = given(header, "extra")) {
        if (!extra->is_map()) fail(where, "extra", extra, "a map");
        decode_map(*extra, obs.extra, decode_extra_value);
        keep_encoded(*extra, obs.extra, extra_value_holds);
    } else {
        obs.extra.clear();
    }
}

}  // namespace

std::size_t payload_offset(Bytes message) noexcept {
    std::uint32_t length = 0;
    if (message.size() >= sizeof length) std::memcpy(&length, message.data(), sizeof length);
    return sizeof length + length;
}

void decode_request(Bytes message, Request& out, const Limits& limits) {
    const Frame frame = split(message, limits);
    const Value& header = parse_header(frame.header, limits);
    out.type = request_type(header);
    const Where where{to_string(out.type)};
    out.want.reset();
    if (out.type == RequestType::obs_request)
        if (const Value* want = given(header, "want")) out.want = decode_want(*want, limits);
    if (out.type == RequestType::apply_action || out.type == RequestType::action) {
        decode_action(where, header, frame.payload, out.action, limits);
    } else if (!frame.payload.empty()) {
        fail(where, "payload is " + std::to_string(frame.payload.size()) + " bytes, expected none");
    }
}

void decode_response(Bytes message, Response& out, const Limits& limits) {
    decode_response(message, out, out.result.obs, limits);
}

void decode_response(Bytes message, Response& out, Observation& obs, const Limits& limits, Loan* lender) {
    decode_response(Message{message}, out, obs, limits, lender);
}

void decode_response(const Message& message, Response& out, Observation& obs, const Limits& limits, Loan* lender) {
    const Frame frame = split(message.head, limits);
    const Value& header = parse_header(frame.header, limits);
    out.type = response_type(header);
    const Where where{to_string(out.type)};
    out.metadata.clear();
    out.result.info.clear();
    out.result.reward = 0.f;
    out.result.terminated = false;
    out.result.truncated = false;
    if (out.type == ResponseType::metadata_response) {
        decode_info(where, "data", require(where, header, "data", Value::Kind::map, "a map"), out.metadata);
        if (const std::size_t payload = message.size() - message.head.size() + frame.payload.size(); payload > 0)
            fail(where, "payload is " + std::to_string(payload) + " bytes, expected none");
        return;
    }
    decode_observation(where, header, Payload(frame.payload, message.pieces, limits.max_decoded_bytes), obs, limits, lender);
    if (out.type == ResponseType::obs_response) return;
    if (const Value* info = given(header, "info")) decode_info(where, "info", *info, out.result.info);
    if (out.type == ResponseType::step_response) {
        out.result.reward = static_cast<float>(require_number(where, header, "reward"));
        out.result.terminated = require_boolean(where, header, "terminated");
        out.result.truncated = require_boolean(where, header, "truncated");
    }
}

}  // namespace chiral::wire
