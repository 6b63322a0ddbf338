// SPDX-License-Identifier: Apache-2.0
// A decoder in another language, which shares no code with ours, reads in our frames what we put into them.
#include "frames.hpp"

#include <cstdio>
#include <filesystem>
#include <fstream>

#include <unistd.h>

namespace chiral::test {
namespace {

// Decodes a message with tests/interop/decode_frame.py. Keys keep their order.
class PythonDecoder : public testing::Test {
protected:
    static nlohmann::ordered_json decode(const ByteVector& message) {
        const std::filesystem::path file =
            std::filesystem::temp_directory_path() / ("chiral_frame_" + std::to_string(getpid()) + ".bin");
        std::ofstream(file, std::ios::binary)
            .write(reinterpret_cast<const char*>(message.data()), static_cast<std::streamsize>(message.size()));
        const std::string command =
            std::string(CHIRAL_PYTHON) + " '" + CHIRAL_DECODE_FRAME + "' '" + file.string() + "' 2>&1";
        std::FILE* pipe = popen(command.c_str(), "r");
        if (pipe == nullptr) throw std::runtime_error("cannot run " + command);
        std::string output;
        char buffer[4096];
        while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, got);
        const int status = pclose(pipe);
        std::filesystem::remove(file);
        if (status != 0) throw std::runtime_error("decode_frame.py failed: " + output);
        return nlohmann::ordered_json::parse(output);
    }

    static void expect_observation(const nlohmann::ordered_json& decoded, const Observation& obs) {
        EXPECT_EQ(decoded.at("header").at("timestamp"), obs.timestamp);
        EXPECT_EQ(decoded.at("header").at("snapshot_time"), obs.snapshot_time);
        ASSERT_EQ(decoded.at("cameras").size(), obs.cameras.size());
        for (std::size_t i = 0; i < obs.cameras.size(); ++i) {
            const CameraInfo& camera = obs.cameras[i];
            const auto& header = decoded.at("header").at("cameras")[i];
            const auto& json = decoded.at("cameras")[i];
            SCOPED_TRACE("camera " + camera.name);
            EXPECT_EQ(json.at("name"), camera.name);
            EXPECT_EQ(json.at("timestamp"), camera.timestamp);
            for (int row = 0; row < 4; ++row)
                for (int column = 0; column < 4; ++column) {
                    const auto r = static_cast<std::size_t>(row), c = static_cast<std::size_t>(column);
                    EXPECT_EQ(json.at("T")[r][c], camera.extrinsics(row, column));
                    if (row < 3 && column < 3) {
                        EXPECT_EQ(json.at("K")[r][c], camera.intrinsics(row, column));
                    }
                }
            EXPECT_EQ(flat<std::uint8_t>(json.at("image")), ByteVector(camera.image.begin(), camera.image.end()));
            EXPECT_EQ(json.at("depth").is_null(), !camera.has_depth);
            if (camera.has_depth) {
                EXPECT_EQ(as_bytes(flat<float>(json.at("depth"))),
                          ByteVector(camera.depth_data.begin(), camera.depth_data.end()));
            }
            EXPECT_EQ(header.at("image_shape"), camera.image_shape);
            EXPECT_EQ(header.at("sequence"), camera.sequence);
            EXPECT_EQ(header.at("missed"), camera.missed);
            EXPECT_EQ(header.at("status"), static_cast<int>(camera.status));
        }
        ASSERT_EQ(decoded.at("proprios").size(), obs.proprios.size());
        for (std::size_t i = 0; i < obs.proprios.size(); ++i) {
            const ProprioInfo& proprio = obs.proprios[i];
            EXPECT_EQ(decoded.at("proprios").at(proprio.name).get<std::vector<float>>(), proprio.data);
            EXPECT_EQ(decoded.at("header").at("proprios")[i].at("timestamp"), proprio.timestamp);
        }
        EXPECT_EQ(decoded.at("claimed_bytes"), decoded.at("payload_bytes")) << "no padding between the pieces";
        const auto& extra = decoded.at("header").at("extra");
        EXPECT_EQ(extra.size(), obs.extra.size());
        for (const auto& [key, value] : obs.extra)
            std::visit([&extra, &name = key](const auto& held) { EXPECT_EQ(extra.at(name), held) << name; }, value);
    }

