// SPDX-License-Identifier: Apache-2.0
// Encodes what a client sends.
#include <chiral/wire.hpp>
#include "wire/pixels.hpp"
#include "wire/writer.hpp"

#include <cmath>

namespace chiral::wire {

namespace {

// What is sent is within the limits of our own decoder: the sender is told, not the receiver.
constexpr Limits limits{};

[[noreturn]] void refuse(RequestType type, const std::string& problem) {
    throw std::invalid_argument(to_string(type) + (": " + problem));
}

void encode_action(RequestType type, const Action& action, bool one_dimensional, std::vector<std::uint8_t>& out) {
    check_action(type, action);
    Writer writer = begin_frame(out);
    writer.map(4);
    writer.text("type");
    writer.text(to_string(type));
    writer.text("shape");
    const bool flat = one_dimensional && action.N == 1;
    writer.array(flat ? 1 : 2);
    if (!flat) writer.count(static_cast<std::uint64_t>(action.N));
    writer.count(static_cast<std::uint64_t>(action.D));
    writer.text("dtype");
    writer.text("float32");
    writer.text("obs_timestamps");
    writer.map(action.obs_timestamps.size());
    for (const auto& [camera, seconds] : action.obs_timestamps) {
        writer.text(camera);
        writer.float64(seconds);
    }
    end_header(out, writer.position(), to_string(type), "obs_timestamps", limits);
    const Bytes payload = bytes_of(action.data);
    writer.raw(payload.data(), payload.size());
}

}  // namespace

void encode_request(RequestType type, std::vector<std::uint8_t>& out) {
    if (type == RequestType::apply_action || type == RequestType::action)
        refuse(type, "an action is encoded by encode_apply_action or encode_legacy_action");
    Writer writer = begin_frame(out);
    writer.map(1);
    writer.text("type");
    writer.text(to_string(type));
    end_header(out, writer.position(), to_string(type), "type", limits);
}

void check_action(RequestType type, const Action& action) {
    const auto shape = [&] { return shape_text({action.N, action.D}); };
    if (action.N <= 0 || action.D <= 0) refuse(type, "shape is " + shape() + ", expected positive sizes");
    const std::size_t expected = static_cast<std::size_t>(action.N) * static_cast<std::size_t>(action.D);
    if (action.data.size() != expected)
        refuse(type, "action has " + std::to_string(action.data.size()) + " elements, shape " + shape() + " needs " +
                         std::to_string(expected));
    for (std::size_t i = 0; i < expected; ++i)
        if (!std::isfinite(action.data[i]))
            refuse(type,
                   "element " + std::to_string(i) + " is " + std::to_string(action.data[i]) + ", expected a finite number");
    for (const auto& [camera, seconds] : action.obs_timestamps)
        if (!std::isfinite(seconds))
            refuse(type, "obs_timestamps of '" + camera + "' is " + std::to_string(seconds) + ", expected a finite number");
}

void encode_apply_action(const Action& action, bool one_dimensional, std::vector<std::uint8_t>& out) {
    encode_action(RequestType::apply_action, action, one_dimensional, out);
}

void encode_legacy_action(const Action& action, std::vector<std::uint8_t>& out) {
    encode_action(RequestType::action, action, false, out);
}

}  // namespace chiral::wire
