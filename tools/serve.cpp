// SPDX-License-Identifier: Apache-2.0
// chiral-serve: a simulated robot that policies and other clients can be tried against.
#include "bearer_token.hpp"
#include "command_camera.hpp"
#include "command_line.hpp"
#include "simulated_robot.hpp"

#include <chiral/log.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <signal.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <unistd.h>

namespace {

using namespace chiral;
using namespace chiral::tools;

struct ServeOptions {
    RobotOptions robot;
    ServerOptions server;
    std::string host = "127.0.0.1";
    int port = 8765;
    double seconds = 0.0;
    bool legacy = false;
    bool zenoh = false;
};

constexpr const char* examples = R"(Examples:
  chiral-serve                                    two simulated cameras and a 7-joint arm on port 8765
  chiral-serve --cameras 8 --depth --port 0       eight RGB-D cameras on any free port
  chiral-serve --host 0.0.0.0 --token-file token --tls-cert cert.pem --tls-key key.pem
                                                  let other machines connect, too: those that know the token
  chiral-serve --camera 'webcam,640x480,cmd:ffmpeg -v error -f v4l2 -video_size 640x480 -i /dev/video0
               -f rawvideo -pix_fmt rgb24 -'      a real camera
  chiral-serve --camera 'webcam,1280x720,mjpeg:ffmpeg -v error -f v4l2 -input_format mjpeg -video_size 1280x720
               -i /dev/video0 -c copy -f mjpeg -'    its own JPEG pictures, decoded only for those who want pixels
  chiral-serve --camera 'clip,1280x720,cmd:ffmpeg -v error -re -stream_loop -1 -i clip.mp4 -s 1280x720
               -f rawvideo -pix_fmt rgb24 -'      a video, again and again

A certificate for a machine whose name is robot.lan and whose address is 10.0.0.7:
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -keyout key.pem -out cert.pem
      -subj /CN=robot.lan -addext subjectAltName=DNS:robot.lan,IP:10.0.0.7

Look at it with: chiral-probe ws://127.0.0.1:8765)";

// Checks without the text that CLI::Range puts into the help.
template <class Number>
CLI::Validator in_range(Number lowest, Number highest) {
    return CLI::Range(lowest, highest).description("");
}

// Fills `options`; returns false with the exit code to end with, after --help or a mistake.
bool parse(int argc, char** argv, ServeOptions& options, int& exit_code) {
    CLI::App app(
        "Simulated robot: serves moving synthetic cameras, or real ones through a command, and the joints of an arm\n"
        "that follows actions. One client at a time, decoupled or legacy.",
        "chiral-serve");
    app.footer(std::string(exit_codes) + "\n\n" + examples);
    app.get_formatter()->column_width(33);
    std::string size = "640x480", token, token_file, gate = "off";
    std::vector<std::string> commands;
    RobotOptions& robot = options.robot;
    ServerOptions& server = options.server;
    AccessOptions& access = server.access;
    ZenohOptions zenoh;
    struct Limit {
        const char* flag;
        Duration& limit;
        long long least;
        const char* help;
        long long milliseconds{0};
    };
    Limit limits[] = {
        {"--action-timeout-ms", server.action_timeout, 0,
         "The arm holds its position when no action has come for so long; 0: never [250]"},
        {"--action-delay-ms", server.max_action_delay, 0,
         "An action that has waited for longer when its turn comes is dropped; 0: none [500]"},
        {"--heartbeat-ms", server.heartbeat_timeout, 1,
         "A client whose machine is out of reach for so long is dropped: it is dead [1000]"},
        {"--deaf-ms", server.deaf_timeout, 1,
         "A client that takes nothing of an answer for so long is dropped: it is deaf [120000]"},
        {"--idle-ms", server.idle_timeout, 0,
         "A client that answers no ping for so long is closed; 0: never, policies infer [0]"},
    };
    for (Limit& each : limits) each.milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(each.limit).count();
    std::size_t want_megabytes = server.wants.max_bytes / 1'000'000;

    CLI::Option* cameras =
        app.add_option("--cameras", robot.cameras, "Simulated cameras, cam_0 and so on [2; 0 with --camera]")
            ->check(in_range(0, 64))
            ->type_name("N");
    app.add_option("--size", size, "Picture size of the simulated cameras [640x480]")->type_name("WxH");
    app.add_flag("--depth", robot.depth, "Simulated cameras measure depth, too: metres, 0 where there is none");
    app.add_option("--camera-hz", robot.camera_hz, "Frames per second of each simulated camera [30]")
        ->check(in_range(0.01, 1000.0))
        ->type_name("HZ");
    app.add_option("--camera", commands,
                   "Adds a camera: COMMAND writes its pictures to standard output, as raw\n"
                   "RGB24 frames of that size, or with mjpeg: as JPEG pictures; started\n"
                   "again when it ends; may be given several times")
        ->type_name("NAME,WxH,cmd:COMMAND")
        ->expected(1)
        ->take_all()
        ->allow_extra_args(false);
    app.add_option("--proprios", robot.proprios, "Streams: joint_pos, joint_vel, joint_effort, proprio_3, ... [3]")
        ->check(in_range(0, 64))
        ->type_name("M");
    app.add_option("--proprio-hz", robot.proprio_hz, "Samples per second of each stream [500]")
        ->check(in_range(0.01, 10000.0))
        ->type_name("HZ");
    app.add_flag("--touch", robot.touch, "The gripper has pads that feel: slot touch, 2 x 4 x 4 pressures in kPa");
    app.add_option("--joints", robot.joints, "Joints of the arm [7]")->check(in_range(1, 256))->type_name("N");
    app.add_flag("--legacy", options.legacy, "Implement step() only, as robots for the legacy C++ server do");
    for (CLI::Option* option : app.get_options())
        if (option != app.get_help_ptr()) option->group("Robot");

    for (Limit& each : limits)
        app.add_option(each.flag, each.milliseconds, each.help)
            ->check(in_range<long long>(each.least, 86'400'000))
            ->type_name("MS")
            ->group("Control");
    app.add_option("--control-hz", robot.control_hz,
                   "Rows of an action that the arm plays in a second: N of them cover their time [20]")
        ->check(in_range(0.1, 10000.0))
        ->type_name("HZ")
        ->group("Control");
    app.add_option("--gate", gate,
                   "What becomes of actions that are not for this arm's joints, go beyond 3.14 rad, or\n"
                   "more than 0.5 rad in a step: off, reject or clamp [off]")
        ->check(CLI::IsMember({"off", "reject", "clamp"}).description(""))
        ->type_name("MODE")
        ->group("Control");
    app.add_flag("--takeover", server.allow_takeover, "A client that asks for ?takeover=1 replaces the one in control")
        ->group("Control");
    app.add_option("--local-socket", server.local_socket,
                   "Path of a socket for clients on this machine, which copy no image: unix://PATH")
        ->type_name("PATH")
        ->group("Control");
    app.add_option("--direct-readers", access.local.direct_readers,
                   "Clients of --local-socket that may look at the newest images without asking;\neach takes the memory of "
                   "two more images [0]")
        ->check(in_range(0, kMostGuests))
        ->type_name("N")
        ->group("Control");
    app.add_option("--observers", server.max_observers, "Clients that may look on at /observe [2]")
        ->check(in_range(0, 11))
        ->type_name("N")
        ->group("Control");

    app.add_option("--want-threads", server.wants.threads,
                   "Threads of low priority that scale and encode for clients that want something\nelse than everything [2]")
        ->check(in_range(1, 64))
        ->type_name("N")
        ->group("Pictures");
    app.add_option("--want-mb", want_megabytes, "Megabytes that such a want may take before they are encoded [134]")
        ->check(in_range<std::size_t>(1, 65536))
        ->type_name("MB")
        ->group("Pictures");

    app.add_option("--host", options.host, "Address to listen on; 0.0.0.0: all [127.0.0.1]")
        ->type_name("ADDRESS")
        ->group("Access");
    app.add_option("--port", options.port, "Port to listen on; 0: any free one [8765]")
        ->check(in_range(0, 65535))
        ->type_name("PORT")
        ->group("Access");
    app.add_flag("--zenoh", options.zenoh, "Serve Zenoh, too: as the documented programs do, at the same address")
        ->group("Zenoh");
    app.add_option("--zenoh-port", zenoh.port, "Port to listen on for it; 0: any free one [7447]")
        ->check(in_range(0, 65535))
        ->type_name("PORT")
        ->group("Zenoh");
    app.add_option("--zenoh-prefix", zenoh.prefix, "Of all keys of this robot [chiral]")->type_name("KEY")->group("Zenoh");
    app.add_option("--zenoh-connect", zenoh.connect,
                   "Connects to a router as well: tcp/HOST:7447; may be given several times")
        ->type_name("ENDPOINT")
        ->expected(1)
        ->take_all()
        ->allow_extra_args(false)
        ->group("Zenoh");
    app.add_option("--zenoh-stream-hz", zenoh.stream_hz,
                   "Publishes so many observations a second for whoever subscribes [0]")
        ->check(in_range(0.0, 1000.0))
        ->type_name("HZ")
        ->group("Zenoh");
    app.add_flag("--zenoh-metrics", zenoh.publish_metrics, "Publishes the figures of /metrics as keys, once a second")
        ->group("Zenoh");
    app.add_option("--zenoh-config", zenoh.config_file,
                   "Zenoh's own configuration (JSON5), which counts where it says something")
        ->type_name("FILE")
        ->group("Zenoh");
    app.add_option("--token", token,
                   "Clients must know this token. Other users of this machine can see command\n"
                   "lines: --token-file, or CHIRAL_TOKEN in the environment, keep it secret")
        ->type_name("TOKEN")
        ->group("Access");
    app.add_option("--token-file", token_file, "Clients must know the first line of this file")
        ->type_name("FILE")
        ->group("Access");
    app.add_option("--tls-cert", access.tls_certificate_file, "Speak TLS, with this certificate (PEM)")
        ->type_name("FILE")
        ->group("Access");
    app.add_option("--tls-key", access.tls_private_key_file, "The private key of the certificate (PEM)")
        ->type_name("FILE")
        ->group("Access");
    app.add_option("--origin", access.allowed_origins,
                   "Web pages from here may connect, too (https://lab.example); may be given several\ntimes")
        ->type_name("ORIGIN")
        ->expected(1)
        ->take_all()
        ->allow_extra_args(false)
        ->group("Access");
    app.add_option("--seconds", options.seconds, "End after this time; 0: at Ctrl-C [0]")
        ->check(in_range(0.0, 1e9))
        ->type_name("S");
    if (const std::optional<int> over = parse_command_line(app, argc, argv)) {
        exit_code = *over;
        return false;
    }
    try {
        if (access.tls_certificate_file.empty() != access.tls_private_key_file.empty())
            throw std::invalid_argument("--tls-cert and --tls-key: expected both, or neither for no TLS");
        access.bearer_token = bearer_token(token, token_file);
        for (const Limit& each : limits) each.limit = std::chrono::milliseconds(each.milliseconds);
        server.control_rate_hz = robot.control_hz;
        server.wants.max_bytes = want_megabytes * 1'000'000;
        for (const CLI::Option* option : app.get_options())
            if (option->get_group() == "Zenoh" && option->count() > 0 && !options.zenoh)
                throw std::invalid_argument(option->get_name() + " needs --zenoh");
        zenoh.listen = options.host;
        if (options.zenoh) server.zenoh = zenoh;
        if (access.local.direct_readers > 0 && server.local_socket.empty())
            throw std::invalid_argument("--direct-readers needs --local-socket");
        if (gate != "off") server.gate = arm_gate(robot, gate == "clamp" ? GatePolicy::clamp : GatePolicy::reject);
        parse_size(size, robot.width, robot.height);
        for (const std::string& command : commands) {
            robot.command_cameras.push_back(parse_command_camera(command));
            robot.command_cameras.back().restart_after = std::chrono::milliseconds(500);
        }
    } catch (const std::invalid_argument& error) {
        exit_code = wrong_usage("chiral-serve", error.what());
        return false;
    }
    if (cameras->count() == 0 && !commands.empty()) robot.cameras = 0;
    return true;
}

std::string address(const std::string& host, int port) {
    return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

std::string plural(std::uint64_t count, const char* what) {
    return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

void tell_sources(Log& out, const ServeOptions& options) {
    const RobotOptions& robot = options.robot;
    if (robot.cameras > 0)
        out.say(fmt::format("{}, {}x{}{} at {:g} Hz", plural(static_cast<std::uint64_t>(robot.cameras), "simulated camera"),
                            robot.width, robot.height, robot.depth ? " with depth" : "", robot.camera_hz));
    for (const CommandCameraConfig& camera : robot.command_cameras)
        out.say(fmt::format("camera '{}', {}x{}, from: {}", camera.name, camera.width, camera.height, camera.command));
    if (robot.proprios > 0)
        out.say(fmt::format("{} of {} at {:g} Hz", plural(static_cast<std::uint64_t>(robot.proprios), "proprio stream"),
                            plural(static_cast<std::uint64_t>(robot.joints), "joint"), robot.proprio_hz));
    out.say(fmt::format(
        "{}; {}", options.legacy ? "legacy robot, implements step() only" : "one client at a time",
        options.seconds > 0.0 ? fmt::format("ends after {:g} s or with Ctrl-C", options.seconds) : "end with Ctrl-C"));
}

// The signals that end the program are blocked in all threads from the beginning, and taken here. A reader of our output that
// goes away (chiral-serve | head -1) is no reason for a robot to stop serving.
sigset_t block_end_signals() {
    std::signal(SIGPIPE, SIG_IGN);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    return signals;
}

void wait_for_end(const sigset_t& signals, double seconds) {
    const TimePoint deadline =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    while (true) {
        timespec wait{3600, 0};
        if (seconds > 0.0) {
            const double left = std::chrono::duration<double>(deadline - Clock::now()).count();
            if (left <= 0.0) return;
            if (left < 3600.0) wait = {static_cast<time_t>(left), static_cast<long>((left - std::floor(left)) * 1e9)};
        }
        if (sigtimedwait(&signals, nullptr, &wait) > 0) return;
    }
}

void tell_summary(Log& out, const ServerStats& stats, double seconds) {
    out.say({});
    out.say(fmt::format("served {:.1f} s: {}, {} ({:.1f} MB), {} received, {} applied", seconds,
                        plural(stats.connections, "client"), plural(stats.observations, "observation"),
                        static_cast<double>(stats.bytes_sent) / 1e6, plural(stats.actions_received, "action"),
                        stats.actions_applied));
    if (stats.refused > 0) out.say(fmt::format("{} turned away", plural(stats.refused, "client")));
    if (stats.protocol_errors > 0)
        out.say(fmt::format("{} from clients", plural(stats.protocol_errors, "malformed message")));
    if (stats.hook_errors > 0) out.say(fmt::format("{} in hooks", plural(stats.hook_errors, "error")));
}

// A robot listens in several places; which of them was refused is only in the text of the error.
bool concerns_local_socket(const std::system_error& error, const std::string& path) {
    return !path.empty() && std::string_view(error.what()).find("cannot listen on " + path) != std::string_view::npos;
}

std::string explain(const std::system_error& error, const ServeOptions& options) {
    if (const std::string& path = options.server.local_socket; concerns_local_socket(error, path)) {
        if (error.code() == std::errc::address_in_use)
            return fmt::format("{} is in use by another program; choose another path with --local-socket", path);
        if (error.code() == std::errc::permission_denied)
            return fmt::format("{} may not be made by this user; choose another path with --local-socket", path);
        return error.what();
    }
    const std::string where = address(options.host, options.port);
    if (error.code() == std::errc::address_in_use)
        return fmt::format("{} is in use by another program; choose another port with --port, or any free one with --port 0",
                           where);
    if (error.code() == std::errc::permission_denied)
        return fmt::format("{} may not be opened by this user; choose one above 1023 with --port", where);
    if (error.code() == std::errc::address_not_available)
        return fmt::format("{} is no address of this machine; --host takes 127.0.0.1 (this machine only) or 0.0.0.0 (all)",
                           options.host);
    return error.what();
}

int serve(ServeOptions options) {
    const sigset_t signals = block_end_signals();
    // A terminal may be stopped, and a pipe may be one that nobody reads: neither keeps the robot from anything, nor this from ending.
    Log out({}, {}, STDOUT_FILENO), problems;
    options.robot.tell = [&out](const std::string& line) { out.say(line); };
    options.robot.warn = [&problems](const std::string& line) { problems.say(line); };
    std::unique_ptr<PolicyServer> robot;
    if (options.legacy) {
        robot = std::make_unique<LegacySimulatedRobot>(options.robot, options.host, options.port, options.server);
    } else {
        robot = std::make_unique<SimulatedRobot>(options.robot, options.host, options.port, options.server);
    }
    robot->serve();
    const TimePoint start = Clock::now();
    out.say(fmt::format("listening on {}://{}", options.server.access.tls_certificate_file.empty() ? "ws" : "wss",
                        address(options.host, robot->port())));
    if (!options.server.local_socket.empty()) out.say(fmt::format("and on unix://{}", options.server.local_socket));
    if (options.zenoh)
        out.say(
            fmt::format("and on zenoh://{}/{}", address(options.host, robot->zenoh_port()), options.server.zenoh->prefix));
    tell_sources(out, options);

    wait_for_end(signals, options.seconds);
    robot->stop();
    robot->wait();
    tell_summary(out, robot->stats(), std::chrono::duration<double>(Clock::now() - start).count());
    return kOk;
}

}  // namespace

int main(int argc, char** argv) {
    ServeOptions options;
    int exit_code = kOk;
    if (!parse(argc, argv, options, exit_code)) return exit_code;
    try {
        return serve(options);
    } catch (const std::invalid_argument& error) {
        return wrong_usage("chiral-serve", error.what());
    } catch (const std::system_error& error) {
        fmt::print(stderr, "chiral-serve: {}\n", explain(error, options));
    } catch (const std::exception& error) {
        fmt::print(stderr, "chiral-serve: {}\n", error.what());
    }
    return kFailed;
}
