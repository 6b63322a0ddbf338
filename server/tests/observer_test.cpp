// SPDX-License-Identifier: Apache-2.0
// Those who only look: what they may ask for, how often, how many they are, and that the client in control feels none of it.
#include "raw_http.hpp"
#include "support.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <thread>

namespace chiral::test {
namespace {

using wire::RequestType;

constexpr int kHeight = 480, kWidth = 640;

RawClient observer_of(int port, int receive_buffer = 0) {
    RawClient observer(port, receive_buffer);
    const RawClient::HttpAnswer answer = observer.handshake("/observe");
    if (answer.status != 101) throw std::runtime_error("observer not let in: " + answer.head + answer.body);
    return observer;
}

/// Gets a seat as soon as one is free.
RawClient next_observer_of(int port) {
    std::optional<RawClient> observer;
    const bool let_in = eventually([&] {
        observer.emplace(port);
        return observer->handshake("/observe").status == 101;
    });
    if (!let_in) throw std::runtime_error("no seat became free");
    return std::move(*observer);
}

/// Records the hooks that tell who is in control, too.
class Recorder : public HookedServer {
public:
    using HookedServer::HookedServer;
    void on_connect(const std::string&) override { note("on_connect"); }
    void on_disconnect(const std::string&) override { note("on_disconnect"); }
    void on_action_timeout() override { note("on_action_timeout"); }
    long count(const std::string& hook) const {
        const std::vector<std::string> names = calls.get();
        return std::count(names.begin(), names.end(), hook);
    }

private:
    void note(const char* hook) {
        calls.change([&](auto& names) { names.push_back(hook); });
    }
};

std::vector<CameraConfig> large_cameras(int count) {
    std::vector<CameraConfig> cameras;
    for (int i = 0; i < count; ++i) cameras.push_back(camera("large " + std::to_string(i), kHeight, kWidth, 3, true));
    return cameras;
}

// Every byte of picture n is n, every metre of depth, too.
void publish(OpenServer& server, std::size_t camera, int n) {
    Frame frame = server.begin_frame(camera);
    const auto image = frame.image();
    const auto depth = frame.depth();
    std::fill(image.begin(), image.end(), static_cast<std::uint8_t>(n));
    std::fill(depth.begin(), depth.end(), static_cast<float>(n));
    ASSERT_TRUE(frame.commit().ok());
}

void expect_shows(const CameraInfo& info, int n) {
    EXPECT_TRUE(std::all_of(info.image.begin(), info.image.end(), [&](std::uint8_t byte) { return byte == n; })) << n;
    const auto metres = static_cast<float>(n);
    for (std::size_t i = 0; i + 4 <= info.depth_data.size(); i += 4) {
        float value = 0;
        std::memcpy(&value, info.depth_data.data() + i, 4);
        ASSERT_EQ(value, metres);
    }
}

// Hooks of different threads come in any order.
std::vector<std::string> sorted(std::vector<std::string> calls) {
    std::sort(calls.begin(), calls.end());
    return calls;
}

TEST(AnObserver, GetsMetadataAndObservationsBesideTheClientInControl) {
    Served<Recorder> served(
        one_small_camera(), {{"q", 2}}, [](ServerOptions&) {},
        [](Recorder& server) { server.on_metadata = [] {
                                   return InfoMap{{"robot", "arm"}};
                               }; });
    const std::vector<std::uint8_t> image(4 * 6 * 3, 9);
    ASSERT_TRUE(served->update_image(0, image.data(), image.size()).ok());
    RawClient observer = observer_of(served->port());  // nobody need be in control
    EXPECT_EQ(observer.ask(RequestType::metadata).metadata.at("robot"), "arm");
    RawClient controller = served.connect();
    for (int i = 0; i < 3; ++i) {
        const Observation obs = observer.ask(RequestType::obs_request).result.obs;
        EXPECT_EQ(obs["wrist"].sequence, 1u);
        EXPECT_EQ(std::as_const(obs)["wrist"].image[0], 9);
        EXPECT_GT(obs.snapshot_time, 0.0);
        EXPECT_EQ(controller.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    }
    controller.close();
    EXPECT_EQ(observer.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    EXPECT_EQ(served->stats().observers, 1u);
    EXPECT_EQ(served->stats().connections, 1u);
}

TEST(AnObserver, ReachesNoHookButMetadata) {
    Served<Recorder> served;
    for (int i = 0; i < 5; ++i) {
        RawClient observer = next_observer_of(served->port());
        observer.ask(RequestType::metadata);
        observer.ask(RequestType::obs_request);
        if (i % 2) observer.close();
        else observer.reset();
    }
    RawClient client = served.connect_next();
    ASSERT_TRUE(eventually([&] { return served->count("on_connect") == 1; }));
    EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    client.close();
    ASSERT_TRUE(eventually([&] { return served->count("on_disconnect") == 1; }));
    // What the first one was told is told to the others. The rest was the client in control, on two threads.
    EXPECT_EQ(sorted(served->calls.get()), (std::vector<std::string>{"get_obs", "metadata", "on_connect", "on_disconnect"}));
}

TEST(AnObserver, MayNotMoveTheRobot) {
    Served<Recorder> served;
    RawClient controller = served.connect();
    ByteVector legacy;
    wire::encode_legacy_action(numbered_action(1), legacy);
    const std::vector<std::pair<const char*, ByteVector>> forbidden = {
        {"apply_action", action_message(numbered_action(1))}, {"action", legacy}, {"reset", request(RequestType::reset)}};
    for (const auto& [name, message] : forbidden) {
        SCOPED_TRACE(name);
        RawClient observer = next_observer_of(served->port());
        observer.send(message);
        observer.send(message);  // also if it insists
        const RawClient::Frame end = observer.receive_close();
        EXPECT_EQ(end.close_code(), 1008);
        EXPECT_EQ(end.close_reason(), std::string("an observer may ask for metadata and obs_request, got ") + name);
    }
    EXPECT_EQ(controller.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    ASSERT_TRUE(eventually([&] { return served->count("on_connect") == 1; }));
    EXPECT_EQ(sorted(served->calls.get()), (std::vector<std::string>{"get_obs", "on_connect"}));
    EXPECT_EQ(served->stats().actions_received, 0u);
    EXPECT_EQ(served->stats().protocol_errors, forbidden.size());
}

TEST(AnObserver, CountsForItselfWhatItMissed) {
    Served<HookedServer> served(one_small_camera(), {{"q", 1}}, [](ServerOptions& options) {
        options.max_observers = 3;
        options.max_observer_hz = 1e6;
    });
    const std::vector<std::uint8_t> image(4 * 6 * 3, 1);
    const auto publish = [&](int times) {
        for (int i = 0; i < times; ++i) {
            const float value = 1;
            ASSERT_TRUE(served->update_image(0, image.data(), image.size()).ok());
            ASSERT_TRUE(served->update_proprio(0, &value, 1).ok());
        }
    };
    const auto missed = [](RawClient& client) {
        const Observation obs = client.ask(RequestType::obs_request).result.obs;
        EXPECT_EQ(obs["wrist"].missed, obs.proprio("q").missed);
        return obs["wrist"].missed;
    };
    RawClient controller = served.connect(), often = observer_of(served->port()), seldom = observer_of(served->port());
    publish(1);
    EXPECT_EQ(missed(controller), 0u);
    EXPECT_EQ(missed(often), 0u);
    EXPECT_EQ(missed(seldom), 0u);
    for (int round = 0; round < 3; ++round) {
        publish(2);
        EXPECT_EQ(missed(often), 1u);
        EXPECT_EQ(missed(often), 0u);
    }
    EXPECT_EQ(missed(controller), 5u);
    publish(1);
    EXPECT_EQ(missed(controller), 0u);
    EXPECT_EQ(missed(seldom), 6u);
    // The next one in a seat begins anew.
    seldom.close();
    publish(10);
    RawClient next = next_observer_of(served->port());
    EXPECT_EQ(missed(next), 0u);
}

TEST(AnObserver, GetsNoMoreObservationsASecondThanItMay) {
    constexpr double hz = 20;
    constexpr int count = 12;
    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) { options.max_observer_hz = hz; });
    RawClient observer = observer_of(served->port()), controller = served.connect();
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) observer.send(RequestType::obs_request);
    double before = 0;
    for (int i = 0; i < count; ++i) {
        const Observation obs = observer.receive_response().result.obs;
        EXPECT_GT(obs.snapshot_time, before);
        before = obs.snapshot_time;
        // Others need not wait for its turn.
        EXPECT_EQ(controller.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    EXPECT_GE(seconds * hz, count - 1);
    EXPECT_EQ(observer.ask(RequestType::metadata).type, wire::ResponseType::metadata_response);
}

TEST(AnObserver, FindsASeatOrIsToldThatAllAreTaken) {
    Served<Recorder> served(one_small_camera(), {}, [](ServerOptions& options) { options.max_observers = 2; });
    RawClient first = observer_of(served->port()), second = observer_of(served->port());
    for (int i = 0; i < 3; ++i) {
        RawClient third(served->port());
        const RawClient::HttpAnswer answer = third.handshake("/observe");
        EXPECT_EQ(answer.status, 503);
        EXPECT_EQ(answer.body, "All 2 seats for observers are taken: try again when one has gone.\n");
    }
    EXPECT_EQ(served->stats().refused, 3u);
    // Seats are the observers' only: who controls needs none.
    RawClient controller = served.connect();
    EXPECT_EQ(controller.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    first.close();
    RawClient third = next_observer_of(served->port());
    EXPECT_EQ(third.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    EXPECT_EQ(second.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);

    Served<Recorder> closed(one_small_camera(), {}, [](ServerOptions& options) { options.max_observers = 0; });
    RawClient nobody(closed->port());
    EXPECT_EQ(nobody.handshake("/observe").status, 503);
}

TEST(AnObserver, LeavesItsSeatFreeHoweverItGoes) {
    const auto one_seat = [](ServerOptions& options) {
        options.max_observers = 1;
        options.max_observer_hz = 1e6;
    };
    Served<Recorder> served(large_cameras(1), {}, one_seat);
    publish(*served, 0, 1);
    const std::vector<std::function<void(RawClient&)>> ways = {
        [](RawClient& observer) { observer.close(); },
        [](RawClient& observer) { observer.disconnect(); },
        [](RawClient& observer) { observer.reset(); },
        [](RawClient& observer) {  // with requests on their way
            for (int i = 0; i < 10; ++i) observer.send(RequestType::obs_request);
            observer.reset();
        },
        [](RawClient& observer) {  // in the middle of an answer
            observer.send(RequestType::obs_request);
            observer.await_input();
            observer.disconnect();
        },
        [](RawClient& observer) {  // thrown out, without listening
            observer.send(RequestType::reset);
            observer.disconnect();
        },
        [](RawClient& observer) {
            observer.send_frame(RawClient::kText, bytes_of("text"));
            EXPECT_EQ(observer.receive_close().close_code(), 1003);
        },
    };
    for (std::size_t i = 0; i < 50; ++i) {
        SCOPED_TRACE(i);
        RawClient observer = next_observer_of(served->port());
        expect_shows(observer.ask(RequestType::obs_request).result.obs.cameras[0], 1);
        ways[i % ways.size()](observer);
        if (i % 10 == 0) {  // refused for another reason: takes no seat
            RawClient refused(served->port());
            EXPECT_NE(refused.handshake("/observe?takeover=1").status, 101);
        }
    }
    RawClient last = next_observer_of(served->port());
    expect_shows(last.ask(RequestType::obs_request).result.obs.cameras[0], 1);
    EXPECT_EQ(served->stats().observers, 51u);
    EXPECT_TRUE(served->calls.get().empty());
    EXPECT_EQ(served->stats().copied_observations, 0u);
    EXPECT_EQ(served->stats().hook_errors, 0u);
}

// ---- what the client in control feels of it: nothing ----

class Viewer {
public:
    enum class Kind { none, blocked, flat_out };
    Viewer(Kind kind, int port) {
        if (kind == Kind::none) return;
        client_.emplace(observer_of(port, kind == Kind::blocked ? 4096 : 0));
        if (kind == Kind::blocked) {
            for (int i = 0; i < 8; ++i) client_->send(RequestType::obs_request);
            client_->await_input();  // the answer has begun, and is far larger than what the network holds
            return;
        }
        thread_ = std::jthread([this](const std::stop_token& stop) {
            while (!stop.stop_requested()) {
                client_->ask(RequestType::obs_request);
                ++seen;
            }
        });
        EXPECT_TRUE(eventually([&] { return seen > 0; }));
    }
    RawClient& client() { return *client_; }
    std::atomic<int> seen{0};

private:
    std::optional<RawClient> client_;
    std::jthread thread_;
};

TEST(ABlockedViewer, ChangesNothingForTheClientInControl) {
    constexpr int count = 50;
    Served<HookedServer> served(large_cameras(4), {}, [](ServerOptions& options) {
        options.deaf_timeout = std::chrono::minutes(10);  // it is to block until the test is done
        options.max_observers = 2;
    });
    for (std::size_t c = 0; c < 4; ++c) publish(*served, c, 1);
    Viewer viewer(Viewer::Kind::blocked, served->port()), other(Viewer::Kind::blocked, served->port());

    RawClient controller = served.connect();
    for (int i = 0; i < count; ++i) {
        const int n = 2 + i % 250;
        for (std::size_t c = 0; c < 4; ++c) publish(*served, c, n);
        const Observation obs = controller.ask(RequestType::obs_request).result.obs;
        for (const CameraInfo& info : obs.cameras) {
            ASSERT_EQ(info.sequence, static_cast<std::uint64_t>(i) + 2);
            ASSERT_EQ(info.missed, 0u);
            ASSERT_EQ(info.image[static_cast<std::size_t>(i)], n);
        }
        controller.send(numbered_action(static_cast<float>(i)));
    }
    ASSERT_TRUE(eventually([&] { return served->stats().actions_applied == count; }));
    const ServerStats stats = served->stats();
    EXPECT_EQ(stats.observations, static_cast<std::uint64_t>(count));  // the viewers have still not got one
    EXPECT_EQ(stats.copied_observations, 0u);
    EXPECT_EQ(stats.update_errors, 0u);
    EXPECT_EQ(stats.observers, 2u);

    // What they were being sent has waited for them, whole: it was pinned all the time.
    for (RawClient* late : {&viewer.client(), &other.client()}) {
        const Observation first = late->receive_response().result.obs;
        for (const CameraInfo& info : first.cameras) {
            EXPECT_EQ(info.sequence, 1u);
            expect_shows(info, 1);
        }
        const Observation second = late->receive_response().result.obs;
        for (const CameraInfo& info : second.cameras) {
            EXPECT_EQ(info.sequence, static_cast<std::uint64_t>(count) + 1);
            EXPECT_EQ(info.missed, static_cast<std::uint64_t>(count) - 1);
            expect_shows(info, 2 + (count - 1) % 250);
        }
    }
}

TEST(ABlockedViewer, ThatIsStuckForEverIsLetGoWhileTheClientInControlStays) {
    Served<HookedServer> served(large_cameras(4), {}, [](ServerOptions& options) {
        options.deaf_timeout = std::chrono::milliseconds(500);
        options.max_observers = 1;
    });
    for (std::size_t c = 0; c < 4; ++c) publish(*served, c, 1);
    RawClient controller = served.connect();
    Viewer viewer(Viewer::Kind::blocked, served->port());
    // Its seat becomes free; until then, and after it, the controller is served.
    ASSERT_TRUE(eventually([&] {
        controller.ask(RequestType::obs_request);
        RawClient next(served->port());
        return next.handshake("/observe").status == 101;
    }));
    EXPECT_EQ(controller.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
    EXPECT_EQ(served->stats().connections, 1u);
}

TEST(Viewers, DoNotSlowTheClientInControlDown) {
    // A control without viewer and the two others take turns, so that all meet the same load of the machine.
    constexpr std::array kinds = {Viewer::Kind::none, Viewer::Kind::blocked, Viewer::Kind::flat_out};
    constexpr int rounds = 9, requests = 12;
    std::vector<CameraConfig> cameras;
    for (const char* name : {"left", "right"}) cameras.push_back(camera(name, 240, 320, 3, true));
    // A viewer that may ask this often is being served a good part of the time.
    Served<HookedServer> served(cameras, {}, [](ServerOptions& options) { options.max_observer_hz = 200; });
    RawClient controller = served.connect();
    std::array<std::vector<double>, kinds.size()> round_trips;
    int seen = 0;
    for (int round = 0; round < rounds; ++round)
        for (std::size_t k = 0; k < kinds.size(); ++k) {
            // The one before has gone; the other line is the controller's.
            ASSERT_TRUE(eventually([&] { return served.log.count(" connected") == served.log.count(" gone: ") + 1; }));
            Viewer viewer(kinds[k], served->port());
            for (int i = 0; i < requests || (kinds[k] == Viewer::Kind::flat_out && viewer.seen < 5); ++i) {
                for (std::size_t c = 0; c < cameras.size(); ++c) publish(*served, c, i);
                const auto begin = std::chrono::steady_clock::now();
                const Observation obs = controller.ask(RequestType::obs_request).result.obs;
                round_trips[k].push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
                ASSERT_EQ(obs.cameras[0].missed, 0u);
            }
            seen += viewer.seen;
        }
    const auto median = [](std::vector<double>& values) {
        const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
        std::nth_element(values.begin(), middle, values.end());
        return *middle;
    };
    const double none = median(round_trips[0]), blocked = median(round_trips[1]), flat_out = median(round_trips[2]);
    RecordProperty("blocked", std::to_string(blocked / none));
    RecordProperty("flat_out", std::to_string(flat_out / none));
    std::printf("median round trip: %.3f ms alone, x %.2f with a blocked viewer, x %.2f with one that reads flat out\n",
                1e3 * none, blocked / none, flat_out / none);
    EXPECT_LT(blocked, 3 * none);
    EXPECT_LT(flat_out, 4 * none);
    EXPECT_GE(seen, 5 * rounds);
    EXPECT_EQ(served->stats().copied_observations, 0u);
    EXPECT_EQ(served->stats().update_errors, 0u);
}

}  // namespace
}  // namespace chiral::test
