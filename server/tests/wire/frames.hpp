// SPDX-License-Identifier: Apache-2.0
// What the wire tests share: golden frames, frames built by another MessagePack encoder (nlohmann::json), sample
// observations and their comparison.
#pragma once

#include <chiral/wire.hpp>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace chiral::test {

using Json = nlohmann::json;
using ByteVector = std::vector<std::uint8_t>;

inline ByteVector read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline ByteVector golden_frame(const std::string& name) {
    return read_file(std::string(CHIRAL_VECTORS) + '/' + name + ".bin");
}

inline Json golden_manifest() { return Json::parse(read_file(std::string(CHIRAL_VECTORS) + "/manifest.json")); }

/// A frame around a header that is already encoded.
inline ByteVector raw_frame(const ByteVector& header, const ByteVector& payload = {}) {
    const auto length = static_cast<std::uint32_t>(header.size());
    ByteVector frame(4 + header.size() + payload.size());
    for (unsigned i = 0; i < 4; ++i) frame[i] = static_cast<std::uint8_t>(length >> 8 * i);
    std::copy(payload.begin(), payload.end(), std::copy(header.begin(), header.end(), frame.begin() + 4));
    return frame;
}

inline ByteVector frame(const Json& header, const ByteVector& payload = {}) {
    return raw_frame(Json::to_msgpack(header), payload);
}

