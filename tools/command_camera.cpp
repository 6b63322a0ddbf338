// SPDX-License-Identifier: Apache-2.0
#include "command_camera.hpp"

#include <fmt/format.h>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <span>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

namespace chiral::tools {

namespace {

constexpr auto patience = std::chrono::seconds(5);
constexpr std::chrono::milliseconds longest_pause = std::chrono::seconds(30);

int open_event() {
    const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0) throw std::system_error(errno, std::generic_category(), "eventfd for a camera command");
    return event;
}

}  // namespace

void parse_size(const std::string& text, int& width, int& height) {
    const auto number = [](const char* begin, const char* end, int& value) {
        const auto [rest, error] = std::from_chars(begin, end, value);
        return error == std::errc{} && rest == end && value >= 1 && value <= 16384;
    };
    const std::size_t x = text.find('x');
    const char* const begin = text.data();
    if (x == std::string::npos || !number(begin, begin + x, width) || !number(begin + x + 1, begin + text.size(), height))
        throw std::invalid_argument(fmt::format("size '{}': expected WIDTHxHEIGHT, such as 640x480", text));
}

CommandCameraConfig parse_command_camera(const std::string& text) {
    const std::size_t first = text.find(',');
    const std::size_t second = first == std::string::npos ? first : text.find(',', first + 1);
    const std::string_view source =
        second == std::string::npos ? std::string_view() : std::string_view(text).substr(second + 1);
    const bool jpeg = source.starts_with("mjpeg:");
    const std::string_view prefix = jpeg ? "mjpeg:" : "cmd:";
    if (first == 0 || !source.starts_with(prefix) || source.size() == prefix.size())
        throw std::invalid_argument(
            fmt::format("camera '{}': expected NAME,WIDTHxHEIGHT,cmd:COMMAND, such as clip,640x480,cmd:cat frames.rgb, or "
                        "mjpeg:COMMAND for JPEG pictures",
                        text));
    CommandCameraConfig config;
    config.encoding = jpeg ? FrameEncoding::jpeg : FrameEncoding::raw;
    config.name = text.substr(0, first);
    parse_size(text.substr(first + 1, second - first - 1), config.width, config.height);
    config.command = source.substr(prefix.size());
    return config;
}

CommandCamera::CommandCamera(Engine& engine, std::size_t index, CommandCameraConfig config,
                             std::function<void(const std::string&)> log)
    : engine_(engine),
      index_(index),
      config_(std::move(config)),
      log_(std::move(log)),
      stop_event_(open_event()),
      child_(std::in_place, config_.command),
      splitter_(engine.cameras().at(index).max_encoded_bytes > 0 ? engine.cameras()[index].max_encoded_bytes
                                                                 : image_bytes(engine.cameras()[index])),
      pause_(config_.restart_after),
      started_(Clock::now()),
      thread_([this] { run(); }) {}

CommandCamera::~CommandCamera() {
    const std::uint64_t one = 1;
    // An eventfd that is not full takes a write without fail.
    [[maybe_unused]] const ssize_t written = write(stop_event_, &one, sizeof one);
    thread_.join();
    close(stop_event_);
}

void CommandCamera::run() {
    while (run_command() && start_again()) {}
    finished_.store(true, std::memory_order_release);
}

// Publishes what the command writes, up to its end; false when asked to stop.
bool CommandCamera::run_command() {
    if (!child_) return true;
    Input input = Input::frame;
    while (input == Input::frame) input = config_.encoding == FrameEncoding::jpeg ? read_pictures() : read_frame();
    if (input == Input::end) {
        // It closed its output; it may take a while to end, and is waited for without holding up a stop.
        std::optional<int> status;
        while (!(status = child_->ended()) && input != Input::stop)
            if (stopped_within(std::chrono::milliseconds(10))) input = Input::stop;
        if (status) report_end(*status);
    }
    child_->end();
    return input == Input::end;
}

// After a pause; false where it is not to be, or when asked to stop.
bool CommandCamera::start_again() {
    if (config_.restart_after == std::chrono::milliseconds::zero()) return false;
    if (stopped_within(pause_)) return false;
    child_.reset();
    told_silence_ = false;
    partial_bytes_ = 0;
    splitter_.reset();
    frames_before_ = frames();
    started_ = Clock::now();
    try {
        child_.emplace(config_.command);
    } catch (const std::system_error& error) {
        say(error.what());
        pause_ = std::min(2 * pause_, longest_pause);
    }
    return true;
}

bool CommandCamera::stopped_within(std::chrono::milliseconds time) const {
    pollfd stop{stop_event_, POLLIN, 0};
    return poll(&stop, 1, static_cast<int>(time.count())) > 0;
}

