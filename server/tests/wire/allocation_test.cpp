// SPDX-License-Identifier: Apache-2.0
// The codec allocates nothing in steady state, and what a hostile message makes it allocate is bounded by its length.
#include "counted_allocations.hpp"
#include "frames.hpp"

#include <cstdlib>
#include <new>

namespace chiral::test {
namespace {

TEST(Allocations, AreCounted) {
    void* volatile memory = nullptr;  // volatile: the compiler may leave out an allocation that it sees unused
    EXPECT_EQ(count_allocations([&] { memory = ::operator new(7); }).bytes, 7u);
    ::operator delete(memory);
    EXPECT_EQ(count_allocations([&] { memory = ::operator new (64, std::align_val_t{64}); }).bytes, 64u);
    ::operator delete (memory, std::align_val_t{64});
    EXPECT_EQ(count_allocations([&] { memory = std::malloc(3); }).bytes, 3u);
    EXPECT_EQ(count_allocations([&] { memory = std::realloc(memory, 5000); }).bytes, 5000u);
    std::free(memory);
}

TEST(Allocations, NoneToPatchAnObservation) {
    for (int kind = 0; kind < 3; ++kind) {
        wire::ObservationEncoder encoder;
        std::vector<StepResult> steps(4);
        for (std::size_t i = 0; i < steps.size(); ++i) {
            steps[i].obs = sample_observation(static_cast<int>(i));
            steps[i].info["seed"] = std::to_string(i);
        }
        const auto encode = [&](const StepResult& step) {
            if (kind == 0) encoder.encode_obs_response(step.obs);
            if (kind == 1) encoder.encode_reset_response(step.obs, step.info);
            if (kind == 2) encoder.encode_step_response(step);
        };
        encode(steps[0]);
        for (const StepResult& step : steps)
            EXPECT_EQ(count_allocations([&] { encode(step); }).allocations, 0u) << "kind " << kind;
        EXPECT_EQ(encoder.rebuilds(), 1u);
    }
}

TEST(Allocations, NoneToDecodeAnAction) {
    Action action;
    action.N = 16;
    action.D = 7;
    action.data.assign(16 * 7, 0.5f);
    action.obs_timestamps = {{"wrist_cam_with_a_long_name", 12.25}, {"another_camera_with_a_long_name", 13.0}};
    ByteVector message;
    wire::encode_apply_action(action, false, message);
    EXPECT_EQ(count_allocations([&] { wire::encode_apply_action(action, false, message); }).allocations, 0u);
    wire::Request request;
    wire::decode_request(message, request);
    for (int i = 0; i < 3; ++i)
        EXPECT_EQ(count_allocations([&] { wire::decode_request(message, request); }).allocations, 0u);
    EXPECT_EQ(request.action.data, action.data);
    EXPECT_EQ(request.action.obs_timestamps, action.obs_timestamps);
}

TEST(Allocations, NoneToDecodeAnActionOfTheOriginalClient) {
    wire::Request request;
    for (const char* name : {"client_apply_action_1d", "client_action_legacy"}) {
        const ByteVector message = golden_frame(name);
        wire::decode_request(message, request);
        EXPECT_EQ(count_allocations([&] { wire::decode_request(message, request); }).allocations, 0u) << name;
    }
}

TEST(Allocations, NoneToDecodeAnObservationOfTheSameLayout) {
    wire::ObservationEncoder encoder;
    std::vector<Observation> sent;
    std::vector<ByteVector> messages;
    for (int seed = 0; seed < 4; ++seed) {
        sent.push_back(sample_observation(seed));
        encoder.encode_obs_response(sent.back());
        messages.push_back(joined(encoder));
    }
    wire::Response response;
    wire::decode_response(messages.back(), response);
    for (std::size_t i = 0; i < messages.size(); ++i) {
        EXPECT_EQ(count_allocations([&] { wire::decode_response(messages[i], response); }).allocations, 0u) << i;
        expect_equal(response.result.obs, sent[i]);
    }
}

// What a message makes either decoder allocate, as often as it is sent.
std::size_t bytes_for(const ByteVector& message) {
    return count_allocations([&] {
               wire::Request request;
               wire::Response response;
               try {
                   wire::decode_request(message, request);
               } catch (const wire::DecodeError&) {}
               try {
                   wire::decode_response(message, response);
               } catch (const wire::DecodeError&) {}
           })
        .bytes;
}

TEST(Allocations, OfAHostileMessageAreBoundedByItsLength) {
    constexpr std::size_t small = 16 << 10;
    EXPECT_LT(bytes_for(raw_frame({0xdd, 0xff, 0xff, 0xff, 0xff})), small) << "array of 2^32";
    EXPECT_LT(bytes_for(raw_frame({0x81, 0xa1, 'x', 0xdf, 0xff, 0xff, 0xff, 0xff})), small) << "map of 2^32";
    EXPECT_LT(bytes_for(raw_frame({0x81, 0xdb, 0xff, 0xff, 0xff, 0xff})), small) << "string of 4 GiB";
    EXPECT_LT(bytes_for({0xff, 0xff, 0xff, 0xff, 0x80}), small) << "header of 4 GiB";
    EXPECT_LT(bytes_for(frame({{"type", "apply_action"}, {"shape", {1024, 1024}}, {"dtype", "float32"}})), small);

    // 256 cameras that all show the same megabyte.
    constexpr std::size_t megabyte = 1 << 20;
    Json cameras = Json::array();
    for (int i = 0; i < 256; ++i)
        cameras.push_back({{"name", "c"},
                           {"timestamp", 0},
                           {"intrinsics", std::vector<int>(9)},
                           {"extrinsics", std::vector<int>(16)},
                           {"image_shape", {1024, 1024, 1}},
                           {"image_dtype", "uint8"},
                           {"image_offset", 0},
                           {"image_size", megabyte}});
    const Json header = {{"type", "obs_response"}, {"timestamp", 0}, {"cameras", cameras}, {"proprios", Json::array()}};
    EXPECT_LT(bytes_for(frame(header, ByteVector(megabyte))), 4 * megabyte);

    // A header of the longest kind that is full of the smallest values.
    ByteVector nils(wire::Limits{}.max_header_bytes, 0xc0);
    nils[0] = 0xdc;
    nils[1] = 0x10;
    nils[2] = 0x00;
    EXPECT_LT(bytes_for(raw_frame(nils)), 4 * megabyte);
}

}  // namespace
}  // namespace chiral::test
