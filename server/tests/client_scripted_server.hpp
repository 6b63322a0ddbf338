// SPDX-License-Identifier: Apache-2.0
// A server that does exactly what a test tells it, good or bad, down to single bytes; and what the client tests share.
//
// A script runs on the server's thread for every connection, one after the other. It ends when it returns or when the
// client goes away, which its calls report by an exception.
#pragma once

#include "support/waiting.hpp"

#include <chiral/wire.hpp>

#include <chiral/client.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace chiral::test {

using ByteVector = std::vector<std::uint8_t>;
using namespace std::chrono_literals;

constexpr Duration patience = kDeadline;

/// Something that happens a number of times, and can be waited for.
class Happening {
public:
    void happen() {
        std::lock_guard lock(mutex_);
        ++times_;
        changed_.notify_all();
    }
    bool wait(int times = 1) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, patience, [&] { return times_ >= times; });
    }
    int times() {
        std::lock_guard lock(mutex_);
        return times_;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    int times_{0};
};

/// What a script meets when the client ends the connection.
class ClientGone : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// One connection, seen from the server.
class Peer {
public:
    // ---- WebSocket ----

    void accept();
    /// The next message, whatever it is.
    ByteVector receive();
    wire::Request receive_request();
    /// None when the client has ended the connection; see close_code().
    std::optional<wire::Request> receive_request_if_any();
    void expect_request(wire::RequestType type);
    void send(const ByteVector& message);
    /// A fragment of a message: a frame, the last of the message if `final`.
    void send_fragment(bool final, wire::Bytes bytes);
    void ping();
    /// Answers to ping() that have come so far, while receiving.
    int pongs() const;
    /// A closing handshake. Code 0: none.
    void close(std::uint16_t code, const std::string& reason);
    /// Reads on until the client closes.
    void wait_for_close();
    /// The code of the client's close frame; 0 if the connection ended without one.
    std::uint16_t close_code() const;

    // ---- below WebSocket ----

    void send_raw(const ByteVector& bytes);
    void send_raw(const std::string& text);
    /// Reads the upgrade request, and answers nothing.
    std::string read_http_request();
    /// Accepts after that.
    void accept(const std::string& http_request);
    /// Says that nothing more will be sent.
    void end_sending();
    /// Ends the connection; by a reset if `abruptly`.
    void end(bool abruptly);
    /// Reads and drops what comes, until the client ends the connection.
    void wait_until_client_ends();
    /// Whether the client has sent more than was received.
    bool more_to_receive();

    struct Impl;
    explicit Peer(Impl& impl) : impl_(impl) {}

private:
    Impl& impl_;
};

class ScriptedServer {
public:
    using Script = std::function<void(Peer&)>;

    /// Port 0: any that is free.
    explicit ScriptedServer(Script script, unsigned short port = 0);
    ~ScriptedServer();

