// SPDX-License-Identifier: Apache-2.0
// What is encoded decodes to the same values, and headers are what another MessagePack library reads in them.
#include "frames.hpp"

#include <cmath>
#include <limits>

namespace chiral::test {
namespace {

Json header_of(const ByteVector& message) {
    const std::size_t length = message[0] | message[1] << 8 | message[2] << 16 | message[3] << 24;
    return Json::from_msgpack(message.begin() + 4, message.begin() + 4 + static_cast<std::ptrdiff_t>(length));
}

Action sample_action(int n, int d) {
    Action action;
    action.N = n;
    action.D = d;
    for (int i = 0; i < n * d; ++i) action.data.push_back(static_cast<float>(i) * 0.3f - 1.f);
    action.obs_timestamps = {{"wrist_cam_with_a_long_name", 12.25}, {"head", 13.0}};
    return action;
}

TEST(RoundTrip, RequestsWithoutAction) {
    ByteVector message;
    for (const auto type : {wire::RequestType::metadata, wire::RequestType::reset, wire::RequestType::obs_request}) {
        wire::encode_request(type, message);
        wire::Request request;
        wire::decode_request(message, request);
        EXPECT_EQ(request.type, type);
        EXPECT_EQ(header_of(message), (Json{{"type", wire::to_string(type)}}));
    }
}

TEST(RoundTrip, RequestsAreByteForByteThoseOfTheOriginal) {
    ByteVector message;
    wire::encode_request(wire::RequestType::metadata, message);
    EXPECT_EQ(message, golden_frame("client_metadata"));
    wire::encode_request(wire::RequestType::reset, message);
    EXPECT_EQ(message, golden_frame("client_reset"));
    wire::encode_request(wire::RequestType::obs_request, message);
    EXPECT_EQ(message, golden_frame("client_obs_request"));

    for (const char* name : {"client_apply_action_2d", "client_action_legacy"}) {
        wire::Request request;
        wire::decode_request(golden_frame(name), request);
        if (request.type == wire::RequestType::action) {
            wire::encode_legacy_action(request.action, message);
        } else {
            wire::encode_apply_action(request.action, false, message);
        }
        EXPECT_EQ(message, golden_frame(name)) << name;
    }
}

TEST(RoundTrip, ActionsOfBothDimensions) {
    ByteVector message;
    wire::Request request;
    const Action actions[] = {sample_action(1, 7), sample_action(16, 32), sample_action(1, 1), sample_action(300, 1)};
    for (const Action& action : actions) {
        for (const bool one_dimensional : {false, true}) {
            wire::encode_apply_action(action, one_dimensional, message);
            wire::decode_request(message, request);
            EXPECT_EQ(request.type, wire::RequestType::apply_action);
            expect_equal(request.action, action);
            const Json expected = one_dimensional && action.N == 1 ? Json{action.D} : Json{action.N, action.D};
            EXPECT_EQ(header_of(message).at("shape"), expected);
        }
        wire::encode_legacy_action(action, message);
        wire::decode_request(message, request);
        EXPECT_EQ(request.type, wire::RequestType::action);
        expect_equal(request.action, action);
    }
}

TEST(RoundTrip, ActionDecodedIntoAUsedRequestKeepsNothingOfTheOldOne) {
    ByteVector message;
    wire::Request request;
    wire::encode_apply_action(sample_action(4, 4), false, message);
    wire::decode_request(message, request);
    request.action.received_at = 99.0;

    Action next = sample_action(1, 3);
    next.obs_timestamps = {{"head", 14.0}, {"left", 15.0}};
    wire::encode_apply_action(next, true, message);
    wire::decode_request(message, request);
    expect_equal(request.action, next);
    EXPECT_EQ(request.action.received_at, 0.0);

    next.obs_timestamps.clear();
    wire::encode_apply_action(next, true, message);
    wire::decode_request(message, request);
    expect_equal(request.action, next);
}

TEST(RoundTrip, EncodersRefuseActionsThatTheServerWould) {
    ByteVector message;
    const auto refused = [&](Action action, const std::string& part) {
        expect_throw<std::invalid_argument>([&] { wire::encode_apply_action(action, true, message); }, part);
        expect_throw<std::invalid_argument>([&] { wire::encode_legacy_action(action, message); }, part);
    };
    Action action = sample_action(1, 7);
    action.data.pop_back();
    refused(action, "action has 6 elements, shape [1, 7] needs 7");
    action = sample_action(1, 7);
    action.N = 0;
    refused(action, "shape is [0, 7], expected positive sizes");
    action = sample_action(1, 7);
    action.data[3] = std::numeric_limits<float>::quiet_NaN();
    refused(action, "element 3 is nan");
    action = sample_action(1, 7);
    action.obs_timestamps["head"] = std::numeric_limits<double>::infinity();
    refused(action, "obs_timestamps of 'head' is inf");
    expect_throw<std::invalid_argument>([&] { wire::encode_request(wire::RequestType::action, message); }, "action: ");
}

TEST(RoundTrip, ObservationInEveryAnswer) {
    wire::ObservationEncoder encoder;
    wire::Response response;
    const Observation obs = sample_observation(7);

    encoder.encode_obs_response(obs);
    wire::decode_response(joined(encoder), response);
    EXPECT_EQ(response.type, wire::ResponseType::obs_response);
    expect_equal(response.result.obs, obs);

    const InfoMap info{{"episode", "3"}, {"a key that is longer than fifteen", std::string(70000, 'x')}, {"", ""}};
    encoder.encode_reset_response(obs, info);
    wire::decode_response(joined(encoder), response);
    EXPECT_EQ(response.type, wire::ResponseType::reset_response);
    expect_equal(response.result.obs, obs);
    EXPECT_EQ(response.result.info, info);

    StepResult step;
    step.obs = obs;
    step.reward = 0.1f;
    step.truncated = true;
    step.info = info;
    encoder.encode_step_response(step);
    wire::decode_response(joined(encoder), response);
    EXPECT_EQ(response.type, wire::ResponseType::step_response);
    expect_equal(response.result.obs, obs);
    EXPECT_EQ(response.result.info, info);
    EXPECT_EQ(response.result.reward, step.reward);
    EXPECT_FALSE(response.result.terminated);
    EXPECT_TRUE(response.result.truncated);
}

TEST(RoundTrip, ObservationBorrowsWhatLiesWhereItMay) {
    struct Lender final : Loan {
        void add_ref() noexcept override { ++references; }
        void drop_ref() noexcept override { --references; }
        int references{0};
    };
    wire::ObservationEncoder encoder;
    const Observation sent = sample_observation(2);
    encoder.encode_obs_response(sent);
    const std::vector<std::uint8_t> message = joined(encoder);
    int depths_borrowed = 0, depths = 0;
    for (std::size_t offset = 0; offset < alignof(float); ++offset) {
        std::vector<std::uint8_t> memory(message.size() + offset);
        std::copy(message.begin(), message.end(), memory.begin() + static_cast<std::ptrdiff_t>(offset));
        Lender lender;
        wire::Response response;
        Observation obs;
        wire::decode_response(wire::Bytes(memory).subspan(offset), response, obs, {}, &lender);
        expect_equal(obs, sent);
        int borrowed = 0;
        for (const CameraInfo& camera : obs.cameras) {
            EXPECT_EQ(camera.image.borrowed(), !camera.image.empty());
            borrowed += camera.image.borrowed() + camera.depth_data.borrowed();
            depths += !camera.depth_data.empty();
            depths_borrowed += camera.depth_data.borrowed();
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(camera.depth_data.data()) % alignof(float), 0u);
        }
        EXPECT_EQ(lender.references, borrowed);
        wire::decode_response(message, response, obs);  // without a lender
        EXPECT_EQ(lender.references, 0);
    }
    EXPECT_EQ(depths_borrowed * 4, depths) << "one place in four is right for a depth";
}

TEST(RoundTrip, ObservationInPiecesIsWhatItIsInOne) {
    wire::ObservationEncoder encoder;
    const Observation sent = sample_observation(2);
    encoder.encode_obs_response(sent);
    wire::Response response;
    Observation obs;
    wire::decode_response(wire::Message{encoder.head(), encoder.payload()}, response, obs);
    expect_equal(obs, sent);

    // The same with some of the payload behind the header, and empty pieces between the others.
    const ByteVector message = joined(encoder);
    const std::size_t first = encoder.head().size() + encoder.payload().front().size();
    std::vector<wire::Bytes> pieces;
    for (const wire::Bytes& piece : encoder.payload().subspan(1)) pieces.insert(pieces.end(), {wire::Bytes(), piece});
    Observation again;
    wire::decode_response(wire::Message{wire::Bytes(message).first(first), pieces}, response, again);
    expect_equal(again, sent);
}

TEST(RoundTrip, PiecesThatCutABufferInTwoAreRefused) {
    wire::ObservationEncoder encoder;
    const Observation sent = sample_observation(2);
    encoder.encode_obs_response(sent);
    const ByteVector message = joined(encoder);
    const wire::Bytes payload = wire::Bytes(message).subspan(encoder.head().size());
    const wire::Bytes pieces[] = {payload.first(1), payload.subspan(1)};
    wire::Response response;
    Observation obs;
    expect_throw<wire::DecodeError>(
        [&] {
            wire::decode_response(wire::Message{encoder.head(), pieces}, response, obs);
        },
        "is cut in two");
    const wire::Bytes too_few[] = {payload.first(payload.size() - 1)};
    expect_throw<wire::DecodeError>(
        [&] {
            wire::decode_response(wire::Message{encoder.head(), too_few}, response, obs);
        },
        "lies outside the payload");
}

TEST(RoundTrip, ObservationGoesToTheGivenPlace) {
    wire::ObservationEncoder encoder;
    const Observation sent = sample_observation(2);
    encoder.encode_obs_response(sent);
    wire::Response response;
    response.result.obs.timestamp = 77.0;
    Observation obs;
    wire::decode_response(joined(encoder), response, obs);
    expect_equal(obs, sent);
    EXPECT_EQ(response.result.obs.timestamp, 77.0);
    EXPECT_TRUE(response.result.obs.cameras.empty());
}

TEST(RoundTrip, MoreSourcesThanFitAShortArray) {
    Observation obs;
    for (int i = 0; i < 40; ++i) {
        obs.cameras.push_back(sample_camera("cam" + std::to_string(i), 2, 3, 3, i % 2 == 0, i));
        obs.proprios.push_back(sample_proprio("stream" + std::to_string(i), static_cast<std::size_t>(i), i));
        obs.extra["key" + std::to_string(i)] = std::int64_t{i};
    }
    wire::ObservationEncoder encoder;
    encoder.encode_obs_response(obs);
    wire::Response response;
    wire::decode_response(joined(encoder), response);
    expect_equal(response.result.obs, obs);
}

TEST(RoundTrip, ExtraKeepsEveryTypeAndLimit) {
    Observation obs;
    obs.extra = {{"true", true},
                 {"false", false},
                 {"text", std::string(40, 't')},
                 {"empty", std::string()},
                 {"whole", 3.0},
                 {"tiny", std::numeric_limits<double>::denorm_min()},
                 {"infinite", -std::numeric_limits<double>::infinity()}};
    for (const std::int64_t integer :
         {std::int64_t{0}, std::int64_t{127}, std::int64_t{128}, std::int64_t{255}, std::int64_t{256}, std::int64_t{65535},
          std::int64_t{65536}, std::int64_t{0xffffffff}, std::int64_t{0x100000000}, std::numeric_limits<std::int64_t>::max(),
          std::int64_t{-1}, std::int64_t{-32}, std::int64_t{-33}, std::int64_t{-128}, std::int64_t{-40000},
          std::numeric_limits<std::int64_t>::min()})
        obs.extra["integer " + std::to_string(integer)] = integer;
    wire::ObservationEncoder encoder;
    encoder.encode_obs_response(obs);
    wire::Response response;
    wire::decode_response(joined(encoder), response);
    EXPECT_EQ(response.result.obs.extra, obs.extra);
    const Json extra = header_of(joined(encoder)).at("extra");
    for (const auto& [key, value] : obs.extra)
        if (const auto* integer = std::get_if<std::int64_t>(&value)) {
            EXPECT_EQ(extra.at(key), *integer) << key;
        }
    EXPECT_TRUE(extra.at("whole").is_number_float());
}

TEST(RoundTrip, HeadersSayWhatTheProtocolSays) {
    wire::ObservationEncoder encoder;
    const Observation obs = sample_observation(1);
    encoder.encode_obs_response(obs);
    const Json header = header_of(joined(encoder));
    EXPECT_EQ(header.at("type"), "obs_response");
    EXPECT_EQ(header.size(), 6u);
    const Json& wrist = header.at("cameras")[0];
    EXPECT_EQ(wrist.at("name"), "wrist_cam_with_a_long_name");
    EXPECT_EQ(wrist.at("intrinsics")[1], obs.cameras[0].intrinsics(0, 1)) << "row-major";
    EXPECT_EQ(wrist.at("extrinsics")[3], obs.cameras[0].extrinsics(0, 3)) << "row-major";
    EXPECT_EQ(wrist.at("image_shape"), (Json{4, 6, 3}));
    EXPECT_EQ(wrist.at("image_dtype"), "uint8");
    EXPECT_EQ(wrist.at("image_offset"), 0);
    EXPECT_EQ(wrist.at("image_size"), 72);
    EXPECT_EQ(wrist.at("depth_shape"), (Json{4, 6}));
    EXPECT_EQ(wrist.at("depth_dtype"), "float32");
    EXPECT_EQ(wrist.at("depth_offset"), 72);
    EXPECT_EQ(wrist.at("depth_size"), 96);
    EXPECT_EQ(wrist.at("status"), 1);
    const Json& head = header.at("cameras")[1];
    EXPECT_EQ(head.at("image_offset"), 168);
    EXPECT_FALSE(head.contains("depth_shape"));
    const Json& gripper = header.at("proprios")[1];
    EXPECT_EQ(gripper.at("dtype"), "float32");
    EXPECT_EQ(gripper.at("offset"), 168 + 15 + 28);
    EXPECT_EQ(gripper.at("size"), 4);
}

TEST(RoundTrip, Metadata) {
    ByteVector message;
    const InfoMap metadata{{"robot", "arm \"7\""}, {"control_hz", "20"}, {"bytes", std::string("\0\xc3\xbf", 3)}};
    wire::encode_metadata_response(metadata, message);
    wire::Response response;
    wire::decode_response(message, response);
    EXPECT_EQ(response.type, wire::ResponseType::metadata_response);
    EXPECT_EQ(response.metadata, metadata);
}

TEST(Encoded, ValuesThatNoCppMapHoldsAreSentAndReceivedAsTheyAre) {
    const Json info = {
        {"gains", {1.0, 2.5, -3}}, {"nested", {{"deep", nullptr}}}, {"blob", Json::binary({0, 255})}, {"n", 7}};
    InfoMap metadata{{"plain", "text"}, {"n", "is encoded already"}};
    metadata.encoded = Json::to_msgpack(info);
    ByteVector message;
    wire::encode_metadata_response(metadata, message);
    Json expected = info;
    expected["plain"] = "text";
    EXPECT_EQ(header_of(message)["data"], expected);

    wire::Response response;
    wire::decode_response(message, response);
    EXPECT_EQ(Json::from_msgpack(response.metadata.encoded), expected);
    EXPECT_EQ(response.metadata.at("plain"), "text");
    EXPECT_EQ(response.metadata.at("nested"), R"({"deep":null})");

    wire::encode_metadata_response({{"plain", "text"}}, message);
    wire::decode_response(message, response);
    EXPECT_TRUE(response.metadata.encoded.empty());
}

TEST(Encoded, ExtraKeepsWhatTheServerAddsBesideIt) {
    Observation observation;
    observation.extra.encoded = Json::to_msgpack(Json{{"poses", {{1, 2}, {3, 4}}}});
    observation.extra["chiral.actions_rejected"] = std::int64_t{2};
    wire::ObservationEncoder encoder;
    encoder.encode_obs_response(observation);
    const ByteVector message(encoder.head().begin(), encoder.head().end());
    EXPECT_EQ(header_of(message)["extra"], (Json{{"poses", {{1, 2}, {3, 4}}}, {"chiral.actions_rejected", 2}}));
}

TEST(Encoded, WhatIsNoMapIsRefused) {
    ByteVector message;
    for (const ByteVector& bad :
         {ByteVector{0x93, 1, 2, 3}, ByteVector{0x81, 0xa1}, ByteVector{0x80, 0x80}, ByteVector{0xc1}}) {
        InfoMap metadata;
        metadata.encoded = bad;
        EXPECT_THROW(wire::encode_metadata_response(metadata, message), std::invalid_argument);
    }
}

TEST(JsonText, KeepsWhatMessagePackSaid) {
    Json data;
    data["list"] = Json{1, -2, 0.1, "x", true, nullptr, Json::object(), Json::array()};
    data["float"] = 20.0;
    data["big"] = 1e300;
    data["largest"] = std::numeric_limits<std::uint64_t>::max();
    data["smallest"] = std::numeric_limits<std::int64_t>::min();
    data["escaped"] = Json{"quote \" backslash \\ newline \n nul " + std::string(1, '\0') + " \u00fc \U0001f916"};
    data["nil"] = nullptr;
    wire::Response response;
    wire::decode_response(frame({{"type", "metadata_response"}, {"data", data}}), response);
    EXPECT_EQ(response.metadata.at("float"), "20.0");
    EXPECT_EQ(response.metadata.at("largest"), "18446744073709551615");
    EXPECT_EQ(response.metadata.at("nil"), "null");
    for (const auto& [key, value] : data.items()) EXPECT_EQ(Json::parse(response.metadata.at(key)), value) << key;
}

TEST(JsonText, IsValidWhateverCame) {
    // {"type": "metadata_response", "data": {"v": [<values>]}} with values that JSON does not have.
    const auto arrives_as = [](const ByteVector& values, std::uint8_t count) {
        ByteVector header = Json::to_msgpack({{"type", "metadata_response"}});
        header[0] = 0x82;
        const std::string data(
            "\xa4"
            "data"
            "\x81"
            "\xa1"
            "v");
        header.insert(header.end(), data.begin(), data.end());
        header.push_back(static_cast<std::uint8_t>(0x90 | count));
        header.insert(header.end(), values.begin(), values.end());
        wire::Response response;
        wire::decode_response(raw_frame(header), response);
        return response.metadata.at("v");
    };
    EXPECT_EQ(arrives_as({0xc4, 1, 0xff, 0xc4, 2, 'a', 'b', 0xc4, 3, 'f', 'o', 'o', 0xc4, 0}, 4),
              R"(["/w==","YWI=","Zm9v",""])");
    EXPECT_EQ(arrives_as({0xd4, 5, 0x2a}, 1), R"(["BSo="])") << "an extension's type comes before its bytes";
    EXPECT_EQ(arrives_as({0xca, 0x7f, 0xc0, 0, 0}, 1), "[null]") << "NaN";
    EXPECT_EQ(arrives_as({0xca, 0x7f, 0x80, 0, 0}, 1), "[null]") << "infinity";
    EXPECT_EQ(arrives_as({0x82, 0x01, 0xc0, 0xc2, 0xc3}, 1), R"([{"1":null,"false":true}])") << "keys need not be text";
    // Bytes that are not UTF-8: stray, overlong, surrogate, beyond the last code point, cut off.
    for (const std::string bad :
         {"\xff", "\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
        ByteVector text{static_cast<std::uint8_t>(0xa0 | bad.size())};
        text.insert(text.end(), bad.begin(), bad.end());
        const std::string json = arrives_as(text, 1);
        EXPECT_NO_THROW(EXPECT_EQ(Json::parse(json)[0].get<std::string>().substr(0, 3), "\xef\xbf\xbd")) << json;
    }
}

TEST(Extra, ValuesOfAPythonServer) {
    Json header = {{"type", "obs_response"}, {"timestamp", 1}, {"cameras", Json::array()}, {"proprios", Json::array()}};
    header["extra"] = {{"flag", true},         {"count", 3},          {"negative", -3},
                       {"float", 0.1},         {"text", "t"},         {"nil", nullptr},
                       {"list", Json{1, 2.5}}, {"map", {{"a", "b"}}}, {"huge", std::numeric_limits<std::uint64_t>::max()}};
    wire::Response response;
    wire::decode_response(frame(header), response);
    const ExtraMap expected{{"flag", true},
                            {"count", std::int64_t{3}},
                            {"negative", std::int64_t{-3}},
                            {"float", 0.1},
                            {"text", std::string("t")},
                            {"nil", std::string("null")},
                            {"list", std::string("[1,2.5]")},
                            {"map", std::string(R"({"a":"b"})")},
                            {"huge", std::string("18446744073709551615")}};
    EXPECT_EQ(response.result.obs.extra, expected);
    EXPECT_EQ(response.result.obs.timestamp, 1.0) << "an integer counts as a float";
}

}  // namespace
}  // namespace chiral::test
