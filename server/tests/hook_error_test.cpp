// SPDX-License-Identifier: Apache-2.0
// What a hook or a sensor thread does wrong: it is reported, the client is told, and the service goes on.
#include "support.hpp"

#include <chiral/pending_call.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace chiral::test {
namespace {

using wire::RequestType;

constexpr auto unchanged = [](ServerOptions&) {};

TEST(HookErrors, AnOnConnectThatFindsItsClientGoneHasNotFailed) {
    Served<HookedServer> served(
        one_small_camera(), {}, [](ServerOptions&) {},
        [](HookedServer& server) {
            server.on_control = [](const std::string& event) {
                if (event == "connect") throw NotCalled();
            };
        });
    RawClient client = served.connect();
    client.send(action_message(numbered_action(1)));
    EXPECT_TRUE(
        served->control.wait([](const auto& events) { return std::count(events.begin(), events.end(), "action 1") == 1; }));
    EXPECT_EQ(served->stats().hook_errors, 0u);
}

TEST(HookErrors, AnExceptionClosesTheConnectionWithItsTextAndTheNextClientIsServed) {
    struct Case {
        const char* hook;
        ByteVector message;
    };
    ByteVector legacy;
    wire::encode_legacy_action(numbered_action(1), legacy);
    for (const Case& c :
         {Case{"get_metadata", request(RequestType::metadata)}, Case{"reset", request(RequestType::reset)},
          Case{"get_obs", request(RequestType::obs_request)}, Case{"apply_action", action_message(numbered_action(1))},
          Case{"step", legacy}, Case{"on_connect", action_message(numbered_action(1))},
          Case{"on_action_timeout", action_message(numbered_action(1))}}) {
        SCOPED_TRACE(c.hook);
        const std::string hook = c.hook;
        const auto hasty = [&](ServerOptions& options) {
            if (hook == "on_action_timeout") options.action_timeout = std::chrono::milliseconds(20);
        };
        bool broken = true;
        Served<HookedServer> served(one_small_camera(), {}, hasty, [&](HookedServer& server) {
            const auto fail = [&broken] {
                if (std::exchange(broken, false)) throw std::runtime_error("the arm is unplugged");
            };
            if (hook.starts_with("on_")) {
                server.on_control = [fail, hook](const std::string& event) {
                    if (event == (hook == "on_connect" ? "connect" : "timeout")) fail();
                };
                return;
            }
            server.on_metadata = [fail] { return fail(), InfoMap{}; };
            server.on_reset = [fail, &server] { return fail(), std::pair{server.make_obs(), InfoMap{}}; };
            server.on_get_obs = [fail, &server] { return fail(), server.make_obs(); };
            server.on_action = [fail](const Action&) { fail(); };
            server.on_step = [fail, &server](const Action&) {
                fail();
                StepResult result;
                result.obs = server.make_obs();
                return result;
            };
        });
        RawClient client = served.connect();
        client.send(c.message);
        const RawClient::Frame end = client.receive_close();
        EXPECT_EQ(end.close_code(), 1011);
        EXPECT_EQ(end.close_reason(), hook + "() failed: the arm is unplugged");
        EXPECT_EQ(served->stats().hook_errors, 1u);
        // By the hook's thread, and the closing.
        EXPECT_TRUE(eventually([&] { return served.log.count(hook + "() failed") == 2; }));
        expect_serves_the_next_client(served);
    }
}

TEST(HookErrors, WhatIsNoStdExceptionIsReportedAsWell) {
    Served<HookedServer> served(one_small_camera(), {}, unchanged,
                                [](HookedServer& server) { server.on_metadata = []() -> InfoMap { throw 42; }; });
    RawClient client = served.connect();
    client.send(RequestType::metadata);
    EXPECT_EQ(client.receive_close().close_reason(), "get_metadata() failed with an unknown exception");
}

TEST(HookErrors, AReasonIsCutAndCleanedToWhatACloseFrameMayHold) {
    struct Case {
        const char* name;
        std::string text, expected_end;
    };
    const std::string prefix = "get_metadata() failed: ";
    const auto room = 123 - prefix.size();
    std::string umlauts;
    for (int i = 0; i < 200; ++i) umlauts += "ü";
    for (const Case& c :
         {Case{"long", std::string(500, 'x'), std::string(room, 'x')},
          Case{"cut between characters", umlauts, umlauts.substr(0, room / 2 * 2)},
          Case{"not UTF-8", "k\xFCrzer \xC0\x80 \xED\xA0\x80 \xF4\x90\x80\x80 \xE2\x82", "k?rzer ?? ??? ???? ??"},
          Case{"control characters", std::string("a\nb\x1b[31m\x7f"), "a?b?[31m?"},
          Case{"characters of every length", "aü€😀", "aü€😀"}}) {
        SCOPED_TRACE(c.name);
        struct Failure : std::exception {
            std::string text;
            const char* what() const noexcept override { return text.c_str(); }
        };
        Served<HookedServer> served(one_small_camera(), {}, unchanged, [&](HookedServer& server) {
            server.on_metadata = [&]() -> InfoMap {
                Failure failure;
                failure.text = c.text;
                throw failure;
            };
        });
        RawClient client = served.connect();
        client.send(RequestType::metadata);
        const RawClient::Frame end = client.receive_close();
        EXPECT_EQ(end.close_code(), 1011);
        EXPECT_EQ(end.close_reason(), prefix + c.expected_end);
    }
}

TEST(HookErrors, ALogThatThrowsEndsNothing) {
    Served<HookedServer> served(
        one_small_camera(), {},
        [](ServerOptions& options) { options.log = [](const std::string&) { throw std::runtime_error("disk full"); }; },
        [](HookedServer& server) { server.on_metadata = []() -> InfoMap { throw std::runtime_error("no"); }; });
    for (int i = 0; i < 3; ++i) {
        RawClient client = served.connect_next();
        EXPECT_EQ(client.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
        client.send(RequestType::metadata);
        EXPECT_EQ(client.receive_close().close_code(), 1011);
    }
}

TEST(HookErrors, AnObservationWhoseShapeLiesIsRefusedWithTheCameraAndTheSizes) {
    const std::vector<std::pair<std::string, std::function<void(Observation&)>>> lies = {
        {"image_shape",
         [](Observation& obs) {
             obs["wrist"].image_shape = {4, 6, 4};
         }},
        {"image_shape",
         [](Observation& obs) {
             obs["wrist"].image_shape = {-4, -6, 3};
         }},
        {"image_shape",
         [](Observation& obs) {
             obs["wrist"].image_shape = {24, 4};
         }},
        {"depth_shape",
         [](Observation& obs) {
             obs["wrist"].depth_shape = {6, 5};
         }},
        {"depth", [](Observation& obs) { obs["wrist"].depth_data.resize(7); }},
        {"image", [](Observation& obs) { obs["wrist"].image.clear(); }},
        {"image_dtype", [](Observation& obs) { obs["wrist"].image_dtype = "float64"; }},
    };
    for (std::size_t i = 0; i < lies.size(); ++i) {
        SCOPED_TRACE(i);
        bool lie = true;
        Served<HookedServer> served(one_small_camera(), {}, unchanged, [&](HookedServer& server) {
            server.on_get_obs = [&] {
                Observation obs = server.make_obs();
                if (std::exchange(lie, false)) lies[i].second(obs);
                return obs;
            };
        });
        RawClient client = served.connect();
        client.send(RequestType::obs_request);
        const RawClient::Frame end = client.receive_close();
        EXPECT_EQ(end.close_code(), 1011);
        EXPECT_NE(end.close_reason().find("wrist"), std::string::npos) << end.close_reason();
        EXPECT_EQ(served->stats().hook_errors, 1u);
        EXPECT_EQ(served->stats().observations, 0u);
        expect_serves_the_next_client(served);
        EXPECT_EQ(served->stats().copied_observations, 0u);  // the refused one gave its slots back
    }
}

TEST(HookErrors, AUserMadeObservationIsSentAsItIs) {
    Served<HookedServer> served(one_small_camera(), {}, unchanged, [](HookedServer& server) {
        server.on_get_obs = [] {
            Observation obs;
            obs.cameras.resize(1);
            obs.cameras[0].name = "rendered";
            obs.cameras[0].image = std::vector<std::uint8_t>{1, 2, 3, 4};
            obs.cameras[0].image_shape = {2, 2, 1};
            return obs;
        };
    });
    RawClient client = served.connect();
    for (int i = 0; i < 3; ++i) {
        const Observation obs = client.ask(RequestType::obs_request).result.obs;
        ASSERT_EQ(obs.cameras.size(), 1u);
        EXPECT_EQ(obs["rendered"].image, (ByteBuffer(std::vector<std::uint8_t>{1, 2, 3, 4})));
        // The real cameras are not disturbed by it.
        EXPECT_EQ(client.ask(RequestType::reset).result.obs["wrist"].image.size(), 72u);
    }
}

TEST(UpdateErrors, AreReturnedCountedAndLoggedAndLeaveTheBuffersAlone) {
    LogBook log;
    OpenServer server({camera("wrist", 2, 2, 1, true), camera("gray", 2, 2, 1, false)}, {{"q", 2}}, "127.0.0.1", 0,
                      quiet(log));
    const std::vector<std::uint8_t> image = {1, 2, 3, 4};
    const std::vector<std::uint8_t> depth(16, 0);
    const float q[2] = {1, 2};
    ASSERT_TRUE(server.update_image(0, image.data(), 4).ok());
    ASSERT_TRUE(server.update_depth(0, depth.data(), 16).ok());
    ASSERT_TRUE(server.update_proprio(0, q, 2).ok());
    const Observation before = server.make_obs();

    const float not_finite[2] = {1, std::numeric_limits<float>::quiet_NaN()};
    Eigen::Matrix3d K = Eigen::Matrix3d::Identity();
    K(0, 0) = std::numeric_limits<double>::infinity();
    Eigen::Matrix4d T = Eigen::Matrix4d::Identity();
    T(3, 3) = std::numeric_limits<double>::quiet_NaN();
    const std::vector<std::pair<Status, Errc>> results = {
        {server.update_image(0, image.data(), 3), Errc::wrong_size},
        {server.update_image(0, image.data(), 5), Errc::wrong_size},
        {server.update_image(2, image.data(), 4), Errc::unknown_camera},
        {server.update_depth(0, depth.data(), 4), Errc::wrong_size},
        {server.update_depth(1, depth.data(), 16), Errc::no_depth},
        {server.update_intrinsics(0, K), Errc::not_finite},
        {server.update_extrinsics(0, T), Errc::not_finite},
        {server.update_proprio(0, q, 1), Errc::wrong_size},
        {server.update_proprio(1, q, 2), Errc::unknown_proprio},
        {server.update_proprio(0, not_finite, 2), Errc::not_finite},
    };
    for (const auto& [status, expected] : results) EXPECT_EQ(status.code(), expected) << status.message();
    EXPECT_EQ(server.stats().update_errors, results.size());
    EXPECT_TRUE(eventually([&] { return log.count("update error") == 4; })) << "the 1st, 2nd, 4th and 8th";
    EXPECT_EQ(log.count("camera 'wrist': image has 3 bytes, expected 4"), 1u);

    const Observation after = server.make_obs();
    EXPECT_EQ(after["wrist"].image, before["wrist"].image);
    EXPECT_EQ(after["wrist"].depth_data, before["wrist"].depth_data);
    EXPECT_EQ(after["wrist"].intrinsics, before["wrist"].intrinsics);
    EXPECT_EQ(after["wrist"].extrinsics, before["wrist"].extrinsics);
    EXPECT_EQ(after["wrist"].sequence, before["wrist"].sequence);
    EXPECT_EQ(after.proprio("q").data, before.proprio("q").data);
    EXPECT_EQ(after.proprio("q").sequence, before.proprio("q").sequence);
}

}  // namespace
}  // namespace chiral::test