    unsigned short port() const;
    std::string uri() const { return "ws://127.0.0.1:" + std::to_string(port()); }
    /// Connections accepted so far.
    Happening accepted;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// A port on which nobody listens.
unsigned short free_port();

// ---- messages ----

/// Every pixel and number depends on `seed`, the layout does not.
inline Observation sample_observation(int seed, int height = 6, int width = 8) {
    Observation obs;
    obs.timestamp = 0.05 * seed;
    for (const bool depth : {true, false}) {
        CameraInfo& camera = obs.cameras.emplace_back();
        camera.name = depth ? "wrist" : "head";
        camera.timestamp = 100.0 + seed + (depth ? 0.25 : 0.5);
        camera.image_shape = {height, width, 3};
        camera.image_dtype = "uint8";
        camera.image.assign(static_cast<std::size_t>(height * width * 3), static_cast<std::uint8_t>(seed));
        if (!depth) continue;
        camera.has_depth = true;
        camera.depth_shape = {height, width};
        camera.depth_dtype = "float32";
        camera.depth_data.assign(static_cast<std::size_t>(height * width * 4), static_cast<std::uint8_t>(seed + 1));
    }
    obs.proprios.emplace_back().name = "joint_pos";
    obs.proprios.back().data.assign(7, static_cast<float>(seed));
    return obs;
}

inline ByteVector joined(const wire::ObservationEncoder& encoder) {
    ByteVector message(encoder.head().begin(), encoder.head().end());
    for (const wire::Bytes& piece : encoder.payload()) message.insert(message.end(), piece.begin(), piece.end());
    return message;
}
inline ByteVector obs_response(const Observation& obs) {
    wire::ObservationEncoder encoder;
    encoder.encode_obs_response(obs);
    return joined(encoder);
}
inline ByteVector obs_response(int seed) { return obs_response(sample_observation(seed)); }
inline ByteVector reset_response(int seed) {
    const Observation obs = sample_observation(seed);
    wire::ObservationEncoder encoder;
    encoder.encode_reset_response(obs, {{"episode", "3"}});
    return joined(encoder);
}
inline ByteVector step_response(int seed) {
    StepResult result;
    result.obs = sample_observation(seed);
    result.reward = 0.5f;
    result.truncated = true;
    result.info = {{"k", "v"}};
    wire::ObservationEncoder encoder;
    encoder.encode_step_response(result);
    return joined(encoder);
}
inline ByteVector metadata_response(const InfoMap& metadata) {
    ByteVector message;
    wire::encode_metadata_response(metadata, message);
    return message;
}
inline ByteVector golden_frame(const std::string& name) {
    const std::string path = std::string(CHIRAL_VECTORS) + '/' + name + ".bin";
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline Action sample_action(float first = 0.f) {
    Action action;
    action.N = 1;
    action.D = 3;
    action.data = {first, 0.5f, -1.f};
    return action;
}

/// Checks all of an observation of sample_observation(seed) that a mix-up could spoil.
inline void expect_sample(const Observation& obs, int seed) {
    const Observation expected = sample_observation(seed);
    EXPECT_EQ(obs.timestamp, expected.timestamp);
    ASSERT_EQ(obs.cameras.size(), expected.cameras.size());
    for (std::size_t i = 0; i < expected.cameras.size(); ++i) {
        EXPECT_EQ(obs.cameras[i].name, expected.cameras[i].name);
        EXPECT_EQ(obs.cameras[i].timestamp, expected.cameras[i].timestamp);
        EXPECT_TRUE(obs.cameras[i].image == expected.cameras[i].image);
        EXPECT_TRUE(obs.cameras[i].depth_data == expected.cameras[i].depth_data);
    }
    EXPECT_EQ(obs.proprio("joint_pos").data, expected.proprio("joint_pos").data);
}

// ---- a robot ----

/// Answers like a good server, and keeps what it got. Observation number n, from 1, is sample_observation(n).
class Robot {
public:
    void serve(Peer& peer) {
        peer.accept();
        for (;;) answer(peer, peer.receive_request());
    }
    void answer(Peer& peer, const wire::Request& request) {
        switch (request.type) {
            case wire::RequestType::metadata: peer.send(metadata_response({{"robot", "arm"}})); break;
            case wire::RequestType::reset: peer.send(reset_response(0)); break;
            case wire::RequestType::obs_request:
                peer.send(obs_response(observations.times() + 1));
                observations.happen();
                break;
            case wire::RequestType::action:
                keep(request.action);
                peer.send(step_response(0));
                break;
            case wire::RequestType::apply_action: keep(request.action); break;
        }
    }
    std::vector<Action> actions() {
        std::lock_guard lock(mutex_);
        return actions_;
    }

    Happening observations;
    Happening action;

private:
    void keep(const Action& received) {
        {
            std::lock_guard lock(mutex_);
            actions_.push_back(received);
        }
        action.happen();
    }

    std::mutex mutex_;
    std::vector<Action> actions_;
};

/// A robot and its server.
class RobotServer : public Robot, public ScriptedServer {
public:
    RobotServer() : ScriptedServer([this](Peer& peer) { serve(peer); }) {}
};

// ---- clients ----

/// Patient with the machine, and silent.
inline ClientOptions quiet_options() {
    ClientOptions options;
    options.connect_timeout = patience;
    options.request_timeout = patience;
    options.retry_interval = 1ms;
    options.log = [](const std::string&) {};
    return options;
}

/// Runs `call`, which must throw Error with all of `parts` in its message. Returns the message.
template <class Error, class Call>
std::string expect_throw(Call call, std::initializer_list<const char*> parts) {
    try {
        call();
        ADD_FAILURE() << "nothing thrown";
    } catch (const Error& error) {
        const std::string message = error.what();
        for (const char* part : parts)
            EXPECT_NE(message.find(part), std::string::npos) << "message:  " << message << "\nexpected: " << part;
        return message;
    }
    return {};
}

}  // namespace chiral::test
