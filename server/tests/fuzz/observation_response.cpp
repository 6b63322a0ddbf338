// SPDX-License-Identifier: Apache-2.0
// Any bytes as an observation to the client, alone or with what reset and step add: refused with a text, or decoded to what
// our encoder writes and what decodes to the same again; whatever came before in the same memory.
#include <chiral/wire.hpp>
#include "frames.hpp"
#include "properties.hpp"
#include "wire/utf8.hpp"
#include "wire/values.hpp"

#include <algorithm>
#include <optional>

namespace chiral::fuzz {

namespace {

using wire::Response;
using wire::ResponseType;

template <class Matrix>
bool same_matrix(const Matrix& a, const Matrix& b) {
    return std::equal(a.data(), a.data() + a.size(), b.data(), [](double x, double y) { return same(x, y); });
}

template <class Source>
bool same_currency(const Source& a, const Source& b) {
    return same(a.timestamp, b.timestamp) && a.sequence == b.sequence && a.missed == b.missed && a.status == b.status;
}

bool same_bytes(const ByteBuffer& a, const ByteBuffer& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

bool same_camera(const CameraInfo& a, const CameraInfo& b) {
    return a.name == b.name && same_matrix(a.intrinsics, b.intrinsics) && same_matrix(a.extrinsics, b.extrinsics) &&
           same_currency(a, b) && same_bytes(a.image, b.image) && a.image_shape == b.image_shape &&
           a.image_dtype == b.image_dtype && a.has_depth == b.has_depth && same_bytes(a.depth_data, b.depth_data) &&
           a.depth_shape == b.depth_shape && a.depth_dtype == b.depth_dtype && a.depth_unit == b.depth_unit &&
           a.depth_sequence == b.depth_sequence && a.image_unchanged == b.image_unchanged &&
           a.depth_unchanged == b.depth_unchanged && a.image_encoding == b.image_encoding &&
           a.image_order == b.image_order && a.depth_encoding == b.depth_encoding;
}

// Whether a camera has what only an answer to a want can say.
bool wanted(const CameraInfo& camera) {
    return camera.depth_sequence != 0 || camera.image_unchanged || camera.depth_unchanged ||
           camera.image_encoding != ImageEncoding::raw || camera.image_order != ColourOrder::rgb ||
           camera.depth_encoding != DepthEncoding::raw;
}

bool same_proprio(const ProprioInfo& a, const ProprioInfo& b) {
    return a.name == b.name && same_elements(a.data, b.data) && same_currency(a, b);
}

bool same_extra(const ExtraMap::value_type& a, const ExtraMap::value_type& b) {
    const double* real = std::get_if<double>(&a.second);
    const double* other = std::get_if<double>(&b.second);
    return a.first == b.first && (real != nullptr && other != nullptr ? same(*real, *other) : a.second == b.second);
}

bool same_observation(const Observation& a, const Observation& b) {
    return same(a.timestamp, b.timestamp) && same(a.snapshot_time, b.snapshot_time) &&
           std::equal(a.cameras.begin(), a.cameras.end(), b.cameras.begin(), b.cameras.end(), same_camera) &&
           std::equal(a.proprios.begin(), a.proprios.end(), b.proprios.begin(), b.proprios.end(), same_proprio) &&
           std::equal(a.extra.begin(), a.extra.end(), b.extra.begin(), b.extra.end(), same_extra);
}

bool same_response(const Response& a, const Response& b) {
    return a.type == b.type && same_observation(a.result.obs, b.result.obs) && same(a.result.reward, b.result.reward) &&
           a.result.terminated == b.result.terminated && a.result.truncated == b.result.truncated &&
           a.result.info == b.result.info && a.metadata == b.metadata;
}

std::vector<std::uint8_t> encoded(const Response& response) {
    wire::ObservationEncoder encoder;
    switch (response.type) {
        case ResponseType::reset_response: encoder.encode_reset_response(response.result.obs, response.result.info); break;
        case ResponseType::step_response: encoder.encode_step_response(response.result); break;
        default: {
            const auto& cameras = response.result.obs.cameras;
            if (std::any_of(cameras.begin(), cameras.end(), wanted)) encoder.encode_wanted_response(response.result.obs);
            else encoder.encode_obs_response(response.result.obs);
        }
    }
    return test::joined(encoder);
}

Response good_response() {
    Response good;
    good.type = ResponseType::step_response;
    good.result.obs = test::sample_observation(1);
    good.result.reward = 0.5f;
    good.result.truncated = true;
    good.result.info = {{"key", "value"}};
    return good;
}

void require_sound(const Observation& obs, std::size_t payload_bytes, const wire::Limits& limits) {
    require(obs.cameras.size() <= limits.max_cameras && obs.proprios.size() <= limits.max_proprios,
            "sources are within the limit");
    std::size_t bytes = 0, decoded = 0;
    for (const CameraInfo& camera : obs.cameras) {
        const auto pixels = [](const std::vector<int>& shape, const std::string& dtype) {
            const std::optional<DType> type = parse_dtype(dtype);
            require(type.has_value() || shape.empty(), "pixels have a type");
            std::size_t size = shape.empty() ? 0 : size_of(*type);
            for (const int dimension : shape) size *= static_cast<std::size_t>(dimension);
            return size;
        };
        const std::size_t image = pixels(camera.image_shape, camera.image_dtype),
                          depth = pixels(camera.depth_shape, camera.depth_dtype);
        decoded += image + depth;
        require(camera.image.size() == image || camera.image_unchanged || camera.image_encoding > ImageEncoding::raw,
                "an image has what its shape says");
        require(camera.depth_data.size() == depth || camera.depth_unchanged || camera.depth_encoding > DepthEncoding::raw,
                "depth has what its shape says");
        require(camera.has_depth != camera.depth_shape.empty(), "depth has a shape");
        bytes += camera.image.size() + camera.depth_data.size();
    }
    for (const ProprioInfo& proprio : obs.proprios) bytes += proprio.data.size() * sizeof(float);
    require(bytes <= payload_bytes, "an observation is not larger than its payload");
    require(decoded <= payload_bytes + limits.max_decoded_bytes, "nor, when it is decoded, than is accepted");
}

// Text that is not is repaired when it is encoded.
bool all_utf8(const Response& response) {
    const auto good = [](const std::string& text) { return wire::is_utf8(text); };
    const Observation& obs = response.result.obs;
    return std::all_of(obs.cameras.begin(), obs.cameras.end(),
                       [&](const CameraInfo& camera) { return good(camera.name); }) &&
           std::all_of(obs.proprios.begin(), obs.proprios.end(),
                       [&](const ProprioInfo& proprio) { return good(proprio.name); }) &&
           std::all_of(obs.extra.begin(), obs.extra.end(),
                       [&](const auto& pair) {
                           const std::string* text = std::get_if<std::string>(&pair.second);
                           return good(pair.first) && (text == nullptr || good(*text));
                       }) &&
           std::all_of(response.result.info.begin(), response.result.info.end(),
                       [&](const auto& pair) { return good(pair.first) && good(pair.second); });
}

// Values of `extra` that are no plain numbers or texts, and info, are built in new memory.
bool decodes_in_place(Bytes message, const Response& response) {
    if (response.type != ResponseType::obs_response) return false;
    const wire::Value* extra = wire::parse_header(header_of(message), {}).find("extra");
    if (extra == nullptr || !extra->is_map()) return true;
    bool in_place = true;
    extra->for_each_pair([&](const wire::Value& key, const wire::Value& value) {
        using Kind = wire::Value::Kind;
        const bool plain = value.kind == Kind::boolean || value.kind == Kind::real || value.kind == Kind::text ||
                           value.kind == Kind::negative_integer ||
                           (value.kind == Kind::unsigned_integer && value.unsigned_integer < 1u << 31);
        in_place = in_place && plain && key.is_text();
    });
    return in_place;
}

}  // namespace

void observation_response(Bytes bytes) {
    static Response reused;  // holds what the inputs before have left
    static Observation reused_obs;
    Response fresh;
    std::string refusal;
    const auto decode = [&](auto&&... out) {
        refusal.clear();
        try {
            wire::decode_response(bytes, out...);
        } catch (const wire::DecodeError& error) {
            refusal = error.what();
        }
    };
    require_bounded(test::count_allocations([&] { decode(fresh); }), bytes.size(), bytes.size());
    const std::string refusal_of_fresh = refusal;
    decode(reused, reused_obs);
    require(refusal == refusal_of_fresh, "memory that is used again changes no verdict", refusal + " / " + refusal_of_fresh);
    require(reused.result.obs.cameras.empty() && reused.result.obs.proprios.empty() && reused.result.obs.extra.empty(),
            "the observation goes where it is asked for");
    const auto require_reused_is = [&](const Response& expected, const char* promise) {
        std::swap(reused.result.obs, reused_obs);
        const bool equal = same_response(reused, expected);
        std::swap(reused.result.obs, reused_obs);
        require(equal, promise);
    };
    if (!refusal.empty()) {
        require_presentable(refusal);
        static const Response good = good_response();
        static const std::vector<std::uint8_t> good_message = encoded(good);
        wire::decode_response(good_message, reused, reused_obs);
        require_reused_is(good, "a good message decodes well behind a refused one");
        return;
    }
    if (fresh.type == ResponseType::metadata_response) return;  // for metadata_response
    require_reused_is(fresh, "memory that is used again changes no value");
    require_sound(fresh.result.obs, bytes.size() - 4 - header_of(bytes).size(), {});
    if (decodes_in_place(bytes, fresh))
        require(test::count_allocations([&] { wire::decode_response(bytes, reused, reused_obs); }).allocations == 0,
                "the same observation again allocates nothing");
    Response again;
    wire::decode_response(encoded(fresh), again);
    require(!all_utf8(fresh) || same_response(again, fresh), "an observation is the same again");
    Response third;
    wire::decode_response(encoded(again), third);
    require(same_response(third, again), "an observation whose text was repaired is the same again");
}

}  // namespace chiral::fuzz
