// SPDX-License-Identifier: Apache-2.0
// Cameras whose pictures come from a command.
#include "command_camera.hpp"
#include "support/waiting.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace chiral::tools {
namespace {

using namespace std::chrono_literals;

using test::eventually;

class CommandCameraTest : public testing::Test {
protected:
    static constexpr int width = 4, height = 2, frame_bytes = width * height * 3;

    CommandCameraConfig command(std::string text) const { return {"clip", width, height, std::move(text)}; }
    auto logger() {
        return [this](const std::string& line) {
            const std::lock_guard lock(mutex_);
            log_ += line + '\n';
        };
    }
    std::string log() {
        const std::lock_guard lock(mutex_);
        return log_;
    }
    std::string image() {
        const Snapshot snapshot = reader_.snapshot();
        const auto bytes = snapshot.camera(0).image();
        return {bytes.begin(), bytes.end()};
    }

    Engine engine_{{{.name = "clip", .height = height, .width = width}}, {}};
    Reader reader_{engine_.make_reader()};

private:
    std::mutex mutex_;
    std::string log_;
};

TEST_F(CommandCameraTest, publishes_the_frames_in_order_and_says_how_the_command_ended) {
    CommandCamera camera(engine_, 0, command("printf '%024d%024d%024d' 1 2 3"), logger());
    ASSERT_TRUE(eventually([&] { return camera.finished(); }));
    EXPECT_EQ(camera.frames(), 3U);
    EXPECT_EQ(engine_.newest_frame(0), 3U);
    EXPECT_EQ(image(), std::string(23, '0') + "3") << "the last frame stays";
    EXPECT_EQ(log(), "camera 'clip': the command ended (exit status 0) after 3 frames; its last frame stays\n");
}

TEST_F(CommandCameraTest, puts_frames_together_that_come_in_pieces) {
    CommandCamera camera(engine_, 0, command("for i in 1 2 3 4 5 6; do printf '12345678'; sleep 0.02; done"), logger());
    ASSERT_TRUE(eventually([&] { return camera.finished(); }));
    EXPECT_EQ(camera.frames(), 2U);
    EXPECT_EQ(image(), "123456781234567812345678");
}

TEST_F(CommandCameraTest, never_publishes_an_unfinished_frame) {
    CommandCamera camera(engine_, 0, command("printf '%024d' 7; printf 'only this'; exit 3"), logger());
    ASSERT_TRUE(eventually([&] { return camera.finished(); }));
    EXPECT_EQ(engine_.newest_frame(0), 1U);
    EXPECT_EQ(image(), std::string(23, '0') + "7");
    EXPECT_EQ(log(),
              "camera 'clip': the command ended (exit status 3) after 1 frame and 9 bytes of an unfinished one, which is "
              "dropped; a frame of 4x2 RGB24 has 24 bytes; its last frame stays\n");
}

TEST_F(CommandCameraTest, stamps_a_frame_with_the_time_of_its_first_byte) {
    const TimePoint before = Clock::now();
    CommandCamera camera(engine_, 0, command("printf 1; sleep 0.3; printf '%023d' 0"), logger());
    ASSERT_TRUE(engine_.wait_frame(0, 0, Clock::now() + 20s));
    const TimePoint arrived = Clock::now();
    const TimePoint captured = reader_.snapshot().camera(0).captured();
    EXPECT_GE(captured, before);
    EXPECT_LE(captured, arrived - 250ms);
}

TEST_F(CommandCameraTest, says_when_the_shell_does_not_find_the_command) {
    CommandCamera camera(engine_, 0, command("there-is-no-such-camera --frames 2>/dev/null"), logger());
    ASSERT_TRUE(eventually([&] { return camera.finished(); }));
    EXPECT_EQ(log(),
              "camera 'clip': the command ended (exit status 127) after 0 frames; /bin/sh did not find it: "
              "there-is-no-such-camera --frames 2>/dev/null\n");
    EXPECT_EQ(engine_.newest_frame(0), 0U);
}

TEST_F(CommandCameraTest, says_when_the_command_was_killed_or_brought_nothing) {
    CommandCamera camera(engine_, 0, command("kill -KILL $$"), logger());
    ASSERT_TRUE(eventually([&] { return camera.finished(); }));
    EXPECT_EQ(log(),
              "camera 'clip': the command ended (killed by signal 9 (Killed)) after 0 frames; the picture stays black. The "
              "command was: kill -KILL $$\n");
}

TEST_F(CommandCameraTest, starts_a_command_again_that_ended) {
    CommandCameraConfig config = command("printf '%024d' 7; exit 3");
    config.restart_after = 1ms;
    CommandCamera camera(engine_, 0, config, logger());
    ASSERT_TRUE(eventually([&] { return camera.frames() >= 3; }));
    EXPECT_FALSE(camera.finished());
    EXPECT_EQ(image(), std::string(23, '0') + "7");
    EXPECT_NE(log().find("(exit status 3) after 1 frame; its last frame stays; it is started again in 0.0 s"),
              std::string::npos)
        << log();
}

TEST_F(CommandCameraTest, waits_longer_each_time_for_a_command_that_brings_nothing) {
    CommandCameraConfig config = command("exit 1");
    config.restart_after = 50ms;
    CommandCamera camera(engine_, 0, config, logger());
    ASSERT_TRUE(eventually([&] { return log().find("again in 0.4 s") != std::string::npos; })) << log();
    EXPECT_NE(log().find("again in 0.1 s"), std::string::npos) << log();
    EXPECT_NE(log().find("again in 0.2 s"), std::string::npos) << log();
    EXPECT_EQ(camera.frames(), 0U);
    // The end of the scope does not wait for the pause.
}

TEST_F(CommandCameraTest, ends_the_command_and_all_that_it_started) {
    const auto folder = std::filesystem::temp_directory_path() / ("chiral-command-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder);
    const auto file = folder / "pids";
    pid_t shell = 0, grandchild = 0;
    {
        // A shell that ignores the polite signal, with a child of its own that does, too.
        CommandCamera camera(
            engine_, 0,
            command("trap '' TERM; sleep 1000 & echo $$ $! > " + (folder / "new").string() + "; mv " +
                    (folder / "new").string() + ' ' + file.string() + "; printf '%024d' 1; wait; sleep 1000"),
            logger());
        ASSERT_TRUE(eventually([&] { return std::filesystem::exists(file); }));
        std::ifstream(file) >> shell >> grandchild;
        ASSERT_GT(shell, 1);
        ASSERT_GT(grandchild, 1);
        EXPECT_EQ(kill(shell, 0), 0);
    }
    std::filesystem::remove_all(folder);
    EXPECT_EQ(kill(shell, 0), -1) << "the shell is neither running nor a zombie";
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "there is no child left";
    EXPECT_EQ(errno, ECHILD);
    // The grandchild is dead; somebody else has to reap it.
    EXPECT_TRUE(eventually([&] {
        std::string pid, name, state;
        std::ifstream stat("/proc/" + std::to_string(grandchild) + "/stat");
        return !(stat >> pid >> name >> state) || state == "Z";
    }));
}

TEST_F(CommandCameraTest, stops_at_once_while_the_command_is_silent) {
    const TimePoint begin = Clock::now();
    { CommandCamera camera(engine_, 0, command("exec sleep 1000"), logger()); }
    EXPECT_LT(Clock::now() - begin, 5s);
    EXPECT_EQ(log(), "");
}

TEST_F(CommandCameraTest, stops_in_the_middle_of_a_frame) {
    {
        CommandCamera camera(engine_, 0, command("printf '%024d' 1; printf 'half a'; exec sleep 1000"), logger());
        ASSERT_TRUE(engine_.wait_frame(0, 0, Clock::now() + 20s));
    }
    EXPECT_EQ(engine_.newest_frame(0), 1U);
    // The field is free again.
    const std::vector<std::uint8_t> pixels(frame_bytes, 9);
    EXPECT_TRUE(engine_.update_image(0, pixels.data(), pixels.size()).ok());
}

TEST_F(CommandCameraTest, waits_for_a_command_that_closes_its_output_before_it_ends) {
    CommandCamera camera(engine_, 0, command("printf '%024d' 1; exec >&-; sleep 0.1; exit 5"), logger());
    ASSERT_TRUE(eventually([&] { return camera.finished(); }));
    EXPECT_NE(log().find("exit status 5"), std::string::npos) << log();
}

TEST(CommandCameraOption, takes_name_size_and_a_command_that_may_contain_commas) {
    const CommandCameraConfig config = parse_command_camera("clip,640x480,cmd:ffmpeg -vf crop=1,2,3 -");
    EXPECT_EQ(config.name, "clip");
    EXPECT_EQ(config.width, 640);
    EXPECT_EQ(config.height, 480);
    EXPECT_EQ(config.command, "ffmpeg -vf crop=1,2,3 -");
}

TEST(CommandCameraOption, refuses_everything_else_and_says_what_it_expects) {
    for (const char* text : {"", "clip", "clip,640x480", ",640x480,cmd:true", "clip,640x480,true",
                             "clip,640x480,cmd:", "clip,640,cmd:true", "clip,0x480,cmd:true", "clip,640x480x3,cmd:true",
                             "clip,-1x2,cmd:true", "clip,99999x2,cmd:true", "clip,x,cmd:true"}) {
        try {
            parse_command_camera(text);
            ADD_FAILURE() << text;
        } catch (const std::invalid_argument& error) {
            EXPECT_NE(std::string(error.what()).find("expected"), std::string::npos) << error.what();
        }
    }
}

// ---- JPEG pictures ----

/// A picture with a thumbnail in it, stuffed bytes, a restart marker and a second scan; `number` is in its entropy-coded data.
std::string picture(char number) {
    using namespace std::string_literals;
    return "\xff\xd8"s                                          // start of image
           "\xff\xe1\x00\x0a\xff\xd8\xff\xd9\xff\xda\x00\x00"s  // a segment that holds markers
           "\xff\xff\xdb\x00\x02"s                              // fill bytes, an empty segment
           "\xff\xda\x00\x04\x01\x02"s +
           number +
           "\x12\xff\x00\x34\xff\xd0\x56"s   // a scan
           "\xff\xda\x00\x02\x78\xff\xd9"s;  // another, and the end
}

std::vector<std::string> split(const std::string& stream, std::size_t piece, std::size_t most = 100) {
    MjpegSplitter splitter(most);
    std::vector<std::string> pictures;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
        std::span<const std::uint8_t> rest(reinterpret_cast<const std::uint8_t*>(stream.data()) + at,
                                           std::min(piece, stream.size() - at));
        while (!rest.empty()) {
            rest = rest.subspan(splitter.take(rest));
            if (splitter.whole()) pictures.emplace_back(splitter.picture().begin(), splitter.picture().end());
        }
    }
    return pictures;
}

TEST(MjpegSplitter, finds_every_picture_however_the_stream_is_cut) {
    const std::string stream =
        "between" + picture('a') + picture('b') + "\xff\x00\xff" + picture('c') + picture('d').substr(0, 20);
    for (const std::size_t piece : {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{1000}})
        EXPECT_EQ(split(stream, piece), (std::vector<std::string>{picture('a'), picture('b'), picture('c')})) << piece;
}

TEST(MjpegSplitter, passes_over_what_is_no_picture) {
    const std::string broken = picture('x').substr(0, 12) + "no marker";  // behind its first segment
    EXPECT_EQ(split(broken + picture('a'), 5), std::vector<std::string>{picture('a')});
    EXPECT_EQ(split(std::string(5000, '\xff') + std::string(5000, '\0') + picture('a'), 64),
              std::vector<std::string>{picture('a')});
}

TEST(MjpegSplitter, drops_a_picture_that_is_too_large_and_goes_on) {
    MjpegSplitter splitter(60);
    std::string large = picture('x');
    large.insert(25, 200, 'y');  // into its scan
    const std::string stream = large + picture('a');
    EXPECT_EQ(split(stream, 9, 60), std::vector<std::string>{picture('a')});
}

TEST(CommandCameraOfPictures, publishes_them_as_they_are) {
    CameraConfig config{.name = "uvc", .height = 8, .width = 8};
    config.encoding = FrameEncoding::jpeg;
    Engine engine({config}, {});
    const auto folder = std::filesystem::temp_directory_path() / ("chiral-pictures-" + std::to_string(getpid()));
    std::ofstream(folder, std::ios::binary) << picture('a') << picture('b') << picture('c').substr(0, 9);
    std::mutex mutex;
    std::string log;
    CommandCamera camera(engine, 0, parse_command_camera("uvc,8x8,mjpeg:cat " + folder.string()),
                         [&](const std::string& line) {
                             const std::lock_guard lock(mutex);
                             log += line;
                         });
    ASSERT_TRUE(eventually([&] { return camera.finished(); }));
    EXPECT_EQ(camera.frames(), 2u);
    Reader reader = engine.make_reader();
    const Snapshot snapshot = reader.snapshot();
    const auto bytes = snapshot.camera(0).image();
    EXPECT_EQ(std::string(bytes.begin(), bytes.end()), picture('b'));
    std::filesystem::remove(folder);
    const std::lock_guard lock(mutex);
    EXPECT_NE(log.find("after 2 frames and 9 bytes of an unfinished one, which is dropped"), std::string::npos) << log;
}

}  // namespace
}  // namespace chiral::tools
