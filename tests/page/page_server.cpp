// SPDX-License-Identifier: Apache-2.0
// A robot that is hard to show: hostile names, pictures of one and four channels, depth with holes, a joint that is not
// there, a source that never comes. Ends at SIGINT or SIGTERM.
//
//     page_server [--token TOKEN] [--observers N]
#include <chiral/server.hpp>

#include <signal.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <limits>
#include <vector>

namespace {

class OddRobot : public chiral::PolicyServer {
public:
    explicit OddRobot(chiral::ServerOptions options)
        : PolicyServer({camera("<img src=x onerror=\"window.hacked=1\">", 1, true), camera("__proto__", 4, false),
                        camera("never \"there\"\\\n", 3, false)},
                       {{"<script>window.hacked=1</script>", 20}}, "127.0.0.1", 0, std::move(options)) {}

    chiral::InfoMap get_metadata() override { return {{"robot", "<b>odd</b> robot"}, {"<i>key</i>", "</dd><img src=x>"}}; }

    void publish(int n) {
        const auto level = static_cast<std::uint8_t>(n);
        {
            chiral::Frame frame = begin_frame(0);
            const auto image = frame.image();
            for (std::size_t i = 0; i < image.size(); ++i) image[i] = static_cast<std::uint8_t>(i + level);
            const auto depth = frame.depth();
            for (std::size_t i = 0; i < depth.size(); ++i) depth[i] = 1.f + 0.01f * static_cast<float>(i % kWidth);
            // A row for each thing that is no depth.
            using Float = std::numeric_limits<float>;
            const float nothing[] = {0.f, -1.f, Float::quiet_NaN(), Float::infinity()};
            for (std::size_t row = 0; row < 4; ++row)
                for (std::size_t x = 0; x < kWidth; ++x) depth[row * kWidth + x] = nothing[row];
            static_cast<void>(frame.commit());
        }
        {
            chiral::Frame frame = begin_frame(1);
            const auto image = frame.image();
            for (std::size_t i = 0; i < image.size(); i += 4) {
                image[i] = level;
                image[i + 1] = 10;
                image[i + 2] = 200;
                image[i + 3] = 0;  // see-through, as an untouched alpha is
            }
            static_cast<void>(frame.commit());
        }
        std::vector<float> joints(20);
        const float phase = 0.1f * static_cast<float>(n);
        for (std::size_t i = 0; i < joints.size(); ++i) joints[i] = std::sin(phase + static_cast<float>(i));
        update_proprio(0, joints.data(), joints.size());
    }

private:
    static constexpr std::size_t kWidth = 40;
    static chiral::CameraConfig camera(const char* name, int channels, bool depth) {
        chiral::CameraConfig config;
        config.name = name;
        config.height = 30;
        config.width = static_cast<int>(kWidth);
        config.channels = channels;
        config.has_depth = depth;
        return config;
    }
};

}  // namespace

int main(int argc, char** argv) {
    chiral::ServerOptions options;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (std::strcmp(argv[i], "--token") == 0) options.access.bearer_token = argv[i + 1];
        else if (std::strcmp(argv[i], "--observers") == 0) options.max_observers = std::atoi(argv[i + 1]);
        else return 2;
    }
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, SIGINT);
    sigaddset(&end, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &end, nullptr);
    OddRobot robot(options);
    robot.serve();
    std::printf("listening on http://127.0.0.1:%d\n", robot.port());
    std::fflush(stdout);
    const timespec period{0, 20'000'000};
    for (int n = 1; sigtimedwait(&end, nullptr, &period) < 0; ++n) robot.publish(n);
    robot.stop();
    robot.wait();
}
