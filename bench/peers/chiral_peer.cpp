// SPDX-License-Identifier: Apache-2.0
// This project as a peer of bench/side_by_side.py: a robot, and a policy that asks it.
//
//     chiral-peer give NAME BYTES HZ                   says "ready ADDRESS", is the robot until its standard input ends
//     chiral-peer take ADDRESS BYTES next|next_polling|newest|asked N    prints N figures, nanoseconds, as a JSON array
//     chiral-peer sense NAME BYTES HZ N                says "ready ADDRESS"; for each line that it reads it updates an image N times, and
//                                                      prints how long each took
//     chiral-peer follow ADDRESS                       takes and reads one image after the other, until it is killed
//
// NAME is a path for clients on the same machine, or "ws". The robot publishes one image of BYTES at HZ; at HZ 0 it has RGB-D cameras
// of 640x480 that make up BYTES, and they do not change. The first eight bytes of an image say when it was published.
#include "samples.hpp"
#include "threads.hpp"

#include "pacer.hpp"

#include <chiral/client.hpp>
#include <chiral/server.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <iostream>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace chiral;

// As many as a robot lends to at once, to nobody else: each client takes two of the engine's 14 readers.
constexpr int kFollowers = 5;
constexpr std::size_t kRgbdBytes = std::size_t{640} * 480 * (3 + sizeof(float));

// Filling 17 MB takes now longer, now shorter, by some hundred microseconds.
constexpr Duration kBusyPoll = std::chrono::microseconds(500);

std::int64_t now_ns() { return std::chrono::nanoseconds(Clock::now().time_since_epoch()).count(); }

std::vector<CameraConfig> cameras_of(std::size_t bytes, bool one) {
    std::vector<CameraConfig> cameras(one ? 1 : bytes / kRgbdBytes);
    for (std::size_t i = 0; i < cameras.size(); ++i) {
        CameraConfig& camera = cameras[i];
        camera.name = "camera_" + std::to_string(i);
        camera.width = one ? 320 : 640;
        camera.height = one ? static_cast<int>(bytes / 960) : 480;
        camera.has_depth = !one;
    }
    return cameras;
}

class Robot : public PolicyServer {
public:
    Robot(const std::string& name, std::size_t bytes, double hz, bool one, int followers = 1)
        : PolicyServer(cameras_of(bytes, one), {{"joint_pos", 7}}, "127.0.0.1", 0, options(name, followers)),
          next_only_(name == "ws" && hz > 0) {
        publish();
        if (hz > 0) sensor_ = std::thread([this, hz] { publish_for_ever(hz); });
    }
    ~Robot() override {
        stopping_ = true;
        if (sensor_.joinable()) sensor_.join();
    }

    /// Over WebSocket the robot waits for the image that the client has not got: there is no other way to be told of it.
    Observation get_obs() override {
        if (next_only_) {
            static_cast<void>(engine().wait_frames(seen_, Clock::now() + std::chrono::seconds(1)));
            seen_[0] = engine().newest_frame(0);
        }
        return make_obs();
    }
    void apply_action(const Action&) override {}
    using PolicyServer::update_image;

private:
    static ServerOptions options(const std::string& name, int followers) {
        ServerOptions options;
        if (name != "ws") {
            options.local_socket = name;
            options.access.local.only = true;
        }
        options.access.local.max_observers = followers - 1;
        options.access.local.max_connections_per_user = static_cast<std::size_t>(followers) + 1;
        options.access.local.direct_readers = followers == 1 ? 1 : 0;  // there are no readers left for more
        options.max_observers = 0;
        options.max_observer_hz = 10'000;
        options.log = [](const std::string&) {};
        options.handle_signals = false;
        return options;
    }
    void publish() {
        for (std::size_t i = 0; i < configs_.size(); ++i) {
            Frame frame = begin_frame(i);
            // The driver: pixels are in the slot before the clock starts.
            const std::span<std::uint8_t> image = frame.image();
            std::memset(image.data(), static_cast<int>(number_++ % 251), image.size());
            if (configs_[i].has_depth) std::memset(frame.depth_bytes().data(), 0, frame.depth_bytes().size());
            const TimePoint captured = Clock::now();
            const std::int64_t stamp = std::chrono::nanoseconds(captured.time_since_epoch()).count();
            std::memcpy(image.data(), &stamp, sizeof stamp);
            static_cast<void>(frame.commit(captured));
        }
    }
    void publish_for_ever(double hz) {
        const std::chrono::nanoseconds period(static_cast<std::int64_t>(1e9 / hz));
        stress::Pacer pacer(period, Clock::now() + period);
        while (!stopping_) {
            pacer.wait(stopping_);
            publish();
        }
    }

    const bool next_only_;
    std::vector<std::uint64_t> seen_{0};
    std::uint64_t number_{0};
    std::atomic<bool> stopping_{false};
    std::thread sensor_;
};

void give(const std::string& name, std::size_t bytes, double hz) {
    Robot robot(name, bytes, hz, hz > 0);
    robot.serve();
    fmt::print("ready {}\n", name == "ws" ? fmt::format("ws://127.0.0.1:{}", robot.port()) : "unix://" + name);
    std::fflush(stdout);
    for (char byte; ::read(STDIN_FILENO, &byte, 1) > 0;) {}
    robot.stop();
    robot.wait();
}

