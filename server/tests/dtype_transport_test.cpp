// SPDX-License-Identifier: Apache-2.0
// The matrix: elements of every type, in every field that has elements, through every transport.
#include "local_support.hpp"

#include <chiral/client.hpp>
#include <chiral/server.hpp>
#include <chiral/slot.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace chiral::test {
namespace {

constexpr int kHeight = 3, kWidth = 5, kChannels = 2;

class Robot;

/// A way to the server. One line for each.
struct Transport {
    const char* name;
    std::string (*uri)(const Robot&);
    bool controls;  // may reset
};

DType type_at(std::size_t i) { return static_cast<DType>(i); }

/// For each type: an image [H, W, C] with depth float32, an image [H, W], a depth map beside an image of bytes, a stream.
std::vector<CameraConfig> cameras() {
    std::vector<CameraConfig> all;
    for (std::size_t i = 0; i < dtype_count; ++i) {
        const std::string type = to_string(type_at(i));
        CameraConfig& channels = all.emplace_back();
        channels.name = "image " + type;
        channels.height = kHeight;
        channels.width = kWidth;
        channels.channels = kChannels;
        channels.image_dtype = type_at(i);
        CameraConfig flat = channels;
        flat.name = "flat " + type;
        flat.channels = 1;
        flat.two_dimensional = true;
        CameraConfig depth = channels;
        depth.name = "depth " + type;
        depth.image_dtype = DType::uint8;
        depth.has_depth = true;
        depth.depth_dtype = type_at(i);
        depth.depth_unit = i % 2 == 0 ? 0.001 : 0.0;
        all.push_back(flat);
        all.push_back(depth);
    }
    return all;
}

std::vector<ProprioConfig> streams() {
    std::vector<ProprioConfig> all;
    for (std::size_t i = 0; i < dtype_count; ++i) {
        all.push_back({std::string("stream ") + to_string(type_at(i)), 3});
        all.back().dtype = type_at(i);
    }
    return all;
}

struct Touch {
    std::array<std::uint16_t, 6> pressure;
};

ServerOptions options(const OwnFolder& folder) {
    ServerOptions options;
    options.handle_signals = false;
    options.quiesce = {};
    options.max_observers = 1;
    options.max_observer_hz = 1000;
    options.log = [](const std::string&) {};
    options.local_socket = folder.socket();
    options.engine.slots = {slot_config<Touch>("touch", DType::uint16, {2, 3}), slot_config<double>("not carried")};
    return options;
}

// Before the server that listens there, which is a base.
struct Place {
    OwnFolder folder;
};

class Robot final : public Place, public PolicyServer {
public:
    Robot() : PolicyServer(cameras(), streams(), "127.0.0.1", 0, options(folder)) {
        for (std::size_t i = 0; i < configs_.size(); ++i) {
            const CameraConfig& config = configs_[i];
            const auto image = bytes(image_bytes(config), i, config.image_dtype);
            EXPECT_TRUE(update_image(i, image.data(), image.size()).ok());
            const auto depth = bytes(depth_bytes(config), i, config.depth_dtype);
            if (config.has_depth) {
                EXPECT_TRUE(update_depth(i, depth.data(), depth.size()).ok());
            }
        }
        for (std::size_t i = 0; i < proprio_configs_.size(); ++i) {
            // 0, 1, 1 in any type: for halves 1 is 0x3c00, for floats their own, else the integer.
            const DType type = proprio_configs_[i].dtype;
            std::vector<std::byte> sample(3 * size_of(type));
            for (std::size_t k = 1; k < 3; ++k)
                std::memcpy(sample.data() + k * size_of(type), one(type).data(), size_of(type));
            EXPECT_TRUE(engine().update_proprio_bytes(i, sample).ok());
        }
        EXPECT_TRUE(Slot<Touch>(engine(), "touch").update({{1, 2, 3, 4, 5, 60000}}).ok());
        serve();
    }
    ~Robot() override {
        stop();
        wait();
    }
    void apply_action(const Action&) override {}

