// SPDX-License-Identifier: Apache-2.0
#include "client/requests.hpp"

#include <chrono>
#include <string>
#include <utility>

namespace chiral::client {

namespace {

using Encode = std::function<void(std::vector<std::uint8_t>&)>;
using Use = std::function<void(wire::Response&)>;

Encode plain(wire::RequestType type) {
    return [type](std::vector<std::uint8_t>& message) { wire::encode_request(type, message); };
}

// Observations that lie in the server's memory: the one that is filled again gives back what it held.
void make_room(Connection::Exchange& exchange, Observation& obs) {
    if (!exchange.loans_left()) return;
    for (CameraInfo& camera : obs.cameras) {
        camera.image.clear();
        camera.depth_data.clear();
    }
    if (*exchange.loans_left() == 0)
        throw LoanError(
            "as many observations are held as the server lends at once, expected one to be given back before another"
            " is asked for: let go of it, or copy what is to be kept");
}

/// Decodes the observation into `obs` where that is given.
void ask(Connection& on, wire::RequestType type, const Encode& encode, wire::ResponseType expected, Observation* obs,
         const Use& use) {
    Connection::Exchange exchange(on);
    if (obs != nullptr) make_room(exchange, *obs);
    encode(exchange.message());
    const wire::Message answer = exchange.perform(type, expected);
    wire::Response& response = exchange.response();
    try {
        wire::decode_response(answer, response, obs != nullptr ? *obs : response.result.obs, {}, &exchange.memory());
    } catch (const wire::DecodeError& error) {
        on.fail(close_code::bad_payload, std::string("the answer to ") + to_string(type) + " is malformed: " + error.what());
    }
    if (response.type != expected)
        on.fail(close_code::protocol_error, std::string("the server answered ") + to_string(type) + " with " +
                                                to_string(response.type) + ", expected " + to_string(expected));
    use(response);
}

void observe(Connection& on, wire::RequestType type, const Encode& encode, wire::ResponseType expected, Observation& obs,
             const Use& use) {
    TimePoint sent;
    ask(
        on, type,
        [&](std::vector<std::uint8_t>& message) {
            encode(message);
            sent = Clock::now();
        },
        expected, &obs,
        [&](wire::Response& response) {
            on.observed(std::chrono::duration<double>(Clock::now() - sent).count());
            use(response);
        });
}

}  // namespace

InfoMap ask_metadata(Connection& on) {
    InfoMap metadata;
    ask(on, wire::RequestType::metadata, plain(wire::RequestType::metadata), wire::ResponseType::metadata_response, nullptr,
        [&](wire::Response& response) { metadata = std::move(response.metadata); });
    return metadata;
}

void ask_observation(Connection& on, Observation& obs) {
    observe(on, wire::RequestType::obs_request, plain(wire::RequestType::obs_request), wire::ResponseType::obs_response, obs,
            [](wire::Response&) {});
}

void ask_wanted(Connection& on, const wire::WantRequest& want, Observation& obs, const std::function<void()>& unpack) {
    observe(
        on, wire::RequestType::obs_request,
        [&](std::vector<std::uint8_t>& message) { wire::encode_obs_request(want, message); },
        wire::ResponseType::obs_response, obs,
        [&](wire::Response&) {
            try {
                unpack();
            } catch (const wire::DecodeError& error) {
                on.fail(close_code::bad_payload, std::string("the answer to a want is malformed: ") + error.what());
            }
        });
}

void ask_reset(Connection& on, Observation& obs, InfoMap& info) {
    observe(on, wire::RequestType::reset, plain(wire::RequestType::reset), wire::ResponseType::reset_response, obs,
            [&](wire::Response& response) { info = std::move(response.result.info); });
}

void ask_step(Connection& on, const Encode& encode, StepResult& result) {
    observe(on, wire::RequestType::action, encode, wire::ResponseType::step_response, result.obs,
            [&](wire::Response& response) {
                result.reward = response.result.reward;
                result.terminated = response.result.terminated;
                result.truncated = response.result.truncated;
                result.info = std::move(response.result.info);
            });
}

}  // namespace chiral::client
