// SPDX-License-Identifier: Apache-2.0
// A camera whose pictures come from a command: ffmpeg reading a webcam or a video, a driver's own tool, cat of a file.
//
// The command writes raw RGB24 frames to its standard output, H*W*3 bytes each, row after row, with nothing between
// them; or JPEG pictures, as most webcams deliver them, which are published as they are. A raw frame is read straight into the
// slot that it is published from. Each is stamped with the time at which its first byte came. Bytes of an
// unfinished frame are never published. A command that ends, because a cable was pulled or ffmpeg fell over, can be started
// again; meanwhile the camera's last frame grows old, and is stale to who looks at it.
#pragma once

#include "child_process.hpp"
#include "mjpeg_splitter.hpp"

#include <chiral/engine.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <thread>

namespace chiral::tools {

struct CommandCameraConfig {
    std::string name;
    int width{0};
    int height{0};
    std::string command;                         ///< for /bin/sh -c
    FrameEncoding encoding{FrameEncoding::raw};  ///< as the camera is declared to the engine
    /// How long after its end the command is started again; each time that it brings no frame the pause is doubled, up to half a
    /// minute. Zero: not again.
    std::chrono::milliseconds restart_after{0};
};

/// Parses "NAME,WxH,cmd:COMMAND", or "NAME,WxH,mjpeg:COMMAND" for JPEG pictures. Throws
/// std::invalid_argument that shows what was expected.
CommandCameraConfig parse_command_camera(const std::string& text);
/// Parses "WxH", 1 to 16384 each, into width and height. Throws like it.
void parse_size(const std::string& text, int& width, int& height);

class CommandCamera {
public:
    /// Starts the command and a thread that feeds camera `index` of `engine`, which outlives this. `log` is told, one line
    /// each and from that thread, when the first frame takes long, and when the command ends; while it waits nothing is filmed, and
    /// the camera does not end. Throws std::system_error if no shell can be started.
    CommandCamera(Engine& engine, std::size_t index, CommandCameraConfig config,
                  std::function<void(const std::string&)> log);
    CommandCamera(const CommandCamera&) = delete;
    /// Ends the command with all that it started, and joins the thread.
    ~CommandCamera();

    std::uint64_t frames() const noexcept { return frames_.load(std::memory_order_relaxed); }
    /// The command has ended, will not be started again, and everything it wrote has been published. The last frame stays
    /// what it is.
    bool finished() const noexcept { return finished_.load(std::memory_order_acquire); }

private:
    enum class Input { frame, end, stop };
    void run();
    bool run_command();
    bool start_again();
    bool stopped_within(std::chrono::milliseconds time) const;
    Input read_frame();
    Input read_pictures();
    bool publish_picture(TimePoint captured);
    bool wait_readable();
    void report_end(int wait_status);
    void say(const std::string& text) const;

    Engine& engine_;
    const std::size_t index_;
    const CommandCameraConfig config_;
    const std::function<void(const std::string&)> log_;
    int stop_event_;
    std::optional<ChildProcess> child_;  // empty where it could not be started again
    MjpegSplitter splitter_;             // of JPEG pictures
    TimePoint picture_began_;            // the one that is under way
    std::size_t partial_bytes_{0};
    std::chrono::milliseconds pause_;  // before the next start
    // Of the command that runs:
    bool told_silence_{false};
    TimePoint started_;
    std::uint64_t frames_before_{0};
    std::atomic<std::uint64_t> frames_{0};
    std::atomic<bool> finished_{false};
    std::thread thread_;
};

}  // namespace chiral::tools