    /// Of source `seed`; booleans are 0 or 1.
    static std::vector<std::uint8_t> bytes(std::size_t count, std::size_t seed, DType type) {
        std::vector<std::uint8_t> all(count);
        for (std::size_t i = 0; i < count; ++i)
            all[i] = static_cast<std::uint8_t>(type == DType::boolean ? (i + seed) % 2 : 7 * i + 31 * seed + 1);
        return all;
    }

private:
    static std::array<std::uint8_t, 8> one(DType type) {
        std::array<std::uint8_t, 8> bytes{1};
        const std::uint16_t half = 0x3c00;
        const float single = 1;
        const double whole = 1;
        if (type == DType::float16) std::memcpy(bytes.data(), &half, sizeof half);
        if (type == DType::float32) std::memcpy(bytes.data(), &single, sizeof single);
        if (type == DType::float64) std::memcpy(bytes.data(), &whole, sizeof whole);
        return bytes;
    }
};

void expect_all(const Observation& observation) {
    const auto configs = cameras();
    ASSERT_EQ(observation.cameras.size(), configs.size());
    for (std::size_t i = 0; i < configs.size(); ++i) {
        const CameraConfig& config = configs[i];
        const CameraInfo& camera = observation.cameras[i];
        SCOPED_TRACE(config.name);
        EXPECT_EQ(camera.image_dtype, to_string(config.image_dtype));
        EXPECT_EQ(camera.image_shape, config.two_dimensional ? (std::vector<int>{kHeight, kWidth})
                                                             : (std::vector<int>{kHeight, kWidth, kChannels}));
        EXPECT_EQ(std::vector<std::uint8_t>(camera.image), Robot::bytes(image_bytes(config), i, config.image_dtype));
        ASSERT_EQ(camera.has_depth, config.has_depth);
        if (!config.has_depth) continue;
        EXPECT_EQ(camera.depth_dtype, to_string(config.depth_dtype));
        EXPECT_EQ(camera.depth_shape, (std::vector<int>{kHeight, kWidth}));
        EXPECT_EQ(camera.depth_unit, config.depth_unit);
        EXPECT_EQ(std::vector<std::uint8_t>(camera.depth_data), Robot::bytes(depth_bytes(config), i, config.depth_dtype));
    }
    ASSERT_EQ(observation.proprios.size(), dtype_count);
    for (const ProprioInfo& proprio : observation.proprios)
        EXPECT_EQ(proprio.data, (std::vector<float>{0, 1, 1})) << proprio.name;
}

std::string websocket(const Robot& robot) { return "ws://127.0.0.1:" + std::to_string(robot.port()); }
std::string local(const Robot& robot) { return local_uri(robot.folder); }

const Transport transports[] = {
    {"websocket", websocket, true},
    {"websocket_observer", [](const Robot& robot) { return websocket(robot) + "/observe"; }, false},
    {"local", local, true},
    {"local_observer", [](const Robot& robot) { return local(robot) + "?observe=1"; }, false},
};

class EveryTransport : public ::testing::TestWithParam<Transport> {};

TEST_P(EveryTransport, CarriesEveryTypeInEveryField) {
    Robot robot;
    ClientOptions client_options;
    client_options.log = [](const std::string&) {};
    PolicyClient client(GetParam().uri(robot), client_options);
    client.connect();
    // The second time the header is written over, the third is another kind of answer.
    expect_all(client.get_obs());
    expect_all(client.get_obs());
    if (GetParam().controls) expect_all(client.reset().first);
}

TEST_P(EveryTransport, CarriesASlotThatHasAShape) {
    Robot robot;
    PolicyClient client(GetParam().uri(robot));
    client.connect();
    const Observation observation = client.get_obs();
    const std::vector<std::uint8_t>& map = observation.extra.encoded;
    const std::string text(map.begin(), map.end());
    EXPECT_NE(text.find("\xa5touch"), std::string::npos);
    EXPECT_NE(text.find(std::string("\xa5") + "dtype\xa6uint16"), std::string::npos);
    EXPECT_NE(text.find(std::string("\xa5") + "shape\x92\x02\x03"), std::string::npos);
    EXPECT_NE(text.find(std::string("\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\x60\xea", 12)), std::string::npos);
    EXPECT_EQ(text.find("not carried"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Transports, EveryTransport, ::testing::ValuesIn(transports),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace chiral::test