    // The numbers of an array in an array in an array, in order.
    template <class Number>
    static std::vector<Number> flat(const nlohmann::ordered_json& nested) {
        if (!nested.is_array()) return {nested.get<Number>()};
        std::vector<Number> numbers;
        for (const auto& element : nested)
            for (const Number number : flat<Number>(element)) numbers.push_back(number);
        return numbers;
    }
};

TEST_F(PythonDecoder, ReadsAGoldenFrame) {
    const auto decoded = decode(golden_frame("server_obs_response"));
    wire::Response response;
    wire::decode_response(golden_frame("server_obs_response"), response);
    EXPECT_EQ(decoded.at("cameras").size(), 3u);
    EXPECT_EQ(decoded.at("proprios").at("joint_pos").get<std::vector<float>>(),
              response.result.obs.proprio("joint_pos").data);
}

TEST_F(PythonDecoder, ReadsABuiltAndAPatchedObservation) {
    wire::ObservationEncoder encoder;
    for (const int seed : {1, 6}) {
        const Observation obs = sample_observation(seed);
        encoder.encode_obs_response(obs);
        const auto decoded = decode(joined(encoder));
        EXPECT_EQ(decoded.at("header").at("type"), "obs_response");
        EXPECT_EQ(Json(decoded.at("keys")), (Json{"type", "timestamp", "snapshot_time", "cameras", "proprios", "extra"}));
        expect_observation(decoded, obs);
    }
    EXPECT_EQ(encoder.rebuilds(), 1u);
}

TEST_F(PythonDecoder, ReadsResetAndStepResponses) {
    wire::ObservationEncoder encoder;
    StepResult step;
    step.obs = sample_observation(2);
    step.reward = 0.5f;
    step.terminated = true;
    step.info = {{"k", "v"}, {"long", std::string(300, 'x')}};
    encoder.encode_reset_response(step.obs, step.info);
    auto decoded = decode(joined(encoder));
    EXPECT_EQ(decoded.at("header").at("type"), "reset_response");
    EXPECT_EQ(Json(decoded.at("header").at("info")), (Json{{"k", "v"}, {"long", std::string(300, 'x')}}));
    expect_observation(decoded, step.obs);

    encoder.encode_step_response(step);
    decoded = decode(joined(encoder));
    EXPECT_EQ(decoded.at("header").at("type"), "step_response");
    EXPECT_EQ(Json(decoded.at("keys")), (Json{"type", "timestamp", "snapshot_time", "cameras", "proprios", "reward",
                                              "terminated", "truncated", "extra", "info"}));
    EXPECT_EQ(decoded.at("header").at("reward"), 0.5);
    EXPECT_TRUE(decoded.at("header").at("reward").is_number_float());
    EXPECT_EQ(decoded.at("header").at("terminated"), true);
    EXPECT_EQ(decoded.at("header").at("truncated"), false);
    EXPECT_EQ(decoded.at("header").at("info").size(), 2u);
    expect_observation(decoded, step.obs);
}

TEST_F(PythonDecoder, ReadsMetadata) {
    ByteVector message;
    wire::encode_metadata_response({{"robot", "arm"}, {"control_hz", "20"}}, message);
    EXPECT_EQ(Json(decode(message).at("header")),
              (Json{{"type", "metadata_response"}, {"data", {{"robot", "arm"}, {"control_hz", "20"}}}}));
}

TEST_F(PythonDecoder, ReadsRequests) {
    ByteVector message;
    wire::encode_request(wire::RequestType::obs_request, message);
    EXPECT_EQ(Json(decode(message).at("header")), (Json{{"type", "obs_request"}}));

    Action action;
    action.N = 1;
    action.D = 3;
    action.data = {0.1f, -2.f, 3.5f};
    action.obs_timestamps = {{"head", 12.5}, {"wrist", 13.0}};
    wire::encode_apply_action(action, true, message);
    auto decoded = decode(message);
    EXPECT_EQ(decoded.at("header").at("type"), "apply_action");
    EXPECT_EQ(Json(decoded.at("header").at("shape")), Json{3});
    EXPECT_EQ(Json(decoded.at("header").at("obs_timestamps")), (Json{{"head", 12.5}, {"wrist", 13.0}}));
    EXPECT_TRUE(decoded.at("header").at("obs_timestamps").at("wrist").is_number_float());
    EXPECT_EQ(decoded.at("action").get<std::vector<float>>(), action.data);

    wire::encode_legacy_action(action, message);
    decoded = decode(message);
    EXPECT_EQ(decoded.at("header").at("type"), "action");
    EXPECT_EQ(Json(decoded.at("header").at("shape")), (Json{1, 3}));
    EXPECT_EQ(decoded.at("action")[0].get<std::vector<float>>(), action.data);
}

}  // namespace
}  // namespace chiral::test
