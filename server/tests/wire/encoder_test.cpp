// SPDX-License-Identifier: Apache-2.0
// The observation encoder: writing numbers over a kept header gives the bytes that building it anew gives.
#include "frames.hpp"

#include <functional>
#include <limits>

namespace chiral::test {
namespace {

ByteVector built_anew(const Observation& obs) {
    wire::ObservationEncoder encoder;
    encoder.encode_obs_response(obs);
    EXPECT_EQ(encoder.rebuilds(), 1u);
    return joined(encoder);
}

TEST(ObservationEncoder, PatchesWhenOnlyNumbersAndPixelsChange) {
    wire::ObservationEncoder encoder;
    for (int seed = 0; seed < 20; ++seed) {
        const Observation obs = sample_observation(seed);
        encoder.encode_obs_response(obs);
        EXPECT_EQ(joined(encoder), built_anew(obs)) << seed;
    }
    EXPECT_EQ(encoder.rebuilds(), 1u);
}

TEST(ObservationEncoder, PatchesEveryExtremeNumber) {
    using Real = std::numeric_limits<double>;
    wire::ObservationEncoder encoder;
    const Observation first = sample_observation(1);
    encoder.encode_obs_response(first);
    for (const double real : {0.0, -0.0, 1.0, Real::max(), Real::denorm_min(), Real::infinity(), Real::quiet_NaN()}) {
        Observation obs = sample_observation(1);
        obs.timestamp = obs.snapshot_time = real;
        for (CameraInfo& camera : obs.cameras) {
            camera.timestamp = real;
            camera.intrinsics.setConstant(real);
            camera.extrinsics.setConstant(real);
            camera.sequence = camera.missed = std::numeric_limits<std::uint64_t>::max();
        }
        for (ProprioInfo& proprio : obs.proprios) {
            proprio.timestamp = real;
            proprio.sequence = 0;
        }
        encoder.encode_obs_response(obs);
        EXPECT_EQ(joined(encoder), built_anew(obs)) << real;
    }
    EXPECT_EQ(encoder.rebuilds(), 1u);
}

TEST(ObservationEncoder, PatchesStepResults) {
    wire::ObservationEncoder encoder;
    for (int seed = 0; seed < 4; ++seed) {
        StepResult step;
        step.obs = sample_observation(seed);
        step.reward = 0.25f * static_cast<float>(seed);
        step.terminated = seed % 2 == 0;
        step.truncated = seed >= 2;
        step.info["seed"] = std::to_string(seed);
        encoder.encode_step_response(step);
        wire::ObservationEncoder fresh;
        fresh.encode_step_response(step);
        EXPECT_EQ(joined(encoder), joined(fresh));
    }
    EXPECT_EQ(encoder.rebuilds(), 1u);
}

TEST(ObservationEncoder, BuildsAnewWhenTheLayoutChanges) {
    struct Change {
        const char* what;
        std::function<void(Observation&)> apply;
    };
    const Change changes[] = {
        {"camera name of the same length", [](Observation& obs) { obs.cameras[1].name = "hand"; }},
        {"image shape of the same size",
         [](Observation& obs) {
             obs.cameras[0].image_shape = {6, 4, 3};
         }},
        {"depth shape of the same size",
         [](Observation& obs) {
             obs.cameras[0].depth_shape = {6, 4};
         }},
        {"no depth any more", [](Observation& obs) { obs.cameras[0].has_depth = false; }},
        {"an image where none was",
         [](Observation& obs) {
             obs.cameras[2].image_shape = {1, 1, 1};
             obs.cameras[2].image.resize(1);
         }},
        {"one camera less", [](Observation& obs) { obs.cameras.pop_back(); }},
        {"one camera more", [](Observation& obs) { obs.cameras.push_back(sample_camera("x", 1, 2, 3, true, 1)); }},
        {"cameras swapped", [](Observation& obs) { std::swap(obs.cameras[0], obs.cameras[1]); }},
        {"proprio name", [](Observation& obs) { obs.proprios[0].name = "joint_vel"; }},
        {"proprio size", [](Observation& obs) { obs.proprios[1].data.push_back(1.f); }},
        {"one proprio less", [](Observation& obs) { obs.proprios.pop_back(); }},
    };
    for (const Change& change : changes) {
        SCOPED_TRACE(change.what);
        wire::ObservationEncoder encoder;
        Observation obs = sample_observation(3);
        encoder.encode_obs_response(obs);
        change.apply(obs);
        encoder.encode_obs_response(obs);
        EXPECT_EQ(encoder.rebuilds(), 2u);
        EXPECT_EQ(joined(encoder), built_anew(obs));
        const Observation back = sample_observation(4);
        encoder.encode_obs_response(back);
        EXPECT_EQ(encoder.rebuilds(), 3u);
        EXPECT_EQ(joined(encoder), built_anew(back));
    }
}

TEST(ObservationEncoder, BuildsAnewForAnotherKindOfAnswer) {
    wire::ObservationEncoder encoder;
    const Observation obs = sample_observation(3);
    encoder.encode_reset_response(obs, {});
    encoder.encode_obs_response(obs);
    EXPECT_EQ(encoder.rebuilds(), 2u);
    EXPECT_EQ(joined(encoder), built_anew(obs));
}

TEST(ObservationEncoder, ExtraAndInfoMayGrowAndShrink) {
    wire::ObservationEncoder encoder;
    for (const std::size_t entries : {0u, 1u, 15u, 16u, 300u, 2u, 0u, 70u}) {
        Observation obs = sample_observation(5);
        obs.extra.clear();
        InfoMap info;
        for (std::size_t i = 0; i < entries; ++i) {
            obs.extra["key" + std::to_string(i)] = std::string(i, 'v');
            info["key" + std::to_string(i)] = std::string(i, 'w');
        }
        encoder.encode_reset_response(obs, info);
        wire::Response response;
        wire::decode_response(joined(encoder), response);
        expect_equal(response.result.obs, obs);
        EXPECT_EQ(response.result.info, info);
    }
    EXPECT_EQ(encoder.rebuilds(), 1u);
}

TEST(ObservationEncoder, PayloadPointsIntoTheObservation) {
    wire::ObservationEncoder encoder;
    const Observation obs = sample_observation(5);
    encoder.encode_obs_response(obs);
    const auto pieces = encoder.payload();
    ASSERT_EQ(pieces.size(), 5u) << "the camera without an image has no piece";
    EXPECT_EQ(pieces[0].data(), obs.cameras[0].image.data());
    EXPECT_EQ(pieces[1].data(), obs.cameras[0].depth_data.data());
    EXPECT_EQ(pieces[2].data(), obs.cameras[1].image.data());
    EXPECT_EQ(static_cast<const void*>(pieces[3].data()), obs.proprios[0].data.data());
    EXPECT_EQ(static_cast<const void*>(pieces[4].data()), obs.proprios[1].data.data());
}

TEST(ObservationEncoder, RefusesPixelsThatAreNotAsLongAsTheirShapeSays) {
    struct Mistake {
        std::function<void(CameraInfo&)> make;
        const char* message;
    };
    const Mistake mistakes[] = {
        {[](CameraInfo& camera) { camera.image.resize(71); }, "image is 71 bytes, shape [4, 6, 3] uint8 needs 72"},
        {[](CameraInfo& camera) { camera.image.clear(); }, "image is 0 bytes, shape [4, 6, 3] uint8 needs 72"},
        {[](CameraInfo& camera) { camera.image_shape.clear(); }, "image is 72 bytes, shape [] uint8 needs 0"},
        {[](CameraInfo& camera) {
             camera.image_shape = {12, 7};
         },
         "image is 72 bytes, shape [12, 7] uint8 needs 84"},
        {[](CameraInfo& camera) {
             camera.image_shape = {4, 6, 3, 1};
         },
         "image_shape is [4, 6, 3, 1], expected"},
        {[](CameraInfo& camera) {
             camera.image_shape = {-4, -6, 3};
         },
         "image_shape is [-4, -6, 3], expected"},
        {[](CameraInfo& camera) {
             camera.image_shape = {0, 6, 3};
         },
         "image_shape is [0, 6, 3], expected"},
        {[](CameraInfo& camera) {
             camera.image_shape = {2147483647, 2147483647, 2147483647};
         },
         "image is 72 bytes, shape [2147483647, 2147483647, 2147483647] uint8 needs 1844"},
        {[](CameraInfo& camera) { camera.image_dtype = "float32"; }, "image is 72 bytes, shape [4, 6, 3] float32 needs 288"},
        {[](CameraInfo& camera) { camera.image_dtype = "object"; },
         "image_dtype is 'object', expected little-endian bool, "},
        {[](CameraInfo& camera) { camera.image_dtype = ">u2"; }, "image_dtype is '>u2', expected little-endian bool, "},
        {[](CameraInfo& camera) { camera.depth_data.resize(92); }, "depth is 92 bytes, shape [4, 6] float32 needs 96"},
        {[](CameraInfo& camera) { camera.depth_shape.clear(); }, "depth_shape is [], expected [H, W]"},
        {[](CameraInfo& camera) { camera.depth_dtype = "uint16"; }, "depth is 96 bytes, shape [4, 6] uint16 needs 48"},
        {[](CameraInfo& camera) { camera.depth_unit = -1; }, "depth_unit is -1.000000, expected metres, or 0"},
    };
    wire::ObservationEncoder encoder;
    const Observation good = sample_observation(5);
    encoder.encode_obs_response(good);
    const ByteVector before = joined(encoder);
    for (const Mistake& mistake : mistakes) {
        Observation obs = sample_observation(6);
        mistake.make(obs.cameras[0]);
        expect_throw<std::invalid_argument>([&] { encoder.encode_obs_response(obs); },
                                            "camera 'wrist_cam_with_a_long_name': " + std::string(mistake.message));
        EXPECT_EQ(joined(encoder), before) << "a refused observation leaves the previous answer";
    }
    encoder.encode_obs_response(good);
    EXPECT_EQ(encoder.rebuilds(), 1u);
}

TEST(ObservationEncoder, RefusesWhatNoDecoderWouldTake) {
    const std::string megabyte(1 << 20, 'x');
    wire::ObservationEncoder encoder;
    const auto refused = [&](const Observation& obs, const InfoMap& info, const std::string& part) {
        expect_throw<std::invalid_argument>([&] { encoder.encode_reset_response(obs, info); }, part);
        const Observation good = sample_observation(1);
        encoder.encode_reset_response(good, {{"k", "v"}});
        wire::Response response;
        EXPECT_NO_THROW(wire::decode_response(joined(encoder), response)) << "the next one is good";
    };
    Observation obs = sample_observation(1);
    obs.extra["picture"] = megabyte;
    refused(obs, {}, "reset_response: header is 10");
    refused(obs, {}, "most of them extra, expected at most 1048576");
    obs = sample_observation(1);
    refused(obs, {{"log", megabyte}}, "most of them info, expected at most 1048576");
    obs.cameras[0].name = megabyte;
    refused(obs, {}, "most of them names, expected at most 1048576");
    obs = sample_observation(1);
    for (int i = 0; i < 4097; ++i) obs.extra[std::to_string(i)] = true;
    refused(obs, {}, "extra has 4101 entries, expected at most 4096");
    obs = sample_observation(1);
    obs.cameras.resize(257, obs.cameras[2]);
    refused(obs, {}, "cameras has 257 entries, expected at most 256");
    obs.cameras.resize(1);
    obs.proprios.resize(257);
    refused(obs, {}, "proprios has 257 entries, expected at most 256");

    ByteVector message;
    expect_throw<std::invalid_argument>(
        [&] {
            wire::encode_metadata_response({{"map", megabyte}}, message);
        },
        "metadata_response: header is 1048");
    wire::Response response;
    wire::encode_metadata_response({{"map", megabyte.substr(100)}}, message);
    EXPECT_NO_THROW(wire::decode_response(message, response));
}

TEST(Declaration, IsRefusedWhereNoObservationCouldCarryIt) {
    std::vector<CameraConfig> cameras(256);
    std::vector<ProprioConfig> proprios(256);
    for (std::size_t i = 0; i < 256; ++i) cameras[i].name = "greifer \xc3\xbc " + std::to_string(i);
    EXPECT_NO_THROW(wire::check_sources(cameras, proprios));
    const auto refused = [&](const std::string& part) {
        expect_throw<std::invalid_argument>([&] { wire::check_sources(cameras, proprios); }, part);
    };
    proprios[7].name =
        "gr\xfc"
        "fer";
    refused(
        "declaration: proprio 'gr\xef\xbf\xbd"
        "fer': its name is not UTF-8");
    proprios[7].name = std::string(300'000, 'x');
    refused("declaration: names of 30");
    proprios.resize(257);
    refused("declaration: proprios has 257 entries, expected at most 256");
    cameras.resize(257);
    refused("declaration: cameras has 257 entries, expected at most 256");
}

TEST(ObservationEncoder, RepairsTextThatIsNotUtf8) {
    const std::string latin =
                          "M\xfc"
                          "ller \xc3\xbc \xed\xa0\x80",
                      repaired =
                          "M\xef\xbf\xbd"
                          "ller \xc3\xbc \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd";
    Observation obs = sample_observation(1);
    obs.cameras[0].name = obs.proprios[0].name = latin;
    obs.extra[latin] = latin;
    wire::ObservationEncoder encoder;
    for (int i = 0; i < 2; ++i) {  // built, patched
        encoder.encode_reset_response(obs, {{latin, latin}});
        wire::Response response;
        wire::decode_response(joined(encoder), response);
        EXPECT_EQ(response.result.obs.cameras[0].name, repaired);
        EXPECT_EQ(response.result.obs.proprios[0].name, repaired);
        EXPECT_EQ(response.result.obs.extra.at(repaired), ExtraValue(repaired));
        EXPECT_EQ(response.result.info, (InfoMap{{repaired, repaired}}));
    }
    EXPECT_EQ(encoder.rebuilds(), 1u);
    ByteVector message;
    wire::encode_metadata_response({{latin, latin}}, message);
    wire::Response response;
    wire::decode_response(message, response);
    EXPECT_EQ(response.metadata, (InfoMap{{repaired, repaired}}));
}

TEST(ObservationEncoder, TakesAnEmptyDtypeAsTheRightOne) {
    Observation obs = sample_observation(5);
    obs.cameras[0].image_dtype.clear();
    obs.cameras[0].depth_dtype.clear();
    EXPECT_EQ(built_anew(obs), built_anew(sample_observation(5)));
}

}  // namespace
}  // namespace chiral::test
