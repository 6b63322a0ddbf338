// SPDX-License-Identifier: Apache-2.0
// A camera that delivers JPEG: a documented client gets pixels, one that wants JPEG gets the camera's own stream, and a stream that
// is broken ends nobody's connection. And what a declaration says of its numbers is in the metadata.
#include "imaging/codecs.hpp"

#include <chiral/client.hpp>
#include <chiral/server.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace chiral::test {
namespace {

constexpr int kHeight = 48, kWidth = 64;

std::vector<std::uint8_t> gradient(int level) {
    std::vector<std::uint8_t> pixels;
    for (int y = 0; y < kHeight; ++y)
        for (int x = 0; x < kWidth; ++x)
            for (const int value : {2 * x, 3 * y, level}) pixels.push_back(static_cast<std::uint8_t>(value));
    return pixels;
}

std::vector<std::uint8_t> jpeg_of(const std::vector<std::uint8_t>& pixels) {
    imaging::Jpeg jpeg;
    std::vector<std::uint8_t> stream;
    jpeg.encode(pixels.data(), {{kHeight, kWidth}, 3, ColourOrder::rgb}, 95, stream);
    return stream;
}

double distance(const ByteBuffer& image, const std::vector<std::uint8_t>& pixels) {
    if (image.size() != pixels.size()) return 1e9;
    double sum = 0;
    for (std::size_t i = 0; i < pixels.size(); ++i) sum += std::abs(image[i] - pixels[i]);
    return sum / static_cast<double>(pixels.size());
}

class Robot final : public PolicyServer {
public:
    Robot() : PolicyServer(cameras(), streams(), "127.0.0.1", 0, options()) { serve(); }
    ~Robot() override {
        stop();
        wait();
    }
    void apply_action(const Action&) override {}
    using PolicyServer::make_obs;
    using PolicyServer::update_image;

    std::string uri() const { return "ws://127.0.0.1:" + std::to_string(port()); }

private:
    static std::vector<CameraConfig> cameras() {
        CameraConfig uvc;
        uvc.name = "uvc";
        uvc.height = kHeight;
        uvc.width = kWidth;
        uvc.encoding = FrameEncoding::jpeg;
        CameraConfig plain = uvc;
        plain.name = "plain";
        plain.encoding = FrameEncoding::raw;
        plain.expected_hz = 12.5;
        return {uvc, plain};
    }
    static std::vector<ProprioConfig> streams() {
        ProprioConfig arm{"arm", 2};
        arm.element_names = {"shoulder", "elbow"};
        arm.unit = "rad";
        return {arm, {"silent", 1}};
    }
    static ServerOptions options() {
        ServerOptions options;
        options.handle_signals = false;
        options.quiesce = {};
        options.log = [](const std::string&) {};
        return options;
    }
};

TEST(ACameraOfJpegs, IsPixelsToADocumentedClient) {
    Robot robot;
    PolicyClient client(robot.uri());
    client.connect();
    {
        const Observation first = client.get_obs();
        const CameraInfo& before = first["uvc"];
        EXPECT_EQ(before.image_shape, (std::vector<int>{kHeight, kWidth, 3}));
        EXPECT_EQ(distance(before.image, std::vector<std::uint8_t>(gradient(0).size())), 0) << "zeros";
        EXPECT_EQ(before.status, SourceStatus::never);
    }
    for (const int level : {10, 200}) {
        const auto stream = jpeg_of(gradient(level));
        ASSERT_LT(stream.size(), gradient(level).size());
        ASSERT_TRUE(robot.update_image(0, stream.data(), stream.size()).ok());
        for (const Observation& obs : {client.get_obs(), client.reset().first}) {
            EXPECT_LT(distance(obs["uvc"].image, gradient(level)), 4.0);
            EXPECT_EQ(obs["uvc"].status, SourceStatus::fresh);
            EXPECT_EQ(obs["uvc"].image_dtype, "uint8");
        }
        const Observation own = robot.make_obs();
        EXPECT_EQ(std::vector<std::uint8_t>(own["uvc"].image), stream) << "the robot itself sees what the camera sent";
        EXPECT_EQ(own["uvc"].image_encoding, ImageEncoding::jpeg);
    }
}

TEST(ACameraOfJpegs, IsItsOwnStreamToWhoWantsJpeg) {
    Robot robot;
    const auto stream = jpeg_of(gradient(77));
    ASSERT_TRUE(robot.update_image(0, stream.data(), stream.size()).ok());
    PolicyClient client(robot.uri());
    client.connect();
    Want want;
    want.all.image = ImageEncoding::jpeg;
    const Observation whole = client.get_obs(want);
    EXPECT_LT(distance(whole["uvc"].image, gradient(77)), 4.0);
    EXPECT_EQ(whole["uvc"].image_encoding, ImageEncoding::jpeg);
    // One decoding of one encoding: the very pixels that the camera's stream has.
    std::vector<std::uint8_t> decoded(gradient(0).size());
    imaging::Jpeg().decode({stream.data(), stream.size()}, {{kHeight, kWidth}, 3, ColourOrder::rgb}, decoded.data());
    EXPECT_EQ(std::vector<std::uint8_t>(whole["uvc"].image), decoded);

    want.all.size = {kHeight / 2, kWidth / 2};
    const Observation half = client.get_obs(want);
    EXPECT_EQ(half["uvc"].image_shape, (std::vector<int>{kHeight / 2, kWidth / 2, 3})) << "another size is made of pixels";
}

TEST(ACameraOfJpegs, ThatSendsABrokenOneIsBlackForOnce) {
    Robot robot;
    PolicyClient client(robot.uri());
    client.connect();
    const auto good = jpeg_of(gradient(50));
    auto broken = good;
    broken.resize(broken.size() / 2);
    ASSERT_TRUE(robot.update_image(0, broken.data(), broken.size()).ok()) << "nobody has looked into it yet";
    const Observation obs = client.get_obs();
    EXPECT_EQ(distance(obs["uvc"].image, std::vector<std::uint8_t>(gradient(0).size())), 0);
    EXPECT_EQ(obs["uvc"].status, SourceStatus::never);
    EXPECT_EQ(robot.stats().update_errors, 1u);
    EXPECT_EQ(robot.stats().hook_errors, 0u);
    ASSERT_TRUE(robot.update_image(0, good.data(), good.size()).ok());
    EXPECT_LT(distance(client.get_obs()["uvc"].image, gradient(50)), 4.0) << "on the same connection";
}

TEST(TheMetadata, SayWhatNumbersMeanWhereADeclarationDoes) {
    Robot robot;
    PolicyClient client(robot.uri());
    client.connect();
    const InfoMap metadata = client.get_metadata();
    ASSERT_TRUE(metadata.contains("chiral.sources"));
    const std::string& json = metadata.at("chiral.sources");
    for (const char* part : {"\"arm\"", "\"elements\"", "\"shoulder\"", "\"elbow\"", "\"unit\"", "\"rad\"", "\"plain\"",
                             "\"expected_hz\"", "12.5"})
        EXPECT_NE(json.find(part), std::string::npos) << part << " in " << json;
    EXPECT_EQ(json.find("silent"), std::string::npos);
    EXPECT_EQ(json.find("uvc"), std::string::npos);
}

}  // namespace
}  // namespace chiral::test
