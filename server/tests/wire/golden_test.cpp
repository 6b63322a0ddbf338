// SPDX-License-Identifier: Apache-2.0
// Every golden frame of the original's encoders decodes to what the manifest says it contains.
#include "frames.hpp"

namespace chiral::test {
namespace {

const Json& manifest() {
    static const Json json = golden_manifest();
    return json;
}

wire::Request decode_golden_request(const std::string& name) {
    wire::Request request;
    wire::decode_request(golden_frame(name), request);
    return request;
}

wire::Response decode_golden_response(const std::string& name) {
    wire::Response response;
    wire::decode_response(golden_frame(name), response);
    return response;
}

void expect_action(const Action& action, const Json& expected) {
    const auto shape = expected.at("shape").get<std::vector<int>>();
    EXPECT_EQ(action.N, shape.size() == 2 ? shape[0] : 1);
    EXPECT_EQ(action.D, shape.back());
    EXPECT_EQ(action.data, expected.at("data").get<std::vector<float>>());
    EXPECT_EQ(action.obs_timestamps, (expected.at("obs_timestamps").get<std::map<std::string, double>>()));
}

template <class Matrix>
std::vector<double> row_major(const Matrix& matrix) {
    std::vector<double> numbers;
    for (int row = 0; row < matrix.rows(); ++row)
        for (int column = 0; column < matrix.cols(); ++column) numbers.push_back(matrix(row, column));
    return numbers;
}

std::string expected_image_hex(const Json& camera) {
    if (camera.contains("image_hex")) return camera.at("image_hex");
    EXPECT_EQ(camera.at("image"), "bytes 0..71");
    ByteVector bytes;
    for (std::uint8_t i = 0; i < 72; ++i) bytes.push_back(i);
    return hex(bytes.data(), bytes.size());
}

std::string expected_depth_hex(const Json& camera) {
    if (camera.contains("depth_hex")) return camera.at("depth_hex");
    EXPECT_EQ(camera.at("depth"), "float32 0,0.5,..11.5");
    std::vector<float> metres;
    for (int i = 0; i < 24; ++i) metres.push_back(0.5f * static_cast<float>(i));
    const ByteVector bytes = as_bytes(metres);
    return hex(bytes.data(), bytes.size());
}

void expect_observation(const Observation& obs, const Json& expected) {
    EXPECT_EQ(obs.timestamp, expected.at("timestamp").get<double>());
    EXPECT_EQ(obs.snapshot_time, 0.0);
    EXPECT_TRUE(obs.extra.empty()) << "no golden frame has any";
    ASSERT_EQ(obs.cameras.size(), expected.at("cameras").size());
    for (std::size_t i = 0; i < obs.cameras.size(); ++i) {
        const CameraInfo& camera = obs.cameras[i];
        const Json& json = expected.at("cameras")[i];
        SCOPED_TRACE("camera " + camera.name);
        EXPECT_EQ(camera.name, json.at("name").get<std::string>());
        EXPECT_EQ(camera.timestamp, json.at("timestamp").get<double>());
        EXPECT_EQ(row_major(camera.intrinsics), json.at("intrinsics").get<std::vector<double>>());
        EXPECT_EQ(row_major(camera.extrinsics), json.at("extrinsics").get<std::vector<double>>());
        EXPECT_EQ(camera.image_shape, json.at("image_shape").get<std::vector<int>>());
        EXPECT_EQ(camera.image_dtype, "uint8");
        EXPECT_EQ(hex(camera.image), expected_image_hex(json));
        EXPECT_EQ(camera.has_depth, !json.at("depth_shape").is_null());
        if (camera.has_depth) {
            EXPECT_EQ(camera.depth_shape, json.at("depth_shape").get<std::vector<int>>());
            EXPECT_EQ(camera.depth_dtype, "float32");
            EXPECT_EQ(hex(camera.depth_data), expected_depth_hex(json));
        } else {
            EXPECT_TRUE(camera.depth_shape.empty());
            EXPECT_TRUE(camera.depth_data.empty());
        }
        EXPECT_EQ(camera.sequence, 0u);
        EXPECT_EQ(camera.missed, 0u);
        EXPECT_EQ(camera.status, SourceStatus::never);
    }
    ASSERT_EQ(obs.proprios.size(), expected.at("proprios").size());
    for (const auto& [name, data] : expected.at("proprios").items())
        EXPECT_EQ(obs.proprio(name).data, data.get<std::vector<float>>()) << name;
}

TEST(GoldenFrames, AreAllTested) {
    EXPECT_EQ(manifest().size(), 12u) << "a new golden frame needs a test here";
    for (const auto& [name, entry] : manifest().items()) EXPECT_EQ(golden_frame(name).size(), entry.at("bytes")) << name;
}

TEST(GoldenFrames, RequestsWithoutAction) {
    EXPECT_EQ(decode_golden_request("client_metadata").type, wire::RequestType::metadata);
    EXPECT_EQ(decode_golden_request("client_reset").type, wire::RequestType::reset);
    EXPECT_EQ(decode_golden_request("client_obs_request").type, wire::RequestType::obs_request);
}

TEST(GoldenFrames, Actions) {
    for (const char* name : {"client_apply_action_1d", "client_apply_action_2d", "client_action_legacy"}) {
        SCOPED_TRACE(name);
        const wire::Request request = decode_golden_request(name);
        EXPECT_EQ(request.type,
                  std::string(name) == "client_action_legacy" ? wire::RequestType::action : wire::RequestType::apply_action);
        expect_action(request.action, manifest().at(name));
    }
}

TEST(GoldenFrames, MetadataOfAPythonServerArrivesAsText) {
    const wire::Response response = decode_golden_response("server_metadata_response");
    EXPECT_EQ(response.type, wire::ResponseType::metadata_response);
    const InfoMap expected{{"cameras", R"(["wrist_cam"])"},
                           {"action_shape", "[1,7]"},
                           {"control_hz", "20"},
                           {"gain", "0.5"},
                           {"nested", R"({"a":true,"b":null})"}};
    EXPECT_EQ(response.metadata, expected);
    for (const auto& [key, value] : manifest().at("server_metadata_response").at("data").items())
        EXPECT_EQ(Json::parse(response.metadata.at(key)), value) << key;
}

TEST(GoldenFrames, Observations) {
    for (const char* name : {"server_obs_response", "server_obs_response_empty"}) {
        SCOPED_TRACE(name);
        const wire::Response response = decode_golden_response(name);
        EXPECT_EQ(response.type, wire::ResponseType::obs_response);
        expect_observation(response.result.obs, manifest().at(name).at("observation"));
        EXPECT_TRUE(response.result.info.empty());
    }
}

TEST(GoldenFrames, ResetResponses) {
    const wire::Response python = decode_golden_response("server_reset_response");
    EXPECT_EQ(python.type, wire::ResponseType::reset_response);
    expect_observation(python.result.obs, manifest().at("server_reset_response").at("observation"));
    EXPECT_EQ(python.result.info, (InfoMap{{"episode", "3"}, {"seed", "7"}}));

    const wire::Response cpp = decode_golden_response("server_obs_frame_cpp");
    EXPECT_EQ(cpp.type, wire::ResponseType::reset_response);
    expect_observation(cpp.result.obs, manifest().at("server_obs_frame_cpp").at("observation"));
    EXPECT_EQ(cpp.result.info, (InfoMap{{"k", "v"}}));
}

TEST(GoldenFrames, LegacyStepResponse) {
    const wire::Response response = decode_golden_response("server_step_response_legacy");
    const Json& expected = manifest().at("server_step_response_legacy");
    EXPECT_EQ(response.type, wire::ResponseType::step_response);
    expect_observation(response.result.obs, manifest().at("server_obs_frame_cpp").at("observation"));
    EXPECT_EQ(response.result.reward, expected.at("reward").get<float>());
    EXPECT_EQ(response.result.terminated, expected.at("terminated").get<bool>());
    EXPECT_EQ(response.result.truncated, expected.at("truncated").get<bool>());
    EXPECT_EQ(response.result.info, (InfoMap{{"k", "v"}}));
}

TEST(GoldenFrames, DecodeIntoAUsedResponseLeavesNothingOfTheOldOne) {
    wire::Response response = decode_golden_response("server_step_response_legacy");
    response.result.obs = sample_observation(3);
    wire::decode_response(golden_frame("server_obs_response"), response);
    expect_observation(response.result.obs, manifest().at("server_obs_response").at("observation"));
    EXPECT_TRUE(response.result.info.empty());
    EXPECT_EQ(response.result.reward, 0.f);
    EXPECT_FALSE(response.result.terminated);
    wire::decode_response(golden_frame("server_obs_response_empty"), response);
    expect_observation(response.result.obs, manifest().at("server_obs_response_empty").at("observation"));
}

}  // namespace
}  // namespace chiral::test