// The sensor thread is alone on the first core; the robot's others, and all readers, share the rest.
void sense(const std::string& name, std::size_t bytes, double hz, int count) {
    bench::pin_reader(0);
    Robot robot(name, bytes, 0.0, true, kFollowers);
    robot.serve();
    fmt::print("ready unix://{}\n", name);
    std::fflush(stdout);
    bench::pin_writer();
    std::vector<std::uint8_t> image(bytes, 1);
    const std::atomic<bool> never{false};
    for (std::string line; std::getline(std::cin, line);) {
        bench::Sampler sampler(static_cast<std::size_t>(count));
        const std::chrono::nanoseconds period(static_cast<std::int64_t>(1e9 / hz));
        stress::Pacer pacer(period, Clock::now() + period);
        for (int i = 0; i < count; ++i) {
            pacer.wait(never);
            ++image[0];
            sampler.single([&] { static_cast<void>(robot.update_image(0, image.data(), image.size())); });
        }
        const bench::SampleSet samples = sampler.samples();
        fmt::print("[{}]\n", fmt::join(samples.single, ", "));
        std::fflush(stdout);
    }
    robot.stop();
    robot.wait();
}

void follow(const std::string& address) {
    ClientOptions options;
    options.log = [](const std::string&) {};
    PolicyClient client(address, options);
    client.connect();
    fmt::print("ready {}\n", address);
    std::fflush(stdout);
    Observation obs;
    std::uint64_t number = 0;
    for (;;) {
        const std::uint64_t newer = client.wait_frame("camera_0", number, std::chrono::seconds(1));
        if (newer == 0) continue;
        number = newer;
        client.get_obs(obs);
        constexpr std::size_t line = 64;  // a word of each
        volatile unsigned sum = 0;
        for (std::size_t at = 0; at < obs.cameras[0].image.size(); at += line) sum = sum + obs.cameras[0].image.data()[at];
    }
}

std::int64_t stamp_of(const CameraInfo& camera) {
    std::int64_t stamp = 0;
    std::memcpy(&stamp, camera.image.data(), sizeof stamp);
    return stamp;
}

class Policy {
public:
    Policy(const std::string& address, bool polls) : local_(address.starts_with("unix:")), client_(address, options(polls)) {
        client_.connect();
    }

    /// From right before an image was published until it is in hand.
    std::int64_t next() {
        if (local_) {
            number_ = client_.wait_frame("camera_0", number_, std::chrono::seconds(5));
            if (number_ == 0) throw std::runtime_error("no image came for five seconds");
            client_.get_camera("camera_0", camera_);
            return now_ns() - stamp_of(camera_);
        }
        client_.get_obs(obs_);
        return now_ns() - stamp_of(obs_.cameras.front());
    }
    /// How long it takes to get at the newest image, at a time of one's own.
    std::int64_t newest() {
        const std::int64_t began = now_ns();
        client_.get_camera("camera_0", camera_);
        newest_ = stamp_of(camera_);  // looked at
        const std::int64_t ended = now_ns();
        while (now_ns() < ended + 8'000'000) {  // a policy that computes
        }
        return ended - began;
    }
    std::int64_t asked() {
        const std::int64_t began = now_ns();
        client_.get_obs(obs_);
        return now_ns() - began;
    }

private:
    static ClientOptions options(bool polls) {
        ClientOptions options;
        if (polls) options.busy_poll = kBusyPoll;
        options.log = [](const std::string&) {};
        return options;
    }
    const bool local_;
    PolicyClient client_;
    Observation obs_;
    CameraInfo camera_;
    std::uint64_t number_{0};
    volatile std::int64_t newest_{0};
};

void take(const std::string& address, const std::string& what, int count) {
    Policy policy(address, what == "next_polling");
    const std::function<std::int64_t()> one = [&] {
        return what.starts_with("next") ? policy.next() : what == "newest" ? policy.newest() : policy.asked();
    };
    constexpr int warm_ups = 10;
    std::vector<std::int64_t> times;
    for (int i = 0; i < warm_ups; ++i) one();
    for (int i = 0; i < count; ++i) times.push_back(one());
    fmt::print("[{}]\n", fmt::join(times, ", "));
}

}  // namespace

int main(int argc, char** argv) try {
    const std::vector<std::string> told(argv + 1, argv + argc);
    if (told.size() == 4 && told[0] == "give") {
        give(told[1], std::stoul(told[2]), std::stod(told[3]));
    } else if (told.size() == 5 && told[0] == "take") {
        take(told[1], told[3], std::stoi(told[4]));
    } else if (told.size() == 5 && told[0] == "sense") {
        sense(told[1], std::stoul(told[2]), std::stod(told[3]), std::stoi(told[4]));
    } else if (told.size() == 2 && told[0] == "follow") {
        follow(told[1]);
    } else {
        throw std::invalid_argument(
            "expected: give NAME BYTES HZ, take ADDRESS BYTES next|next_polling|newest|asked N, sense NAME BYTES HZ N, or "
            "follow "
            "ADDRESS");
    }
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "chiral-peer: %s\n", error.what());
    return 1;
}
