// SPDX-License-Identifier: Apache-2.0
// The caller of a client gets plain arrays, whatever came.
#include "imaging/unpack.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <numeric>

namespace chiral::imaging {
namespace {

constexpr ImageSize size{12, 16};

struct Message final : Loan {
    void add_ref() noexcept override { ++borrowers; }
    void drop_ref() noexcept override { --borrowers; }
    int borrowers{0};
    EncodedImage image;
    EncodedDepth depth;
};

std::vector<std::uint8_t> pixels(int seed) {
    std::vector<std::uint8_t> levels(12 * 16 * 3);
    std::iota(levels.begin(), levels.end(), static_cast<std::uint8_t>(seed));
    return levels;
}

// As it comes from the wire: borrowed from the message.
void receive(Observation& obs, Message& message, std::uint64_t sequence, int seed) {
    CameraWish wish;
    wish.image = ImageEncoding::png;
    wish.depth = DepthEncoding::millimetres;
    const std::vector<float> metres(12 * 16, 1.25f);
    ImageEncoder encoder;
    encoder.image(pixels(seed).data(), {size, 3}, wish, message.image);
    encoder.depth(metres.data(), size, wish, message.depth);
    obs.cameras.resize(1);
    CameraInfo& camera = obs.cameras[0];
    camera.name = "wrist";
    camera.sequence = camera.depth_sequence = sequence;
    camera.image_unchanged = camera.depth_unchanged = false;
    camera.intrinsics = Eigen::Matrix3d::Identity() * seed;
    camera.image_shape = {12, 16, 3};
    camera.image_dtype = "uint8";
    camera.image_encoding = ImageEncoding::png;
    camera.image.borrow(message.image.bytes.data(), message.image.bytes.size(), message);
    camera.has_depth = true;
    camera.depth_shape = {12, 16};
    camera.depth_dtype = "float32";
    camera.depth_encoding = DepthEncoding::millimetres;
    camera.depth_data.borrow(message.depth.bytes.data(), message.depth.bytes.size(), message);
}

float first_depth(const CameraInfo& camera) { return *reinterpret_cast<const float*>(camera.depth_data.data()); }

TEST(AnUnpacker, MakesPlainArraysInMemoryThatIsUsedAgain) {
    Unpacker unpacker;
    Observation obs;
    Message message;
    const std::uint8_t* memory = nullptr;
    for (int seed : {1, 2, 3}) {
        receive(obs, message, 1, seed);
        unpacker.unpack(obs, false);
        EXPECT_EQ(message.borrowers, 0);
        EXPECT_EQ(obs.cameras[0].image, ByteBuffer(pixels(seed)));
        EXPECT_EQ(obs.cameras[0].depth_data.size(), 12 * 16 * sizeof(float));
        EXPECT_EQ(first_depth(obs.cameras[0]), 1.25f);
        const ByteBuffer& image = obs.cameras[0].image;
        EXPECT_TRUE(memory == nullptr || image.data() == memory);
        memory = image.data();
    }
}

TEST(AnUnpacker, PutsWhatCameLastInPlaceOfWhatIsUnchanged) {
    Unpacker unpacker;
    Message message;
    Observation first, second;
    receive(first, message, 7, 5);
    unpacker.unpack(first, true);
    EXPECT_EQ(unpacker.have(), (std::map<std::string, wire::Have>{{"wrist", {7, 7}}}));
    receive(second, message, 7, 9);
    CameraInfo& camera = second.cameras[0];
    camera.image_unchanged = camera.depth_unchanged = true;
    camera.image.clear();
    camera.depth_data.clear();
    camera.image_shape = {6, 8, 3};  // as it would be by now
    unpacker.unpack(second, true);
    EXPECT_EQ(camera.image, ByteBuffer(pixels(5)));
    EXPECT_EQ(camera.image_shape, (std::vector<int>{12, 16, 3}));
    EXPECT_EQ(camera.intrinsics(0, 0), 5) << "the matrix of those pixels";
    EXPECT_EQ(first_depth(camera), 1.25f);
}

TEST(AnUnpacker, RefusesWhatIsUnchangedButNeverCame) {
    Unpacker unpacker;
    Message message;
    Observation obs;
    receive(obs, message, 7, 5);
    unpacker.unpack(obs, true);
    receive(obs, message, 8, 5);
    obs.cameras[0].image_unchanged = true;
    EXPECT_THROW(unpacker.unpack(obs, true), wire::DecodeError);
    receive(obs, message, 0, 5);
    obs.cameras[0].depth_unchanged = true;
    EXPECT_THROW(unpacker.unpack(obs, true), wire::DecodeError) << "number 0 is that of what was never published";
}

TEST(AnUnpacker, TakesAnImageThatIsNewWithADepthMapThatIsNot) {
    Unpacker unpacker;
    Message message;
    Observation first, second;
    receive(first, message, 7, 5);
    unpacker.unpack(first, true);
    receive(second, message, 7, 9);
    CameraInfo& camera = second.cameras[0];
    camera.sequence = 8;
    camera.depth_unchanged = true;
    camera.depth_data.clear();
    unpacker.unpack(second, true);
    EXPECT_EQ(camera.image, ByteBuffer(pixels(9)));
    EXPECT_EQ(first_depth(camera), 1.25f);
    EXPECT_EQ(camera.intrinsics(0, 0), 9);
    EXPECT_EQ(unpacker.have(), (std::map<std::string, wire::Have>{{"wrist", {8, 7}}}));
}

TEST(AnUnpacker, RemembersNoMoreCamerasThanCome) {
    Unpacker unpacker;
    Message message;
    Observation obs;
    for (int i = 0; i < 10; ++i) {
        receive(obs, message, 7, 5);
        obs.cameras[0].name = "camera " + std::to_string(i);
        unpacker.unpack(obs, true);
        EXPECT_EQ(unpacker.have().size(), 1u);
    }
}

TEST(AnUnpacker, NamesTheCameraOfAStreamThatIsBroken) {
    Message message;
    Observation obs;
    receive(obs, message, 7, 5);
    message.image.bytes[40] ^= 0xff;
    try {
        Unpacker().unpack(obs, true);
        ADD_FAILURE();
    } catch (const wire::DecodeError& error) {
        EXPECT_NE(std::string(error.what()).find("camera 'wrist': PNG: "), std::string::npos) << error.what();
    }
    receive(obs, message, 7, 5);
    obs.cameras[0].image_shape = {12, 16, 2};
    EXPECT_THROW(Unpacker().unpack(obs, true), wire::DecodeError);
    receive(obs, message, 7, 5);
    obs.cameras[0].image_shape = {};
    EXPECT_THROW(Unpacker().unpack(obs, true), wire::DecodeError);
}

TEST(AnUnpacker, ReadsThePngOfAnotherEncoder) {
    std::ifstream file(std::string(CHIRAL_VECTORS) + "/want/obs_response.bin", std::ios::binary);
    const std::vector<std::uint8_t> message{std::istreambuf_iterator<char>(file), {}};
    wire::Response response;
    wire::decode_response(message, response);
    Observation& obs = response.result.obs;
    obs.cameras.pop_back();  // of which nothing came
    Unpacker().unpack(obs, false);
    const std::vector<std::uint8_t> row{250, 0, 0, 250, 0, 0, 0, 0, 250, 0, 0, 250};
    EXPECT_TRUE(std::equal(row.begin(), row.end(), obs.cameras[0].image.begin()));
}

}  // namespace
}  // namespace chiral::imaging