// Waits for a byte or the end of the output; false when asked to stop.
bool CommandCamera::wait_readable() {
    pollfd files[] = {{child_->output(), POLLIN, 0}, {stop_event_, POLLIN, 0}};
    while (true) {
        int timeout_ms = -1;
        if (frames() == frames_before_ && !told_silence_) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(started_ + patience - Clock::now());
            timeout_ms = std::max(0, static_cast<int>(left.count()));
        }
        const int ready = poll(files, 2, timeout_ms);
        if (ready == 0) {
            told_silence_ = true;
            say(fmt::format("no frame yet after {} s; the command is expected to write {} to its standard output",
                            patience.count(),
                            config_.encoding == FrameEncoding::jpeg
                                ? std::string("JPEG pictures")
                                : fmt::format("raw RGB24 frames of {} bytes", config_.width * config_.height * 3)));
        }
        if (files[1].revents != 0 || (ready < 0 && errno != EINTR)) return false;
        if (ready > 0) return true;
    }
}

CommandCamera::Input CommandCamera::read_frame() {
    // Nothing is claimed while no frame is under way.
    if (!wait_readable()) return Input::stop;
    const TimePoint captured = Clock::now();
    Frame frame = engine_.begin_frame(index_);
    const std::span<std::uint8_t> image = frame.image();
    if (!frame) {
        say(frame.status().message());
        return Input::stop;
    }
    std::size_t filled = 0;
    while (filled < image.size()) {
        const ssize_t got = read(child_->output(), image.data() + filled, image.size() - filled);
        if (got > 0) {
            filled += static_cast<std::size_t>(got);
        } else if (got == 0) {
            partial_bytes_ = filled;
            return Input::end;  // the destructor of `frame` publishes nothing
        } else if (errno == EAGAIN) {
            if (!wait_readable()) return Input::stop;
        } else if (errno != EINTR) {
            say(fmt::format("cannot read from the command: {}", std::generic_category().message(errno)));
            return Input::stop;
        }
    }
    if (const Status status = frame.commit(captured); !status) {
        say(status.message());
        return Input::stop;
    }
    frames_.fetch_add(1, std::memory_order_relaxed);
    return Input::frame;
}

// What can be read at once, and all pictures that end in it.
CommandCamera::Input CommandCamera::read_pictures() {
    if (!wait_readable()) return Input::stop;
    const TimePoint arrived = Clock::now();
    std::array<std::uint8_t, 64 * 1024> bytes;
    const ssize_t got = read(child_->output(), bytes.data(), bytes.size());
    if (got == 0) {
        partial_bytes_ = splitter_.unfinished();
        return Input::end;
    }
    if (got < 0) {
        if (errno == EAGAIN || errno == EINTR) return Input::frame;
        say(fmt::format("cannot read from the command: {}", std::generic_category().message(errno)));
        return Input::stop;
    }
    std::span<const std::uint8_t> rest(bytes.data(), static_cast<std::size_t>(got));
    while (!rest.empty()) {
        if (splitter_.unfinished() == 0) picture_began_ = arrived;
        const std::uint64_t dropped = splitter_.dropped();
        rest = rest.subspan(splitter_.take(rest));
        if (splitter_.dropped() != dropped && dropped == 0)
            say("a picture is larger than the room for one, and is dropped; others like it are, too, without a word");
        if (splitter_.whole() && !publish_picture(picture_began_)) return Input::stop;
    }
    return Input::frame;
}

bool CommandCamera::publish_picture(TimePoint captured) {
    const std::span<const std::uint8_t> picture = splitter_.picture();
    if (const Status status = engine_.update_image(index_, picture.data(), picture.size(), captured); !status) {
        say(status.message());
        return false;
    }
    frames_.fetch_add(1, std::memory_order_relaxed);
    return true;
}

void CommandCamera::report_end(int wait_status) {
    const std::uint64_t count = frames() - frames_before_;
    std::string text =
        fmt::format("the command ended ({}) after {} frame{}", describe_end(wait_status), count, count == 1 ? "" : "s");
    if (partial_bytes_ > 0) text += fmt::format(" and {} bytes of an unfinished one, which is dropped", partial_bytes_);
    if (partial_bytes_ > 0 && config_.encoding == FrameEncoding::raw)
        text += fmt::format("; a frame of {}x{} RGB24 has {} bytes", config_.width, config_.height,
                            config_.width * config_.height * 3);
    if (frames() > 0) {
        text += "; its last frame stays";
    } else if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 127) {
        text += "; /bin/sh did not find it: " + config_.command;
    } else {
        text += "; the picture stays black. The command was: " + config_.command;
    }
    if (config_.restart_after > std::chrono::milliseconds::zero()) {
        // What has brought frames was a camera, and may be one again at once.
        pause_ = count > 0 ? config_.restart_after : std::min(2 * pause_, longest_pause);
        text += fmt::format("; it is started again in {:.1f} s", std::chrono::duration<double>(pause_).count());
    }
    say(text);
}

void CommandCamera::say(const std::string& text) const { log_(fmt::format("camera '{}': {}", config_.name, text)); }

}  // namespace chiral::tools
