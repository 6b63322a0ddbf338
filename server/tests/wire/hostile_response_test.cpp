// SPDX-License-Identifier: Apache-2.0
// What a hostile or broken server may send, and what the client makes of it.
#include "frames.hpp"

#include <functional>
#include <limits>

namespace chiral::test {
namespace {

void refused(const ByteVector& message, const std::string& part, const wire::Limits& limits = {}) {
    wire::Response response;
    expect_throw<wire::DecodeError>([&] { wire::decode_response(message, response, limits); }, part);
}

// One camera with a 2x2 RGB image at 0..11 and depth at 12..27, one proprio of 3 floats at 28..39.
const ByteVector payload(40, 1);

Json good_header() {
    Json camera = {{"name", "wrist"},
                   {"timestamp", 12.25},
                   {"intrinsics", std::vector<double>(9, 1.0)},
                   {"extrinsics", std::vector<double>(16, 2.0)},
                   {"image_shape", {2, 2, 3}},
                   {"image_dtype", "uint8"},
                   {"image_offset", 0},
                   {"image_size", 12},
                   {"depth_shape", {2, 2}},
                   {"depth_dtype", "float32"},
                   {"depth_offset", 12},
                   {"depth_size", 16},
                   {"sequence", 4},
                   {"missed", 1},
                   {"status", 1}};
    Json proprio = {{"name", "joints"}, {"dtype", "float32"}, {"offset", 28}, {"size", 12}, {"timestamp", 12.5}};
    return {{"type", "obs_response"},
            {"timestamp", 0.5},
            {"cameras", {camera}},
            {"proprios", {proprio}},
            {"extra", Json::object()}};
}

struct Change {
    Json value;  // discarded: the key is erased
    std::string message;
};

const Json erased = Json(Json::value_t::discarded);
constexpr std::uint64_t largest = std::numeric_limits<std::uint64_t>::max();

// Sets `key` of the map that `select` finds in a good header to each value, and expects each message.
template <class Select>
void refused_with(const char* key, const std::vector<Change>& changes, Select select) {
    for (const Change& change : changes) {
        Json header = good_header();
        Json& map = select(header);
        if (change.value.is_discarded()) {
            map.erase(key);
        } else {
            map[key] = change.value;
        }
        refused(frame(header, payload), change.message);
    }
}

void camera_refused(const char* key, const std::vector<Change>& changes) {
    refused_with(key, changes, [](Json& header) -> Json& { return header.at("cameras")[0]; });
}

void proprio_refused(const char* key, const std::vector<Change>& changes) {
    refused_with(key, changes, [](Json& header) -> Json& { return header.at("proprios")[0]; });
}

void header_refused(const char* key, const std::vector<Change>& changes) {
    refused_with(key, changes, [](Json& header) -> Json& { return header; });
}

TEST(HostileResponse, TheUnchangedHeaderIsGood) {
    wire::Response response;
    wire::decode_response(frame(good_header(), payload), response);
    EXPECT_EQ(response.result.obs["wrist"].status, SourceStatus::fresh);
    EXPECT_EQ(response.result.obs.proprio("joints").data.size(), 3u);
}

TEST(HostileResponse, Type) {
    header_refused("type", {{erased, "response: type is missing, expected a string"},
                            {7, "response: type is the integer 7, expected a string"},
                            {"apply_action", "response: type is 'apply_action', expected metadata_response"}});
}

TEST(HostileResponse, ObservationFields) {
    header_refused("timestamp", {{erased, "obs_response: timestamp is missing, expected a number"},
                                 {"now", "obs_response: timestamp is the string 'now', expected a number"}});
    header_refused("snapshot_time", {{"now", "obs_response: snapshot_time is the string 'now', expected a number"}});
    header_refused("cameras",
                   {{erased, "obs_response: cameras is missing, expected an array"},
                    {Json::object(), "obs_response: cameras is a map of 0, expected an array"},
                    {Json::array({5}), "obs_response: cameras[0] is the integer 5, expected a map"},
                    {Json::array({Json::object()}), "obs_response: cameras[0]: name is missing, expected a string"}});
    header_refused("proprios",
                   {{erased, "obs_response: proprios is missing, expected an array"},
                    {Json::array({nullptr}), "obs_response: proprios[0] is nil, expected a map"},
                    {Json::array({Json{{"name", 5}}}), "obs_response: proprios[0]: name is the integer 5, expected"}});
    header_refused("extra", {{Json::array(), "obs_response: extra is an array of 0, expected a map"}});
}

TEST(HostileResponse, CameraNumbers) {
    camera_refused("timestamp", {{erased, "obs_response: camera 'wrist': timestamp is missing, expected a number"},
                                 {false, "obs_response: camera 'wrist': timestamp is false, expected a number"}});
    camera_refused("intrinsics",
                   {{erased, "camera 'wrist': intrinsics is missing, expected an array of 9 numbers"},
                    {std::vector<int>(8, 1), "camera 'wrist': intrinsics is an array of 8, expected an array of 9"},
                    {std::vector<int>(10, 1), "camera 'wrist': intrinsics is an array of 10, expected an array of 9"},
                    {std::vector<std::string>(9, "1"), "camera 'wrist': intrinsics is the string '1', expected a"}});
    camera_refused("extrinsics",
                   {{std::vector<int>(9, 1), "camera 'wrist': extrinsics is an array of 9, expected an array of 16"},
                    {std::vector<std::vector<int>>(16), "camera 'wrist': extrinsics is an array of 0, expected"}});
    camera_refused("sequence", {{-1, "camera 'wrist': sequence is the integer -1, expected an integer that"}});
    camera_refused("missed", {{0.5, "camera 'wrist': missed is the float 0.5, expected an integer that is"}});
    camera_refused("status", {{"fresh", "camera 'wrist': status is the string 'fresh', expected an integer"}});
}

TEST(HostileResponse, ImageShapes) {
    camera_refused("image_shape",
                   {{erased, "camera 'wrist': image_shape is missing, expected [H, W, C], [H, W] or []"},
                    {nullptr, "camera 'wrist': image_shape is nil, expected [H, W, C], [H, W] or []"},
                    {{12}, "camera 'wrist': image_shape is an array of 1, expected [H, W, C], [H, W] or []"},
                    {{4, 4}, "camera 'wrist': image is 12 bytes, shape [4, 4] uint8 needs 16"},
                    {{2, 2, 3, 1}, "camera 'wrist': image_shape is an array of 4, expected [H, W, C], [H, W] or []"},
                    {Json::array(), "camera 'wrist': image is 12 bytes, shape [] uint8 needs 0"},
                    {{0, 2, 3}, "camera 'wrist': image_shape has the integer 0 at index 0, expected integers from 1"},
                    {{-2, -2, 3}, "camera 'wrist': image_shape has the integer -2 at index 0"},
                    {{2, 2.0, 3}, "camera 'wrist': image_shape has the float 2 at index 1"},
                    {{2, 2, 4}, "camera 'wrist': image is 12 bytes, shape [2, 2, 4] uint8 needs 16"},
                    {{2147483647, 2147483647, 2147483647},
                     "camera 'wrist': image is 12 bytes, shape [2147483647, 2147483647, 2147483647] uint8 needs 1844"},
                    {{2, 2147483648, 3}, "camera 'wrist': image_shape has the integer 2147483648 at index 1"},
                    {{largest, 2, 3}, "camera 'wrist': image_shape has the integer 18446744073709551615 at index 0"}});
    constexpr const char* expected = "expected little-endian bool, uint8, ";
    for (const char* type :
         {"object", "|O", ">u2", "|u2", "complex64", "<U3", "|S1", "|V4", "str", "datetime64[ns]", "", "<", "u"})
        camera_refused("image_dtype", {{type, expected}});
    camera_refused("image_dtype", {{erased, "camera 'wrist': image_dtype is missing, expected little-endian bool"},
                                   {1, "image_dtype is the integer 1, expected little-endian bool"},
                                   {"float32", "camera 'wrist': image is 12 bytes, shape [2, 2, 3] float32 needs 48"},
                                   {"<u2", "camera 'wrist': image is 12 bytes, shape [2, 2, 3] uint16 needs 24"}});
}

TEST(HostileResponse, ImageOffsetsAndSizes) {
    camera_refused("image_offset",
                   {{erased, "camera 'wrist': image_offset is missing, expected an integer that is not negative"},
                    {-1, "camera 'wrist': image_offset is the integer -1, expected an integer that is not negative"},
                    {0.0, "camera 'wrist': image_offset is the float 0, expected an integer"},
                    {29, "camera 'wrist': image of 12 bytes at offset 29 lies outside the payload of 40 bytes"},
                    {41, "camera 'wrist': image of 12 bytes at offset 41 lies outside the payload of 40 bytes"},
                    {largest, "image of 12 bytes at offset 18446744073709551615 lies outside the payload"},
                    {largest - 11, "image of 12 bytes at offset 18446744073709551604 lies outside the payload"}});
    camera_refused("image_size",
                   {{erased, "camera 'wrist': image_size is missing, expected an integer that is not negative"},
                    {-12, "camera 'wrist': image_size is the integer -12, expected an integer that is not negative"},
                    {11, "camera 'wrist': image is 11 bytes, shape [2, 2, 3] uint8 needs 12"},
                    {largest, "camera 'wrist': image is 18446744073709551615 bytes, shape [2, 2, 3] uint8 needs 12"}});
    // Shape and size agree about more than there is.
    Json header = good_header();
    header.at("cameras")[0]["image_shape"] = {1000000, 1000, 1000};
    header.at("cameras")[0]["image_size"] = 1000000000000;
    refused(frame(header, payload), "image of 1000000000000 bytes at offset 0 lies outside the payload of 40 bytes");
    header.at("cameras")[0]["image_shape"] = {2147483647, 2147483647, 2147483647};
    header.at("cameras")[0]["image_size"] = largest;
    refused(frame(header, payload), "image of 18446744073709551615 bytes at offset 0 lies outside the payload");
}

TEST(HostileResponse, Depth) {
    camera_refused("depth_shape", {{{2}, "camera 'wrist': depth_shape is an array of 1, expected [H, W]"},
                                   {{2, 2, 1}, "camera 'wrist': depth_shape is an array of 3, expected [H, W]"},
                                   {Json::array(), "camera 'wrist': depth_shape is an array of 0, expected [H, W]"},
                                   {{2, 3}, "camera 'wrist': depth is 16 bytes, shape [2, 3] float32 needs 24"},
                                   {{2147483647, 2147483647}, "camera 'wrist': depth is 16 bytes, shape"}});
    camera_refused("depth_dtype",
                   {{"uint16", "camera 'wrist': depth is 16 bytes, shape [2, 2] uint16 needs 8"},
                    {"object", "camera 'wrist': depth_dtype is the string 'object', expected little-endian"}});
    camera_refused("depth_unit", {{-0.001, "camera 'wrist': depth_unit is the float -0.001, expected metres"},
                                  {"mm", "camera 'wrist': depth_unit is the string 'mm', expected a number"}});
    camera_refused("depth_offset", {{erased, "camera 'wrist': depth_offset is missing"},
                                    {25, "camera 'wrist': depth of 16 bytes at offset 25 lies outside the payload"}});
    camera_refused("depth_size", {{erased, "camera 'wrist': depth_size is missing"},
                                  {4, "camera 'wrist': depth is 4 bytes, shape [2, 2] float32 needs 16"}});
}

TEST(HostileResponse, Proprios) {
    proprio_refused("dtype", {{"float64", "proprio 'joints': dtype is the string 'float64', expected float32"},
                              {erased, "proprio 'joints': dtype is missing, expected little-endian bool"}});
    proprio_refused("size", {{10, "proprio 'joints': size is 10 bytes, expected a multiple of 4 for float32"},
                             {16, "proprio 'joints': data of 16 bytes at offset 28 lies outside the payload"},
                             {largest - 3, "proprio 'joints': data of 18446744073709551612 bytes at offset 28 lies"},
                             {"12", "proprio 'joints': size is the string '12', expected an integer"}});
    proprio_refused("offset", {{erased, "proprio 'joints': offset is missing"},
                               {-4, "proprio 'joints': offset is the integer -4, expected an integer that is not"},
                               {largest, "proprio 'joints': data of 12 bytes at offset 18446744073709551615 lies"}});
    proprio_refused("timestamp", {{"late", "proprio 'joints': timestamp is the string 'late', expected a number"}});
    proprio_refused("status", {{-1, "proprio 'joints': status is the integer -1, expected an integer that is"}});
}

TEST(HostileResponse, PiecesThatShareBytesCannotClaimMoreThanThePayload) {
    Json header = good_header();
    header.at("proprios") = {{{"name", "joints"}, {"dtype", "float32"}, {"offset", 0}, {"size", 40}}};
    refused(frame(header, payload), "proprio 'joints': data of 40 bytes overlaps another piece, only 12 bytes");
    header = good_header();
    header.at("cameras").push_back(header.at("cameras")[0]);
    header.at("cameras")[1]["name"] = "again";
    refused(frame(header, payload), "camera 'again': depth of 16 bytes overlaps another piece, only 0 bytes");
}

TEST(HostileResponse, TooManySources) {
    Json header = good_header();
    header["cameras"] = std::vector<int>(257, 0);
    refused(frame(header, payload), "obs_response: 257 cameras, at most 256 accepted");
    header = good_header();
    header["proprios"] = std::vector<int>(257, 0);
    refused(frame(header, payload), "obs_response: 257 proprios, at most 256 accepted");
    wire::Limits limits;
    limits.max_cameras = 0;
    refused(frame(good_header(), payload), "obs_response: 1 cameras, at most 0 accepted", limits);
}

TEST(HostileResponse, NamesInMessagesArePrintable) {
    camera_refused("name", {{erased, "obs_response: cameras[0]: name is missing, expected a string"},
                            {7, "obs_response: cameras[0]: name is the integer 7, expected a string"}});
    Json header = good_header();
    header.at("cameras")[0]["name"] = "a\x1b\n\u00fc";
    header.at("cameras")[0].erase("timestamp");
    refused(frame(header, payload), "obs_response: camera 'a" + std::string(4, '?') + "': timestamp is missing");
}

TEST(HostileResponse, ResultsAndMetadata) {
    Json header = good_header();
    header["type"] = "step_response";
    refused(frame(header, payload), "step_response: reward is missing, expected a number");
    header["reward"] = 1;
    refused(frame(header, payload), "step_response: terminated is missing, expected true or false");
    header["terminated"] = 1;
    refused(frame(header, payload), "step_response: terminated is the integer 1, expected true or false");
    header["terminated"] = true;
    header["truncated"] = false;
    wire::Response response;
    EXPECT_NO_THROW(wire::decode_response(frame(header, payload), response));
    EXPECT_EQ(response.result.reward, 1.f);
    header["info"] = "text";
    refused(frame(header, payload), "step_response: info is the string 'text', expected a map");

    refused(frame({{"type", "metadata_response"}}), "metadata_response: data is missing, expected a map");
    refused(frame({{"type", "metadata_response"}, {"data", {1}}}), "data is an array of 1, expected a map");
    refused(frame({{"type", "metadata_response"}, {"data", Json::object()}}, {1}),
            "metadata_response: payload is 1 bytes, expected none");
}

TEST(Response, OptionalFieldsMayBeMissingOrNil) {
    Json header = good_header();
    Json& camera = header.at("cameras")[0];
    for (const char* key : {"sequence", "missed", "status"}) camera.erase(key);
    camera["depth_shape"] = nullptr;
    header.erase("extra");
    wire::Response response;
    response.result.obs = sample_observation(3);
    wire::decode_response(frame(header, payload), response);
    const CameraInfo& decoded = response.result.obs["wrist"];
    EXPECT_FALSE(decoded.has_depth);
    EXPECT_TRUE(decoded.depth_data.empty());
    EXPECT_EQ(decoded.sequence, 0u);
    EXPECT_EQ(decoded.missed, 0u);
    EXPECT_EQ(decoded.status, SourceStatus::never);
    EXPECT_EQ(response.result.obs.snapshot_time, 0.0);
    EXPECT_TRUE(response.result.obs.extra.empty());
    camera["depth_shape"] = {2, 2};
    header["extra"] = nullptr;
    header["info"] = nullptr;
    header["type"] = "reset_response";
    EXPECT_NO_THROW(wire::decode_response(frame(header, payload), response));
}

TEST(Response, AStatusFromANewerPeerCountsAsStale) {
    for (const std::uint64_t status : {std::uint64_t{5}, std::uint64_t{127}, largest}) {
        Json header = good_header();
        header.at("cameras")[0]["status"] = status;
        wire::Response response;
        wire::decode_response(frame(header, payload), response);
        EXPECT_EQ(response.result.obs["wrist"].status, SourceStatus::stale);
    }
}

TEST(Response, UnclaimedPayloadIsLeftAlone) {
    Json header = good_header();
    header["cameras"] = Json::array();
    wire::Response response;
    EXPECT_NO_THROW(wire::decode_response(frame(header, payload), response));
}

}  // namespace
}  // namespace chiral::test
