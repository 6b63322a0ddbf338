// SPDX-License-Identifier: Apache-2.0
// Any bytes as a request to the server: refused with a text, or decoded to what our encoder writes and what decodes to the
// same again; whatever came before in the same memory.
#include <chiral/wire.hpp>
#include "properties.hpp"
#include "wire/utf8.hpp"
#include "wire/values.hpp"

#include <algorithm>

#include <cmath>
#include <string>
#include <vector>

namespace chiral::fuzz {

namespace {

using wire::Request;
using wire::RequestType;

bool is_action(RequestType type) { return type == RequestType::apply_action || type == RequestType::action; }

bool same_request(const Request& a, const Request& b) {
    if (a.type != b.type || (a.want == nullptr) != (b.want == nullptr)) return false;
    if (a.want && (a.want->want != b.want->want || a.want->have != b.want->have)) return false;
    if (!is_action(a.type)) return true;
    const auto same_time = [](const auto& x, const auto& y) { return x.first == y.first && same(x.second, y.second); };
    return a.action.N == b.action.N && a.action.D == b.action.D && same_elements(a.action.data, b.action.data) &&
           std::equal(a.action.obs_timestamps.begin(), a.action.obs_timestamps.end(), b.action.obs_timestamps.begin(),
                      b.action.obs_timestamps.end(), same_time);
}

bool has_utf8_names(const wire::WantRequest& want) {
    const auto good = [](const auto& named) { return wire::is_utf8(named.first); };
    const std::vector<std::string> proprios = want.want.proprios.value_or(std::vector<std::string>());
    return std::all_of(want.want.cameras.begin(), want.want.cameras.end(), good) &&
           std::all_of(want.have.begin(), want.have.end(), good) &&
           std::all_of(proprios.begin(), proprios.end(), [](const std::string& name) { return wire::is_utf8(name); });
}

const std::vector<std::uint8_t>& good_message() {
    static const auto message = [] {
        Action action;
        action.N = 2;
        action.D = 3;
        action.data = {1, 2, 3, 4, 5, 6};
        action.obs_timestamps = {{"wrist", 12.25}, {"a camera with a long name", 12.5}};
        std::vector<std::uint8_t> bytes;
        wire::encode_apply_action(action, false, bytes);
        return bytes;
    }();
    return message;
}

void require_action_sound(const Action& action, const wire::Limits& limits) {
    require(action.N > 0 && action.D > 0, "an action has positive sizes");
    const auto elements = static_cast<std::size_t>(action.N) * static_cast<std::size_t>(action.D);
    require(action.data.size() == elements && elements <= limits.max_action_elements, "an action has what its shape says");
    for (const float value : action.data) require(std::isfinite(value), "an action is finite");
    require(action.obs_timestamps.size() <= limits.max_cameras, "observation times are within the limit");
    for (const auto& [camera, seconds] : action.obs_timestamps)
        require(std::isfinite(seconds), "an observation time is finite");
}

void require_same_when_encoded(const Request& decoded) {
    std::vector<std::uint8_t> message;
    const auto require_same = [&](const char* promise) {
        Request again;
        wire::decode_request(message, again);
        require(same_request(again, decoded), promise);
    };
    switch (decoded.type) {
        case RequestType::apply_action:
            wire::encode_apply_action(decoded.action, true, message);
            require_same("an action in one dimension is the same again");
            wire::encode_apply_action(decoded.action, false, message);
            require_same("an action in two dimensions is the same again");
            break;
        case RequestType::action:
            wire::encode_legacy_action(decoded.action, message);
            require_same("a legacy action is the same again");
            break;
        default:
            if (!decoded.want) wire::encode_request(decoded.type, message);
            else {
                wire::WantRequest want = *decoded.want;
                if (!want.want.only_if_newer) want.have.clear();  // says nothing then, and is not sent
                if (!want.want.budget) want.took = 0;
                wire::encode_obs_request(want, message);
                Request again;
                wire::decode_request(message, again);
                // Names that are not UTF-8 are repaired.
                require(again.want &&
                            (!has_utf8_names(want) || (again.want->want == want.want && again.want->have == want.have &&
                                                       same(again.want->took, want.took))),
                        "a want is the same again");
                break;
            }
            require_same("a request is the same again");
    }
}

// JSON is made of keys that are not text, in new memory.
bool has_text_keys_only(Bytes message) {
    const wire::Value* times = wire::parse_header(header_of(message), {}).find("obs_timestamps");
    bool only = true;
    if (times != nullptr && times->is_map())
        times->for_each_pair([&](const wire::Value& key, const wire::Value&) { only = only && key.is_text(); });
    return only;
}

}  // namespace

void request(Bytes bytes) {
    static Request reused;  // holds what the inputs before have left
    Request fresh;
    std::string refusal;
    const auto decode = [&](Request& out) {
        refusal.clear();
        try {
            wire::decode_request(bytes, out);
        } catch (const wire::DecodeError& error) {
            refusal = error.what();
        }
    };
    require_bounded(test::count_allocations([&] { decode(fresh); }), bytes.size(), bytes.size());
    const std::string refusal_of_fresh = refusal;
    decode(reused);
    require(refusal == refusal_of_fresh, "memory that is used again changes no verdict", refusal + " / " + refusal_of_fresh);
    if (!refusal.empty()) {
        require_presentable(refusal);
        Request expected;
        wire::decode_request(good_message(), expected);
        wire::decode_request(good_message(), reused);
        require(same_request(reused, expected), "a good message decodes well behind a refused one");
        return;
    }
    require(same_request(reused, fresh), "memory that is used again changes no value");
    if (is_action(fresh.type)) require_action_sound(fresh.action, {});
    if (has_text_keys_only(bytes) && !fresh.want)
        require(test::count_allocations([&] { wire::decode_request(bytes, reused); }).allocations == 0,
                "the same request again allocates nothing");
    const auto& times = fresh.action.obs_timestamps;  // whose names are repaired where they are not UTF-8
    if (std::all_of(times.begin(), times.end(), [](const auto& pair) { return wire::is_utf8(pair.first); }))
        require_same_when_encoded(fresh);
}

}  // namespace chiral::fuzz
