// SPDX-License-Identifier: Apache-2.0
// A robot with one camera and one stream, at a local socket of its own.
#pragma once

#include "local_support.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <memory>

namespace chiral::test {

inline constexpr int kHeight = 48, kWidth = 64;
inline constexpr std::size_t kPixels = std::size_t{kHeight} * kWidth * 3;

inline std::vector<CameraConfig> one_camera() { return {camera("wrist", kHeight, kWidth, 3, true)}; }

/// A server at a socket of its own, with one camera and one stream.
struct LocalRobot {
    explicit LocalRobot(const std::function<void(ServerOptions&)>& adjust = [](ServerOptions&) {})
        : server(one_camera(), {{"arm", 7}}, "127.0.0.1", 0, adjusted(adjust)) {
        server.serve();
    }
    ~LocalRobot() {
        server.stop();
        server.wait();
    }
    ServerOptions adjusted(const std::function<void(ServerOptions&)>& adjust) {
        ServerOptions options = local_options(log, folder);
        adjust(options);
        return options;
    }
    void publish(std::uint8_t value) {
        const std::vector<std::uint8_t> pixels(kPixels, value);
        const std::vector<float> depth(kPixels / 3, value);
        Frame frame = server.begin_frame(0);
        std::copy(pixels.begin(), pixels.end(), frame.image().begin());
        std::copy(depth.begin(), depth.end(), frame.depth().begin());
        EXPECT_TRUE(frame.commit().ok());
        const std::array<float, 7> joints{static_cast<float>(value), 1, 2, 3, 4, 5, 6};
        EXPECT_TRUE(server.update_proprio(0, joints.data(), joints.size()).ok());
    }
    /// In control as soon as whoever was has gone.
    std::unique_ptr<PolicyClient> connect() {
        auto client = std::make_unique<PolicyClient>(uri());
        const bool let_in = eventually([&] {
            try {
                client->connect();
                return true;
            } catch (const ConnectionError&) {
                return false;
            }
        });
        if (!let_in) throw std::runtime_error("never let in");
        return client;
    }
    std::string uri(const std::string& query = {}) const { return local_uri(folder, query); }

    OwnFolder folder;
    LogBook log;
    HookedServer server;
};

inline void expect_shows(const Observation& obs, std::uint8_t value) {
    const CameraInfo& wrist = obs["wrist"];
    ASSERT_EQ(wrist.image.size(), kPixels);
    EXPECT_TRUE(std::all_of(wrist.image.begin(), wrist.image.end(), [=](std::uint8_t p) { return p == value; }));
    ASSERT_EQ(wrist.depth_data.size(), kPixels / 3 * sizeof(float));
    float depth = 0;
    std::memcpy(&depth, wrist.depth_data.data(), sizeof depth);
    EXPECT_EQ(depth, value);
    EXPECT_EQ(obs.proprio("arm").data.front(), value);
}

}  // namespace chiral::test
