// SPDX-License-Identifier: Apache-2.0
#include "robot_process.hpp"

#include "tcp_loop.hpp"

#include "pacer.hpp"

#include <chiral/server.hpp>

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace chiral::bench {
namespace {

// What comes and goes between the two processes is small and whole.
void send_whole(int socket, const void* data, std::size_t size) {
    if (::send(socket, data, size, MSG_NOSIGNAL) != static_cast<ssize_t>(size))
        throw std::system_error(errno, std::generic_category(), "control of the robot process");
}

bool receive_whole(int socket, void* data, std::size_t size) {
    return ::recv(socket, data, size, MSG_WAITALL) == static_cast<ssize_t>(size);
}

std::vector<CameraConfig> cameras_of(const ObservationCase& setup) {
    std::vector<CameraConfig> cameras;
    for (int i = 0; i < setup.cameras; ++i) {
        CameraConfig camera;
        camera.name = "camera_" + std::to_string(i);
        camera.height = setup.height;
        camera.width = setup.width;
        camera.has_depth = setup.depth;
        cameras.push_back(camera);
    }
    return cameras;
}

ServerOptions quiet(const std::string& local_socket, bool zenoh) {
    ServerOptions options;
    if (zenoh) options.zenoh.emplace().port = 0;
    options.local_socket = local_socket;
    options.log = [](const std::string&) {};
    options.handle_signals = false;
    return options;
}

class Robot : public PolicyServer {
public:
    Robot(const ObservationCase& setup, double camera_hz, const std::string& local_socket, bool zenoh)
        : PolicyServer(cameras_of(setup), {{"joint_pos", 7}}, "127.0.0.1", 0, quiet(local_socket, zenoh)),
          seen_(configs_.size(), 0) {
        latencies_.reserve(std::size_t{1} << 16);
        publish();
        if (camera_hz > 0) sensors_ = std::thread([this, camera_hz] { run_sensors(camera_hz); });
    }
    ~Robot() override {
        stopping_ = true;
        if (sensors_.joinable()) sensors_.join();
    }

    Observation get_obs() override {
        if (wait_.load()) {
            static_cast<void>(engine().wait_frames(seen_, Clock::now() + std::chrono::seconds(1)));
            for (std::size_t i = 0; i < seen_.size(); ++i) seen_[i] = engine().newest_frame(i);
        }
        return make_obs();
    }

    void apply_action(const Action& action) override {
        const double now = to_seconds(Clock::now());
        const std::lock_guard lock(latencies_mutex_);
        if (latencies_.size() < latencies_.capacity())
            latencies_.push_back(static_cast<float>((now - action.received_at) * 1e9));
    }
    Values latencies() {
        const std::lock_guard lock(latencies_mutex_);
        Values taken(latencies_);
        latencies_.clear();
        return taken;
    }
    void wait_for_frames(bool wait) { wait_ = wait; }
    /// CPU time of the sensor thread so far.
    std::int64_t sensor_cpu_ns() {
        clockid_t clock;
        timespec used{};
        if (sensors_.joinable() && ::pthread_getcpuclockid(sensors_.native_handle(), &clock) == 0)
            ::clock_gettime(clock, &used);
        return std::int64_t{used.tv_sec} * 1'000'000'000 + used.tv_nsec;
    }

private:
    // Every pixel is new each time, as a sensor's noise makes it.
    void publish() {
        ++number_;
        for (std::size_t i = 0; i < configs_.size(); ++i) {
            Frame frame = begin_frame(i);
            std::memset(frame.image().data(), static_cast<int>(number_ % 251), frame.image().size_bytes());
            if (configs_[i].has_depth) {
                const std::span<float> depth = frame.depth();
                std::fill(depth.begin(), depth.end(), static_cast<float>(number_ % 251));
            }
            frame.set_extrinsics(configs_[i].extrinsics);
            static_cast<void>(frame.commit());
        }
        const float joints[7] = {static_cast<float>(number_ % 100)};
        update_proprio(0, joints, 7);
    }
    void run_sensors(double hz) {
        leave_out_this_thread();
        const std::chrono::nanoseconds period(static_cast<std::int64_t>(1e9 / hz));
        stress::Pacer pacer(period, Clock::now() + period);
        while (!stopping_) {
            pacer.wait(stopping_);
            publish();
        }
    }

    std::uint64_t number_{0};
    std::atomic<bool> stopping_{false};
    std::atomic<bool> wait_{false};
    std::vector<std::uint64_t> seen_;
    std::mutex latencies_mutex_;
    Values latencies_;
    std::thread sensors_;
};

}  // namespace

std::vector<std::size_t> piece_sizes(const ObservationCase& setup) {
    const std::size_t pixels = static_cast<std::size_t>(setup.height) * static_cast<std::size_t>(setup.width);
    std::vector<std::size_t> sizes{static_cast<std::size_t>(256 + 700 * setup.cameras)};  // about what the header has
    for (int i = 0; i < setup.cameras; ++i) {
        sizes.push_back(3 * pixels);
        if (setup.depth) sizes.push_back(4 * pixels);
    }
    return sizes;
}

RobotProcess::RobotProcess(const ObservationCase& setup, double camera_hz, bool zenoh) {
    static int robots = 0;
    local_socket_ = (std::filesystem::temp_directory_path() /
                     ("chiral-bench-" + std::to_string(::getpid()) + "-" + std::to_string(robots++) + ".sock"))
                        .string();
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        throw std::system_error(errno, std::generic_category(), "socketpair");
    child_ = ::fork();
    if (child_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (child_ == 0) {
        ::close(ends[0]);
        be_the_robot(setup, camera_hz, zenoh, ends[1]);
    }
    ::close(ends[1]);
    control_ = ends[0];
    get(&ports_, sizeof ports_);
}

void RobotProcess::be_the_robot(const ObservationCase& setup, double camera_hz, bool zenoh, int control) const {
    // Ends when the control socket does, so also with a parent that dies.
    ::prctl(PR_SET_NAME, "robot");  // for profilers: its threads are called the same
    try {
        start_counting();
        Robot robot(setup, camera_hz, local_socket_, zenoh);
        GatherWriter floor(piece_sizes(setup));
        robot.serve();
        const Ports ports{robot.port(), floor.port(), robot.zenoh_port()};
        send_whole(control, &ports, sizeof ports);
        for (char what; receive_whole(control, &what, 1) && what != 'q';) {
            if (what == 'c') {
                ProcessCounters counters = process_counters();
                counters.cpu_ns -= robot.sensor_cpu_ns();
                send_whole(control, &counters, sizeof counters);
            } else if (what == 'a') {
                const Values values = robot.latencies();
                const std::uint64_t count = values.size();
                send_whole(control, &count, sizeof count);
                send_whole(control, values.data(), count * sizeof(float));
            } else {
                robot.wait_for_frames(what == 'w');
            }
        }
        robot.stop();
        robot.wait();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "chiral-bench, robot process: %s\n", error.what());
        ::_exit(1);
    }
    ::_exit(0);
}

RobotProcess::~RobotProcess() {
    const char quit = 'q';
    [[maybe_unused]] const ssize_t sent = ::send(control_, &quit, 1, MSG_NOSIGNAL);
    ::close(control_);
    ::waitpid(child_, nullptr, 0);
}

void RobotProcess::ask(char what) const { send_whole(control_, &what, 1); }

void RobotProcess::get(void* data, std::size_t size) const {
    if (size > 0 && !receive_whole(control_, data, size)) throw std::runtime_error("the robot process has ended");
}

ProcessCounters RobotProcess::counters() const {
    ask('c');
    ProcessCounters counters;
    get(&counters, sizeof counters);
    return counters;
}

Values RobotProcess::action_latencies() const {
    ask('a');
    std::uint64_t count = 0;
    get(&count, sizeof count);
    Values values(count);
    get(values.data(), count * sizeof(float));
    return values;
}

void RobotProcess::wait_for_frames(bool wait) const { ask(wait ? 'w' : 'n'); }

}  // namespace chiral::bench
