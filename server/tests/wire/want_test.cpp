// SPDX-License-Identifier: Apache-2.0
// What a client wants arrives as it was meant, and changes not a byte for clients that want nothing.
#include "frames.hpp"

#include <cmath>
#include <map>
#include <string>

namespace chiral::test {
namespace {

wire::Request decoded(const ByteVector& message) {
    wire::Request request;
    wire::decode_request(message, request);
    return request;
}

Json request_with(const Json& want) { return {{"type", "obs_request"}, {"want", want}}; }

TEST(AWant, OfAnotherEncoderArrivesAsItWasMeant) {
    const wire::Request request = decoded(golden_frame("want/obs_request"));
    ASSERT_TRUE(request.want);
    CameraWish all{{224, 320}, Fit::pad, ImageEncoding::jpeg, 80, ColourOrder::rgb, DepthEncoding::millimetres};
    EXPECT_EQ(request.want->want.all, all);
    const CameraWish wrist{{}, Fit::pad, ImageEncoding::png, 80, ColourOrder::bgr, DepthEncoding::none};
    EXPECT_EQ(request.want->want.of("wrist"), wrist) << "what a camera does not say is as for all";
    CameraWish rear = all;
    rear.image = ImageEncoding::none;
    EXPECT_EQ(request.want->want.of("rear"), rear);
    EXPECT_EQ(request.want->want.of("head"), all);
    EXPECT_EQ(request.want->want.proprios, std::vector<std::string>{"joint_pos"});
    EXPECT_TRUE(request.want->want.only_if_newer);
    EXPECT_EQ(request.want->have, (std::map<std::string, wire::Have>{{"wrist", {7, 5}}}));
    EXPECT_EQ(request.want->took, 0.04);
    EXPECT_EQ(request.want->want.budget, (WantBudget{1e6, 0, 40, 0.25, WantBudget{}.min_hz}));
}

TEST(AWant, ComesBackTheSame) {
    wire::WantRequest request;
    request.want.all.size = {224, 224};
    request.want.cameras["wrist"] = {};  // its own size, although `all` says another
    request.want.cameras["head"] = {{3, 5}, Fit::crop, ImageEncoding::zstd, 1, ColourOrder::bgr, DepthEncoding::lossless};
    std::vector<std::uint8_t> message;
    const auto expect_same = [&] {
        wire::encode_obs_request(request, message);
        const wire::Request back = decoded(message);
        ASSERT_TRUE(back.want);
        EXPECT_EQ(back.want->want, request.want);
        EXPECT_EQ(back.want->have, request.have);
        EXPECT_EQ(back.want->took, request.took);
    };
    expect_same();
    request.want.proprios = std::vector<std::string>{};
    request.want.only_if_newer = true;
    request.have = {{"wrist", {1u << 31, 3}}};
    request.want.budget = WantBudget{1e6, 0.05, 20, 0.3, 2};
    request.took = 0.25;
    expect_same();
    request = {};
    expect_same();
}

TEST(AWant, ThatIsOutOfBoundsIsRefusedInWords) {
    const std::map<std::string, Json> refused{
        {"want is an array of 0, expected a map", Json::array()},
        {"want: size is an array of 3", {{"size", {1, 2, 3}}}},
        {"want: a side of size is the integer 0", {{"size", {0, 224}}}},
        {"want: a side of size is the integer 9000", {{"size", {9000, 1}}}},
        {"size is [8192, 8192]", {{"size", {8192, 8192}}}},
        {"fit is the string 'squeeze', expected stretch, crop or pad", {{"fit", "squeeze"}}},
        {"image is the integer 3, expected none, raw, jpeg, png or zstd", {{"image", 3}}},
        {"quality is the integer 0, expected a number from 1 to 100", {{"quality", 0}}},
        {"quality is the float 2.5, expected a whole number", {{"quality", 2.5}}},
        {"camera 'wrist': depth is the string 'deep'", {{"cameras", {{"wrist", {{"depth", "deep"}}}}}}},
        {"camera 'wrist': wish is true", {{"cameras", {{"wrist", true}}}}},
        {"proprios is the string 'all'", {{"proprios", "all"}}},
        {"a name in proprios is the integer 1", {{"proprios", {1}}}},
        {"only_if_newer is the integer 1", {{"only_if_newer", 1}}},
        {"camera 'wrist': have is the integer 7, expected two integers", {{"have", {{"wrist", 7}}}}},
        {"camera 'wrist': a number in have is the integer -1", {{"have", {{"wrist", {-1, 0}}}}}},
        {"took is the float -0.5, expected a number from 0 to 3600", {{"took", -0.5}}},
        {"min_scale is the float 1.5", {{"budget", {{"min_scale", 1.5}}}}},
        {"bytes_per_second is the float nan", {{"budget", {{"bytes_per_second", std::nan("")}}}}},
    };
    for (const auto& [because, want] : refused) try {
            decoded(frame(request_with(want)));
            ADD_FAILURE() << "was taken: " << want;
        } catch (const wire::DecodeError& error) {
            EXPECT_NE(std::string(error.what()).find(because), std::string::npos) << error.what();
        }
}

TEST(AWant, OfTooManyCamerasIsRefused) {
    Json cameras;
    for (int i = 0; i < 257; ++i) cameras["camera " + std::to_string(i)] = Json::object();
    EXPECT_THROW(decoded(frame(request_with({{"cameras", cameras}}))), wire::DecodeError);
}

TEST(AWant, ThatTheServerWouldRefuseIsNotSent) {
    wire::WantRequest request;
    request.want.all.quality = 101;
    std::vector<std::uint8_t> message;
    EXPECT_THROW(wire::encode_obs_request(request, message), std::invalid_argument);
}

TEST(AClientThatWantsNothing, AsksAsEverAndSaysSo) {
    EXPECT_FALSE(decoded(golden_frame("client_obs_request")).want);
    EXPECT_FALSE(decoded(frame(request_with(nullptr))).want);
    wire::Request reused = decoded(golden_frame("want/obs_request"));
    wire::decode_request(golden_frame("client_obs_request"), reused);
    EXPECT_FALSE(reused.want) << "of the request before";
}

TEST(AClientThatWantsNothing, GetsNotAByteMore) {
    Observation plain = sample_observation(3);
    wire::ObservationEncoder before, after;
    before.encode_obs_response(plain);
    for (CameraInfo& camera : plain.cameras) camera.depth_sequence = 7;
    after.encode_wanted_response(plain);
    EXPECT_NE(joined(after), joined(before));
    after.encode_obs_response(plain);
    EXPECT_EQ(joined(after), joined(before)) << "also behind the answer to a client that does";
}

TEST(AnAnswerToAWant, CarriesEncodedBytesAndWhatTheyWillBecome) {
    Observation obs = sample_observation(1);
    ASSERT_GE(obs.cameras.size(), 1u);
    CameraInfo& camera = obs.cameras.front();
    camera.depth_sequence = 70000;
    camera.image = std::vector<std::uint8_t>{1, 2, 3};
    camera.image_encoding = ImageEncoding::jpeg;
    camera.image_order = ColourOrder::bgr;
    if (camera.has_depth) {
        camera.depth_data = std::vector<std::uint8_t>{4, 5};
        camera.depth_encoding = DepthEncoding::millimetres_png;
    }
    wire::ObservationEncoder encoder;
    EXPECT_THROW(encoder.encode_obs_response(obs), std::invalid_argument) << "which would be garbage to others";
    encoder.encode_wanted_response(obs);
    wire::Response response;
    wire::decode_response(joined(encoder), response);
    const CameraInfo& back = response.result.obs.cameras.front();
    EXPECT_EQ(back.depth_sequence, camera.depth_sequence);
    EXPECT_FALSE(back.image_unchanged || back.depth_unchanged);
    EXPECT_EQ(back.image, camera.image);
    EXPECT_EQ(back.image_shape, camera.image_shape);
    EXPECT_EQ(back.image_encoding, camera.image_encoding);
    EXPECT_EQ(back.image_order, camera.image_order);
    EXPECT_EQ(back.depth_data, camera.depth_data);
    EXPECT_EQ(back.depth_encoding, camera.depth_encoding);
}

TEST(AnAnswerToAWant, OfAnotherEncoderIsRead) {
    wire::Response response;
    wire::decode_response(golden_frame("want/obs_response"), response);
    const Observation& obs = response.result.obs;
    EXPECT_EQ(obs["wrist"].image_encoding, ImageEncoding::png);
    EXPECT_EQ(obs["wrist"].sequence, 9u);
    EXPECT_FALSE(obs["wrist"].image_unchanged);
    EXPECT_EQ(obs["wrist"].image_shape, (std::vector<int>{2, 4, 3}));
    EXPECT_GT(obs["wrist"].image.size(), 24u);
    EXPECT_TRUE(obs["rear"].image_unchanged && obs["rear"].depth_unchanged);
    EXPECT_TRUE(obs["rear"].image.empty());
    EXPECT_EQ(obs["rear"].depth_encoding, DepthEncoding::millimetres);
}

TEST(AnAnswerToAWant, ThatAnnouncesMoreThanIsAcceptedIsRefused) {
    Json camera = {{"name", "c"},
                   {"timestamp", 0.5},
                   {"intrinsics", std::vector<double>(9, 0.5)},
                   {"image_dtype", "uint8"},
                   {"image_encoding", "zstd"},
                   {"extrinsics", std::vector<double>(16, 0.5)},
                   {"image_offset", 0},
                   {"image_size", 4},
                   {"image_shape", {16384, 16384, 3}}};
    const auto decode = [&] {
        wire::Response response;
        wire::decode_response(
            frame({{"type", "obs_response"}, {"timestamp", 0.5}, {"cameras", {camera}}, {"proprios", Json::array()}},
                  ByteVector(4, 0)),
            response);
    };
    EXPECT_THROW(decode(), wire::DecodeError);
    camera["image_shape"] = {100, 100, 3};
    EXPECT_NO_THROW(decode());
    camera["image_encoding"] = "webp";
    EXPECT_THROW(decode(), wire::DecodeError);
}

}  // namespace
}  // namespace chiral::test