inline ByteVector as_bytes(const std::vector<float>& values) {
    ByteVector bytes(values.size() * sizeof(float));
    if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

inline std::string hex(const std::uint8_t* bytes, std::size_t size) {
    constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (std::size_t i = 0; i < size; ++i) {
        text += digits[bytes[i] >> 4];
        text += digits[bytes[i] & 15];
    }
    return text;
}

inline std::string hex(const ByteBuffer& bytes) { return hex(bytes.data(), bytes.size()); }

/// Head and payload pieces as one message.
inline ByteVector joined(const wire::ObservationEncoder& encoder) {
    ByteVector message(encoder.head().begin(), encoder.head().end());
    for (const wire::Bytes& piece : encoder.payload()) message.insert(message.end(), piece.begin(), piece.end());
    EXPECT_EQ(message.size(), encoder.total_bytes());
    return message;
}

/// Every number of it depends on `seed`, nothing else does.
inline CameraInfo sample_camera(const std::string& name, int height, int width, int channels, bool depth, int seed) {
    CameraInfo camera;
    camera.name = name;
    for (int row = 0; row < 3; ++row)
        for (int column = 0; column < 3; ++column) camera.intrinsics(row, column) = seed + row * 10 + column + 0.25;
    for (int row = 0; row < 4; ++row)
        for (int column = 0; column < 4; ++column) camera.extrinsics(row, column) = -seed - row * 10 - column - 0.125;
    camera.timestamp = 1000.0 + seed;
    camera.image_shape = {height, width, channels};
    camera.image_dtype = "uint8";
    camera.image.resize(static_cast<std::size_t>(height * width * channels));
    for (std::size_t i = 0; i < camera.image.size(); ++i)
        camera.image[i] = static_cast<std::uint8_t>(i * 7 + static_cast<std::size_t>(seed));
    if (depth) {
        camera.has_depth = true;
        camera.depth_shape = {height, width};
        camera.depth_dtype = "float32";
        std::vector<float> metres(static_cast<std::size_t>(height * width));
        for (std::size_t i = 0; i < metres.size(); ++i) metres[i] = static_cast<float>(seed) + 0.5f * static_cast<float>(i);
        camera.depth_data = as_bytes(metres);
    }
    camera.sequence = static_cast<std::uint64_t>(seed) + 5;
    camera.missed = static_cast<std::uint64_t>(seed) * 3;
    camera.status = static_cast<SourceStatus>(seed % 5);
    return camera;
}

inline ProprioInfo sample_proprio(const std::string& name, std::size_t size, int seed) {
    ProprioInfo proprio;
    proprio.name = name;
    for (std::size_t i = 0; i < size; ++i) proprio.data.push_back(static_cast<float>(seed) - 0.75f * static_cast<float>(i));
    proprio.timestamp = 2000.0 + seed;
    proprio.sequence = static_cast<std::uint64_t>(seed) + 9;
    proprio.missed = static_cast<std::uint64_t>(seed);
    proprio.status = static_cast<SourceStatus>((seed + 1) % 5);
    return proprio;
}

/// A camera with depth, one without, one without an image, and two proprios. Layout is the same for every seed.
inline Observation sample_observation(int seed) {
    Observation obs;
    obs.timestamp = 0.05 * seed;
    obs.snapshot_time = 3000.0 + seed;
    obs.cameras.push_back(sample_camera("wrist_cam_with_a_long_name", 4, 6, 3, true, seed));
    obs.cameras.push_back(sample_camera("head", 3, 5, 1, false, seed + 1));
    obs.cameras.push_back(sample_camera("unplugged", 0, 0, 0, false, seed + 2));
    obs.cameras.back().image_shape.clear();
    obs.proprios.push_back(sample_proprio("joint_pos", 7, seed));
    obs.proprios.push_back(sample_proprio("gripper", 1, seed + 1));
    obs.extra["episode"] = std::int64_t{seed};
    obs.extra["gain"] = 0.5 * seed;
    obs.extra["ready"] = seed % 2 == 0;
    obs.extra["instruction_for_the_policy"] = std::string("pick up the blue block ") + std::to_string(seed % 10);
    return obs;
}

inline void expect_equal(const Observation& actual, const Observation& expected) {
    EXPECT_EQ(actual.timestamp, expected.timestamp);
    EXPECT_EQ(actual.snapshot_time, expected.snapshot_time);
    EXPECT_EQ(actual.extra, expected.extra);
    ASSERT_EQ(actual.cameras.size(), expected.cameras.size());
    for (std::size_t i = 0; i < expected.cameras.size(); ++i) {
        const CameraInfo& a = actual.cameras[i];
        const CameraInfo& b = expected.cameras[i];
        SCOPED_TRACE("camera " + b.name);
        EXPECT_EQ(a.name, b.name);
        EXPECT_EQ(a.intrinsics, b.intrinsics);
        EXPECT_EQ(a.extrinsics, b.extrinsics);
        EXPECT_EQ(a.timestamp, b.timestamp);
        EXPECT_EQ(hex(a.image), hex(b.image));
        EXPECT_EQ(a.image_shape, b.image_shape);
        EXPECT_EQ(a.image_dtype, b.image_dtype);
        EXPECT_EQ(a.has_depth, b.has_depth);
        EXPECT_EQ(hex(a.depth_data), hex(b.depth_data));
        EXPECT_EQ(a.depth_shape, b.depth_shape);
        EXPECT_EQ(a.depth_dtype, b.depth_dtype);
        EXPECT_EQ(a.depth_unit, b.depth_unit);
        EXPECT_EQ(a.sequence, b.sequence);
        EXPECT_EQ(a.missed, b.missed);
        EXPECT_EQ(a.status, b.status);
    }
    ASSERT_EQ(actual.proprios.size(), expected.proprios.size());
    for (std::size_t i = 0; i < expected.proprios.size(); ++i) {
        const ProprioInfo& a = actual.proprios[i];
        const ProprioInfo& b = expected.proprios[i];
        SCOPED_TRACE("proprio " + b.name);
        EXPECT_EQ(a.name, b.name);
        EXPECT_EQ(a.data, b.data);
        EXPECT_EQ(a.timestamp, b.timestamp);
        EXPECT_EQ(a.sequence, b.sequence);
        EXPECT_EQ(a.missed, b.missed);
        EXPECT_EQ(a.status, b.status);
    }
}

inline void expect_equal(const Action& actual, const Action& expected) {
    EXPECT_EQ(actual.N, expected.N);
    EXPECT_EQ(actual.D, expected.D);
    EXPECT_EQ(actual.data, expected.data);
    EXPECT_EQ(actual.obs_timestamps, expected.obs_timestamps);
}

/// Runs `call`, which must throw Error with `part` in its message.
template <class Error, class Call>
void expect_throw(Call call, const std::string& part) {
    try {
        call();
        ADD_FAILURE() << "nothing thrown, expected: " << part;
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
            << "message:  " << error.what() << "\nexpected: " << part;
    }
}

}  // namespace chiral::test
