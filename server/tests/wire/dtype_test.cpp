// SPDX-License-Identifier: Apache-2.0
// Pixels of every type that numpy names, in every field that has them: both ways, and as a numpy server writes them.
#include "frames.hpp"

#include <chiral/dtype.hpp>

#include <optional>

namespace chiral::test {
namespace {

const char* const names[] = {"bool",  "uint8",  "int8",  "uint16",  "int16",   "uint32",
                             "int32", "uint64", "int64", "float16", "float32", "float64"};

TEST(DTypeNames, AreNumpys) {
    static_assert(std::size(names) == dtype_count);
    for (std::size_t i = 0; i < dtype_count; ++i) {
        const auto type = static_cast<DType>(i);
        EXPECT_STREQ(to_string(type), names[i]);
        EXPECT_EQ(parse_dtype(names[i]), type);
    }
    const std::pair<const char*, DType> spelt[] = {{"<u2", DType::uint16},  {"u2", DType::uint16},   {"|u1", DType::uint8},
                                                   {"<f2", DType::float16}, {"<f8", DType::float64}, {"|b1", DType::boolean},
                                                   {"|i1", DType::int8},    {"<i8", DType::int64}};
    for (const auto& [name, type] : spelt) EXPECT_EQ(parse_dtype(name), type) << name;
    for (const char* name :
         {"", "<", "object", "|O", ">u2", "=u2", "|u2", "<U1", "S4", "complex64", "<c8", "uint128", "Uint8", "uint8 "})
        EXPECT_EQ(parse_dtype(name), std::nullopt) << name;
}

// Rows of 5 pixels, 3 of them: an odd number, so that what follows lies where only bytes may.
CameraInfo camera_of(DType type, bool depth, bool channels) {
    CameraInfo camera = sample_camera("any", 3, 5, 3, depth, 4);
    std::size_t elements = 15;
    camera.image_shape = {3, 5};
    if (channels) {
        camera.image_shape.push_back(3);
        elements *= 3;
    }
    camera.image_dtype = depth ? "uint8" : to_string(type);
    camera.image.assign(elements * size_of(depth ? DType::uint8 : type), 7);
    if (!depth) return camera;
    camera.depth_dtype = to_string(type);
    camera.depth_unit = type == DType::float32 ? 0.0 : 0.001;
    camera.depth_data.assign(15 * size_of(type), 0);
    for (std::size_t i = 0; i < camera.depth_data.size(); ++i) camera.depth_data[i] = static_cast<std::uint8_t>(i);
    return camera;
}

TEST(DTypes, TravelInEveryFieldAndAnswer) {
    wire::ObservationEncoder encoder;
    for (std::size_t i = 0; i < dtype_count; ++i)
        for (const bool depth : {false, true})
            for (const bool channels : {false, true}) {
                const auto type = static_cast<DType>(i);
                SCOPED_TRACE(std::string(to_string(type)) + (depth ? " depth" : " image") + (channels ? ", channels" : ""));
                StepResult result;
                result.obs.cameras = {camera_of(type, depth, channels), sample_camera("usual", 2, 2, 3, true, 1)};
                wire::Response response;
                encoder.encode_obs_response(result.obs);
                const ByteVector built = joined(encoder);
                wire::decode_response(built, response);
                expect_equal(response.result.obs, result.obs);
                const std::uint64_t rebuilds = encoder.rebuilds();
                encoder.encode_obs_response(result.obs);
                EXPECT_EQ(joined(encoder), built) << "patched";
                EXPECT_EQ(encoder.rebuilds(), rebuilds) << "the same layout again";
                encoder.encode_reset_response(result.obs, {});
                wire::decode_response(joined(encoder), response);
                expect_equal(response.result.obs, result.obs);
                encoder.encode_step_response(result);
                wire::decode_response(joined(encoder), response);
                expect_equal(response.result.obs, result.obs);
            }
}

TEST(DTypes, ThatChangeMakeTheHeaderAnew) {
    wire::ObservationEncoder encoder;
    Observation obs;
    obs.cameras = {camera_of(DType::uint16, true, false)};
    encoder.encode_obs_response(obs);
    obs.cameras[0].depth_dtype = "int16";  // as long
    encoder.encode_obs_response(obs);
    EXPECT_EQ(encoder.rebuilds(), 2u);
    wire::Response response;
    wire::decode_response(joined(encoder), response);
    EXPECT_EQ(response.result.obs.cameras[0].depth_dtype, "int16");
    obs.cameras[0].depth_unit = 0.0001;
    encoder.encode_obs_response(obs);
    wire::decode_response(joined(encoder), response);
    EXPECT_EQ(response.result.obs.cameras[0].depth_unit, 0.0001);
    obs.cameras[0].depth_unit = 0;
    encoder.encode_obs_response(obs);
    wire::decode_response(joined(encoder), response);
    EXPECT_EQ(response.result.obs.cameras[0].depth_unit, 0.0) << "nothing is left of the one before";
}

TEST(DTypes, AreWrittenByNumpysNameHoweverTheyWereGiven) {
    Observation obs;
    obs.cameras = {camera_of(DType::uint16, true, false)};
    obs.cameras[0].depth_dtype = "<u2";
    wire::ObservationEncoder encoder;
    encoder.encode_obs_response(obs);
    wire::Response response;
    wire::decode_response(joined(encoder), response);
    EXPECT_EQ(response.result.obs.cameras[0].depth_dtype, "uint16");
}

// Frames of tests/vectors/dtypes/make_vectors.py.
TEST(DTypes, OfANumpyServerAreRead) {
    const Json manifest = Json::parse(read_file(std::string(CHIRAL_VECTORS) + "/dtypes/manifest.json"));
    EXPECT_EQ(manifest.size(), 2 * dtype_count + 2);
    for (const auto& [name, expected] : manifest.items()) {
        SCOPED_TRACE(name);
        wire::Response response;
        wire::decode_response(golden_frame("dtypes/" + name), response);
        const CameraInfo& camera = response.result.obs["camera"];
        EXPECT_EQ(camera.image_dtype, expected.at("image_dtype"));
        EXPECT_EQ(camera.image_shape, expected.at("image_shape").get<std::vector<int>>());
        EXPECT_EQ(hex(camera.image), expected.at("image_hex"));
        EXPECT_EQ(camera.has_depth, expected.contains("depth_hex"));
        if (!camera.has_depth) continue;
        EXPECT_EQ(camera.depth_dtype, expected.at("depth_dtype"));
        EXPECT_EQ(camera.depth_shape, expected.at("depth_shape").get<std::vector<int>>());
        EXPECT_EQ(hex(camera.depth_data), expected.at("depth_hex"));
        EXPECT_EQ(camera.depth_unit, expected.value("depth_unit", 0.0));
    }
}

}  // namespace
}  // namespace chiral::test
