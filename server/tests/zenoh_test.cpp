// SPDX-License-Identifier: Apache-2.0
// Server and client over Zenoh, on a network within the process that does what it is told to.
#include "net/zenoh.hpp"
#include "conversations.hpp"
#include "local_support.hpp"
#include "net/sockets.hpp"
#include "net/zenoh_keys.hpp"
#include "support.hpp"
#include "zenoh/inbox.hpp"
#include "zenoh/presence.hpp"
#include "zenoh/service.hpp"
#include "zenoh_in_memory.hpp"

#include <chiral/client.hpp>
#include <chiral/fleet.hpp>
#include <chiral/wire.hpp>

#include <gtest/gtest.h>

#include <poll.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace chiral::test {
namespace {

namespace network = zenoh_network;
using namespace std::chrono_literals;
using Bytes = std::vector<std::uint8_t>;
using Messages = Watched<std::vector<Bytes>>;

constexpr const char* kAddress = "zenoh://127.0.0.1:7447";

void on_zenoh(ServerOptions& options) {
    options.zenoh.emplace();
    options.zenoh->only = true;
}

class Robot : public Served<HookedServer> {
public:
    explicit Robot(
        const std::function<void(ServerOptions&)>& adjust = [](ServerOptions&) {},
        const std::function<void(HookedServer&)>& prepare = [](HookedServer&) {})
        : Served(
              one_small_camera(), {},
              [&](ServerOptions& options) {
                  on_zenoh(options);
                  adjust(options);
              },
              prepare) {
        network::reset();
    }
    bool saw(const std::string& event) {
        return (*this)->control.wait([&](const auto& events) {
            return std::find_if(events.begin(), events.end(),
                                [&](const auto& seen) { return seen.find(event) != std::string::npos; }) != events.end();
        });
    }
};

ClientOptions impatient() {
    ClientOptions options;
    options.connect_timeout = kDeadline;
    options.request_timeout = kDeadline;
    options.log = [](const std::string&) {};
    return options;
}

Action action_of(float value) {
    Action action;
    action.N = 1;
    action.D = 1;
    action.data = {value};
    return action;
}

Bytes request(wire::RequestType type) {
    Bytes bytes;
    wire::encode_request(type, bytes);
    return bytes;
}

Bytes apply_action(float value) {
    Bytes bytes;
    wire::encode_apply_action(action_of(value), true, bytes);
    return bytes;
}

wire::ResponseType type_of(const Bytes& message) {
    wire::Response response;
    wire::decode_response(wire::Bytes(message), response);
    return response.type;
}

/// A client of the documented kind.
class Documented {
public:
    void say(const Bytes& message) { peer_->put("chiral/c2s", message); }
    [[nodiscard]] bool heard(std::size_t messages) const {
        return heard_->wait([&](const auto& all) { return all.size() >= messages; });
    }
    std::vector<Bytes> all() const { return heard_->get(); }
    void leave() { peer_.reset(); }

private:
    std::shared_ptr<Messages> heard_ = std::make_shared<Messages>();
    std::optional<network::Peer> peer_{std::in_place, "chiral/s2c", [heard = heard_](Bytes message) {
                                           heard->change([&](auto& all) { all.push_back(std::move(message)); });
                                       }};
};

std::string refusal_of(PolicyClient& client) {
    try {
        client.connect();
    } catch (const ConnectionError& error) {
        return error.what();
    }
    return "let in";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// ---- ours with ours ----

TEST(Zenoh, CarriesEveryRequestOfAClient) {
    Robot robot([](ServerOptions&) {},
                [](HookedServer& server) {
                    server.on_metadata = [] { return InfoMap{{"robot", "arm"}}; };
                    server.on_step = [](const Action& action) {
                        StepResult result;
                        result.reward = action.data[0];
                        return result;
                    };
                });
    Bytes pixels(4 * 6 * 3);
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i);
    ASSERT_TRUE(robot->update_image(0, pixels.data(), pixels.size()).ok());
    PolicyClient client(kAddress, impatient());
    client.connect();
    EXPECT_EQ(client.get_metadata().at("robot"), "arm");
    EXPECT_EQ(client.reset().first.cameras.at(0).image, ByteBuffer(pixels));
    EXPECT_EQ(client.get_obs().cameras.at(0).image, ByteBuffer(pixels));
    EXPECT_EQ(client.step(action_of(2.5F)).reward, 2.5F);
    client.apply_action(action_of(7));
    EXPECT_TRUE(robot.saw("action 7"));
}

TEST(Zenoh, PixelsGoFromTheSlotsAsTheyAre) {
    const std::uint8_t* image = nullptr;
    Robot robot([](ServerOptions&) {},
                [&](HookedServer& server) {
                    server.on_get_obs = [&] {
                        Observation obs = server.make_obs();
                        image = std::as_const(obs.cameras.at(0).image).data();
                        return obs;
                    };
                });
    PolicyClient client(kAddress, impatient());
    client.connect();
    static_cast<void>(client.get_obs());
    bool borrowed = false;
    for (const network::Passed& message : network::passed())
        borrowed |= std::find(message.pieces.begin(), message.pieces.end(), image) != message.pieces.end();
    EXPECT_TRUE(borrowed);
    EXPECT_EQ(robot->stats().copied_observations, 0U);
}

TEST(Zenoh, OneClientControlsAndTheNextIsToldSo) {
    Robot robot;
    PolicyClient first(kAddress, impatient()), second(kAddress, impatient());
    first.connect();
    ASSERT_TRUE(robot.saw("connect"));
    EXPECT_TRUE(contains(refusal_of(second), "Another client controls this robot"));
    EXPECT_EQ(robot->stats().refused, 1U);
    first.close();
    ASSERT_TRUE(robot.saw("disconnect"));
    EXPECT_EQ(refusal_of(second), "let in");
}

TEST(Zenoh, AClientMayTakeOverWhereThatIsAllowed) {
    Robot robot([](ServerOptions& options) { options.allow_takeover = true; });
    PolicyClient first(kAddress, impatient()), second(std::string(kAddress) + "/chiral?takeover=1", impatient());
    first.connect();
    second.connect();
    EXPECT_TRUE(eventually([&] { return !first.connected(); }));
    EXPECT_THROW(static_cast<void>(first.get_obs()), ConnectionError);
    second.apply_action(action_of(3));
    EXPECT_TRUE(robot.saw("action 3"));
}

TEST(Zenoh, AnObserverSeesAndDoesNotMove) {
    Robot robot;
    PolicyClient controls(kAddress, impatient()), watches(std::string(kAddress) + "/chiral?observe=1", impatient());
    controls.connect();
    watches.connect();
    EXPECT_EQ(watches.get_obs().cameras.size(), 1U);
    watches.apply_action(action_of(1));
    EXPECT_TRUE(eventually([&] { return !watches.connected(); }));
    EXPECT_EQ(robot->stats().actions_received, 0U);
    EXPECT_EQ(controls.get_obs().cameras.size(), 1U);
}

TEST(Zenoh, ATokenIsAskedForHereToo) {
    Robot robot([](ServerOptions& options) { options.access.bearer_token = "right"; });
    ClientOptions wrong = impatient(), right = impatient();
    wrong.bearer_token = "wrong";
    right.bearer_token = "right";
    PolicyClient stranger(kAddress, impatient()), liar(kAddress, wrong), friendly(kAddress, right);
    EXPECT_TRUE(contains(refusal_of(stranger), "asks for a token"));
    EXPECT_TRUE(contains(refusal_of(liar), "asks for a token"));
    Documented nameless;
    nameless.say(apply_action(1));
    EXPECT_TRUE(robot.log.wait_for("without a name: this robot asks for a token"));
    EXPECT_EQ(refusal_of(friendly), "let in");
    EXPECT_EQ(robot->stats().actions_received, 0U);
}

TEST(Zenoh, AClientWhoseLinkIsCutHasLostControl) {
    Robot robot;
    PolicyClient client(kAddress, impatient());
    client.connect();
    ASSERT_TRUE(robot.saw("connect"));
    network::cut(network::sessions().back());
    EXPECT_TRUE(robot.saw("disconnect: its Zenoh session is gone"));
    PolicyClient next(kAddress, impatient());
    EXPECT_EQ(refusal_of(next), "let in");
}

TEST(Zenoh, WhatWasSentBeforeAClientLeftInOrderStillCounts) {
    Gate gate;
    Robot robot([](ServerOptions&) {},
                [&](HookedServer& server) {
                    server.on_action = [&](const Action& action) {
                        if (action.data[0] == 1.0F) gate.pass();
                    };
                });
    const OpensAtEnd opens(gate);
    PolicyClient client(kAddress, impatient());
    client.connect();
    client.apply_action(action_of(1));
    client.apply_action(action_of(2));
    ASSERT_TRUE(gate.reached());
    client.close();
    ASSERT_TRUE(robot.log.wait_for("closed by the client"));
    gate.open();
    EXPECT_TRUE(robot.saw("disconnect"));
    EXPECT_TRUE(robot.saw("action 2"));
}

TEST(Zenoh, AClientHearsThatTheServerStops) {
    std::optional<Robot> robot(std::in_place);
    PolicyClient client(kAddress, impatient());
    client.connect();
    robot.reset();
    EXPECT_TRUE(eventually([&] { return !client.connected(); }));
    try {
        static_cast<void>(client.get_obs());
        FAIL() << "answered";
    } catch (const ConnectionError& error) {
        EXPECT_TRUE(contains(error.what(), "1001") || contains(error.what(), "gone")) << error.what();
    }
}

TEST(Zenoh, AClientThatTakesNothingIsDroppedAndItsPinsGoBack) {
    Robot robot([](ServerOptions& options) { options.zenoh->stalled_timeout = 50ms; });
    PolicyClient client(kAddress, impatient());
    client.connect();
    network::stall("chiral/s2c");
    std::thread asks([&] {
        const auto asks_on = [&] {
            for (;;) static_cast<void>(client.get_obs());  // the first may come in the end, but too late
        };
        EXPECT_THROW(asks_on(), ConnectionError);
    });
    EXPECT_TRUE(robot.saw("disconnect: took nothing of an answer"));
    network::stall("");
    asks.join();
    PolicyClient next(kAddress, impatient());
    next.connect();
    for (int i = 0; i < 4; ++i) EXPECT_EQ(next.get_obs().cameras.size(), 1U);
    EXPECT_EQ(robot->stats().copied_observations, 0U);
}

TEST(Zenoh, AnAnswerThatComesTwiceOrToNothingIsDropped) {
    Robot robot;
    PolicyClient client(kAddress, impatient());
    client.connect();
    static_cast<void>(client.get_obs());
    // Whatever passed to this client passes again, before and behind the next answer.
    network::Peer echo("nothing", [](Bytes) {});
    std::vector<network::Passed> answers;
    for (network::Passed& message : network::passed())
        if (message.key.starts_with("chiral/s2c/") && !message.payload.empty()) answers.push_back(std::move(message));
    ASSERT_EQ(answers.size(), 1U);
    const std::uint64_t before = client.stats().observations;
    for (int i = 0; i < 3; ++i) {
        network::repeat(answers.front());
        EXPECT_EQ(client.get_metadata().size(), 0U);
    }
    EXPECT_EQ(client.stats().observations, before);
}

TEST(Zenoh, WhoSubscribesToTheStreamGetsObservationsUnasked) {
    Robot robot([](ServerOptions& options) {
        options.zenoh->stream_hz = 100.0;
        options.zenoh->publish_metrics = true;
    });
    const auto seen = std::make_shared<Messages>(), figures = std::make_shared<Messages>();
    const auto into = [](std::shared_ptr<Messages> messages) {
        return [messages](Bytes message) { messages->change([&](auto& all) { all.push_back(std::move(message)); }); };
    };
    {
        const network::Peer watches("chiral/stream", into(seen)), monitors("chiral/metrics/chiral_clients", into(figures));
        ASSERT_TRUE(seen->wait([](const auto& all) { return all.size() >= 3; }));
        EXPECT_EQ(type_of(seen->get().back()), wire::ResponseType::obs_response);
        ASSERT_TRUE(figures->wait([](const auto& all) { return !all.empty(); }));
        EXPECT_EQ(figures->get().front(), (Bytes{'0'}));
    }
    // Nobody subscribes: nothing is made.
    EXPECT_TRUE(eventually([] {
        const std::size_t before = network::passed().size();
        std::this_thread::sleep_for(50ms);
        return network::passed().size() == before;
    }));
}

// ---- documented clients ----

TEST(Zenoh, ADocumentedClientIsAnswered) {
    Robot robot;
    Documented client;
    client.say(request(wire::RequestType::metadata));
    ASSERT_TRUE(client.heard(1));
    client.say(request(wire::RequestType::reset));
    ASSERT_TRUE(client.heard(2));
    client.say(request(wire::RequestType::obs_request));
    client.say(apply_action(4));
    ASSERT_TRUE(client.heard(3));
    EXPECT_EQ(type_of(client.all()[0]), wire::ResponseType::metadata_response);
    EXPECT_EQ(type_of(client.all()[1]), wire::ResponseType::reset_response);
    EXPECT_EQ(type_of(client.all()[2]), wire::ResponseType::obs_response);
    EXPECT_TRUE(robot.saw("action 4"));
}

TEST(Zenoh, ADocumentedClientIsNotHeardWhileAnotherControls) {
    Robot robot;
    PolicyClient client(kAddress, impatient());
    client.connect();
    Documented nameless;
    nameless.say(apply_action(9));
    nameless.say(request(wire::RequestType::metadata));
    EXPECT_TRUE(robot.log.wait_for("without a name: a client is connected already"));
    static_cast<void>(client.get_obs());
    EXPECT_EQ(robot->stats().actions_received, 0U);
    EXPECT_TRUE(nameless.all().empty());
}

TEST(Zenoh, ADocumentedClientThatHearsNoMoreHasLostControl) {
    Robot robot;
    Documented client;
    client.say(request(wire::RequestType::metadata));
    client.say(apply_action(1));
    ASSERT_TRUE(robot.saw("action 1"));
    client.leave();
    EXPECT_TRUE(robot.saw("disconnect: nobody subscribes to its answers any more"));
}

TEST(Zenoh, ADocumentedClientThatSaysNothingHasLostControlButNotOneThatWaits) {
    Gate gate;
    Robot robot([](ServerOptions& options) { options.zenoh->silence = 40ms; },
                [&](HookedServer& server) {
                    server.on_reset = [&] {
                        gate.pass();
                        return std::pair(server.make_obs(), InfoMap());
                    };
                });
    const OpensAtEnd opens(gate);
    Documented client;
    client.say(request(wire::RequestType::reset));
    ASSERT_TRUE(gate.reached());
    // A second one is turned away for as long as the first waits: it asks longer than the silence lasts.
    const TimePoint long_after = Clock::now() + 200ms;
    Documented other;
    while (Clock::now() < long_after) {
        other.say(apply_action(1));
        std::this_thread::sleep_for(1ms);
    }
    EXPECT_EQ(robot->control.get(), std::vector<std::string>{"connect"});
    gate.open();
    ASSERT_TRUE(client.heard(1));
    EXPECT_TRUE(robot.saw("disconnect: said nothing for too long"));
}

// It cannot be told, and goes on: that is not to move the robot.
void expect_that_no_action_begins(Robot& robot, Documented& client) {
    const std::uint64_t received = robot->stats().actions_received, refused = robot->stats().refused;
    // Again: what came while the one before ended was cleared away with the rest.
    EXPECT_TRUE(eventually([&] {
        client.say(request(wire::RequestType::obs_request));  // as it does all the time
        client.say(apply_action(50));
        return robot->stats().refused > refused;
    }));
    EXPECT_TRUE(robot.log.wait_for("it has asked for neither metadata nor a reset"));
    EXPECT_EQ(robot->stats().actions_received, received);
    // Who begins an episode begins, with what comes behind that.
    client.say(request(wire::RequestType::reset));
    client.say(apply_action(51));
    EXPECT_TRUE(robot.saw("action 51"));
    const auto events = robot->control.get();
    EXPECT_EQ(std::count(events.begin(), events.end(), "action 50"), 0);
}

TEST(Zenoh, ADocumentedClientThatWasNotHeardBeforeBeginsWithNoAction) {
    Robot robot;
    Documented client;
    expect_that_no_action_begins(robot, client);
}

TEST(Zenoh, ADocumentedClientWhoseActionFailedBeginsWithNoAction) {
    Robot robot([](ServerOptions&) {},
                [](HookedServer& server) {
                    server.on_action = [](const Action& action) {
                        if (action.data[0] == 1) throw std::runtime_error("motor off");
                    };
                });
    Documented client;
    client.say(request(wire::RequestType::metadata));
    client.say(apply_action(1));
    ASSERT_TRUE(robot.saw("disconnect: apply_action() failed: motor off"));
    expect_that_no_action_begins(robot, client);
}

TEST(Zenoh, ADocumentedClientThatWasTakenOverFromBeginsWithNoActionWhenTheTakerLeaves) {
    Robot robot([](ServerOptions& options) { options.allow_takeover = true; });
    Documented client;
    client.say(request(wire::RequestType::metadata));
    client.say(apply_action(1));
    ASSERT_TRUE(robot.saw("action 1"));
    {
        PolicyClient taker(std::string(kAddress) + "?takeover=1", impatient());
        taker.connect();
        ASSERT_TRUE(robot.saw("disconnect: another client has taken over"));
    }
    ASSERT_TRUE(robot.saw("disconnect: closed by the client"));
    expect_that_no_action_begins(robot, client);
}

void soon_silent(ServerOptions& options) { options.zenoh->silence = 40ms; }

void act_and_pause(Robot& robot, Documented& client) {
    client.say(request(wire::RequestType::metadata));
    client.say(apply_action(1));
    ASSERT_TRUE(robot.saw("disconnect: said nothing for too long"));
}

TEST(Zenoh, ADocumentedClientThatPausedWhileAnotherControlledBeginsWithNoAction) {
    Robot robot(soon_silent);
    Documented client;
    act_and_pause(robot, client);
    {
        PolicyClient other(kAddress, impatient());
        other.connect();
        static_cast<void>(other.get_obs());
    }
    ASSERT_TRUE(robot.saw("disconnect: closed by the client"));
    expect_that_no_action_begins(robot, client);
}

TEST(Zenoh, ADocumentedClientThatMerelyPausedBeginsWithAnAction) {
    Robot robot(soon_silent);
    Documented client;
    act_and_pause(robot, client);
    EXPECT_TRUE(eventually([&] {
        client.say(apply_action(2));
        return robot->stats().actions_received >= 2;
    }));
}

TEST(Zenoh, WithTwoRobotsUnderOnePrefixNeitherMoves) {
    Robot one, two;
    ASSERT_TRUE(one.log.wait_for("is under the same Zenoh prefix"));
    ASSERT_TRUE(two.log.wait_for("is under the same Zenoh prefix"));
    Documented nameless;
    nameless.say(apply_action(1));
    EXPECT_TRUE(one.log.wait_for("another robot is under the same prefix"));
    EXPECT_TRUE(two.log.wait_for("another robot is under the same prefix"));
    ClientOptions options = impatient();
    options.connect_timeout = 100ms;
    PolicyClient client(kAddress, options);
    EXPECT_TRUE(contains(refusal_of(client), "2 robots are under the prefix 'chiral', expected one"));
    EXPECT_EQ(one->stats().actions_received + two->stats().actions_received, 0U);
}

TEST(Zenoh, ADocumentedClientMovesNobodyAnyMoreOnceASecondRobotIsThere) {
    Robot robot;
    Documented nameless;
    nameless.say(request(wire::RequestType::metadata));
    nameless.say(apply_action(1));
    ASSERT_TRUE(robot.saw("action 1"));
    network::Peer other("nothing", [](const Bytes&) {});
    other.show("chiral/@chiral/robot/another");
    EXPECT_TRUE(robot.saw("disconnect: another robot is under the same prefix"));
    // Again: what came while it ended was cleared away with the rest.
    const std::uint64_t refused = robot->stats().refused;
    EXPECT_TRUE(eventually([&] {
        nameless.say(apply_action(2));
        return robot->stats().refused > refused;
    }));
    EXPECT_TRUE(robot.log.wait_for("refused a client by Zenoh without a name: another robot is under the same prefix"));
    EXPECT_EQ(robot->stats().actions_received, 1U);
}

TEST(Zenoh, RobotsUnderPrefixesOfTheirOwnAreApart) {
    Robot one([](ServerOptions& options) { options.zenoh->prefix = "robots/arm7"; });
    Robot two([](ServerOptions& options) { options.zenoh->prefix = "robots/arm8"; });
    PolicyClient client("zenoh://127.0.0.1/robots/arm8", impatient());
    client.connect();
    client.apply_action(action_of(5));
    EXPECT_TRUE(two.saw("action 5"));
    const std::vector<FoundRobot> found = find_robots("tcp/127.0.0.1:7447");
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].prefix, "robots/arm7");
    EXPECT_EQ(found[1].prefix, "robots/arm8");
    EXPECT_NE(found[0].id, found[1].id);
    EXPECT_EQ(one->stats().connections, 0U);
}

// ---- strangers, and means that run out ----

TEST(Zenoh, StrangersThatShowThemselvesInCrowdsKeepNobodyOut) {
    Robot robot;
    const std::string me = network::sessions().back();
    network::Peer stranger("nothing", [](const Bytes&) {});
    for (int i = 0; i < 1500; ++i) stranger.show("chiral/@chiral/client/" + me + "/stranger" + std::to_string(i));
    PolicyClient client(kAddress, impatient());
    EXPECT_EQ(refusal_of(client), "let in");
}

TEST(Zenoh, AClientForWhichThereAreNoMeansIsTheOnlyOneThatIsNotServed) {
    Robot robot;
    PolicyClient controls(kAddress, impatient());
    controls.connect();
    network::refuse_publishers("chiral/s2c/");
    ClientOptions options = impatient();
    options.connect_timeout = 100ms;
    PolicyClient watches(std::string(kAddress) + "/chiral?observe=1", options);
    EXPECT_TRUE(contains(refusal_of(watches), "does not answer"));
    EXPECT_TRUE(robot.log.wait_for("no publisher for this key"));
    network::refuse_publishers("");
    EXPECT_EQ(controls.get_obs().cameras.size(), 1U);
    PolicyClient later(std::string(kAddress) + "/chiral?observe=1", impatient());
    EXPECT_EQ(refusal_of(later), "let in");
    EXPECT_TRUE(controls.connected());
}

Bytes note(net::ZenohNote::Kind kind, std::uint64_t number) {
    const auto encoded = net::ZenohNote{kind, 0, number, 0}.encoded();
    return {encoded.begin(), encoded.end()};
}

TEST(Zenoh, AClientThatAsksAgainAndAgainWhetherItIsInIsAnsweredOnceAtATime) {
    Robot robot;
    const std::string me = network::sessions().back();
    network::Peer client("nothing", [](const Bytes&) {});
    client.show("chiral/@chiral/client/" + me + "/insistent");
    network::stall("chiral/s2c/");
    const std::string text = net::ZenohHello{}.text();
    const std::string key = "chiral/c2s/" + me + "/insistent";
    for (std::uint64_t i = 1; i <= 50; ++i)
        client.put(key, {text.begin(), text.end()}, note(net::ZenohNote::Kind::hello, i));
    ASSERT_TRUE(robot.saw("connect"));  // before that nothing else is taken from it
    client.put(key, apply_action(1), note(net::ZenohNote::Kind::message, 51));
    ASSERT_TRUE(robot.saw("action 1"));  // so all that came before has been looked at
    client.put(key, {}, note(net::ZenohNote::Kind::end, 52));
    ASSERT_TRUE(robot.saw("disconnect"));
    network::stall("");
    robot->stop();
    robot->wait();  // until all has been sent
    std::size_t answers = 0;
    for (const network::Passed& message : network::passed()) answers += message.key == "chiral/s2c/" + me + "/insistent";
    EXPECT_GE(answers, 1U);
    EXPECT_LE(answers, 2U) << "of them all, one is being sent, and one waits";
}

/// A server on all three transports, not served yet.
class OnAll {
public:
    OnAll()
        : port_(net::free_tcp_port("127.0.0.1")), server(one_small_camera(), {}, "127.0.0.1", port_, [this] {
              ServerOptions options = local_options(log_, folder_);
              options.zenoh.emplace();
              return options;
          }()) {
        network::reset();
    }
    ~OnAll() {
        server.stop();
        server.wait();
        network::reset();
    }
    bool called() const { return !server.control.get().empty() || !server.calls.get().empty(); }
    /// They say what they can before they are heard, and leave time to whoever would hear them.
    void clients_come() {
        web_.emplace(port_);
        web_->send_bytes(bytes_of(RawClient::handshake_request()));
        local_.emplace(folder_);
        local_->say(net::PacketKind::hello, "version=" + std::to_string(net::kLocalVersion) + "\nwants=control\n");
        local_->apply(action_of(1));
        pollfd answer{local_->socket(), POLLIN, 0};
        EXPECT_EQ(::poll(&answer, 1, 50), 0) << "it is heard before all has begun";
    }

private:
    const int port_;
    OwnFolder folder_;
    LogBook log_;
    std::optional<RawLocal> local_;
    std::optional<RawClient> web_;

public:
    HookedServer server;
};

TEST(ServingThatBeginsOnSeveralTransports, LetsNobodyInIfOneOfThemFails) {
    OnAll all;
    network::ask_before_subscribing([&](const std::string&) {
        all.clients_come();
        return false;
    });
    EXPECT_THROW(all.server.serve(), std::runtime_error);
    EXPECT_FALSE(all.called());
}

TEST(ServingThatBeginsOnSeveralTransports, LetsNobodyInIfItWasStoppedBefore) {
    OnAll all;
    bool come = false;
    network::ask_before_subscribing([&](const std::string&) {
        if (!std::exchange(come, true)) all.clients_come();
        return true;
    });
    all.server.stop();
    all.server.serve();
    all.server.wait();
    EXPECT_FALSE(all.called());
}

TEST(Zenoh, AStreamNeedsASeatOfObservers) {
    ServerOptions options;
    options.zenoh.emplace().stream_hz = 20;
    options.max_observers = 0;
    EXPECT_THROW(OpenServer(one_small_camera(), {}, "127.0.0.1", 0, options), std::invalid_argument);
}

TEST(AZenohServiceThatNeverServed, LeavesNothingOnTheEventLoop) {
    Stage stage([](ServerOptions& options) { options.zenoh.emplace(); });
    network::reset();
    boost::asio::io_context io;
    {
        zenoh::Service service(stage.robot(), io, "127.0.0.1", 7447);
        service.start();
    }
    io.restart();
    EXPECT_EQ(io.poll(), 0U);
}

TEST(AZenohServiceThatEnds, WaitsUntilWhatItHasSentIsReadByNobody) {
    Robot robot;
    PolicyClient client(kAddress, impatient());
    client.connect();
    network::keep_pieces(true);
    EXPECT_EQ(client.get_obs().cameras.size(), 1U);
    std::atomic<int> ended{0};
    const auto wait = [&] {
        robot->wait();
        ++ended;
    };
    std::thread first(wait), second(wait);
    robot->stop();
    EXPECT_TRUE(eventually([&] { return !client.connected(); }));
    std::this_thread::sleep_for(50ms);  // in which one that does not wait for it could return
    EXPECT_EQ(ended, 0) << "a port or a name may still be taken, and the server's owner may destroy it";
    network::keep_pieces(false);
    first.join();
    second.join();
}

TEST(TheTokens, ThatComeAndGoAreOneEntryEachAndNoneOfWhomIsLetInIsForgotten) {
    zenoh::TokenChanges changes;
    const auto let_in = [](const std::string& name) { return name == "in control"; };
    changes.note("in control", true, let_in);
    changes.note("in control", false, let_in);
    for (int i = 0; i < 5000; ++i) changes.note("stranger " + std::to_string(i), i % 2 == 0, let_in);
    changes.note(std::string(33, 'x'), false, let_in);
    const auto taken = changes.take();
    EXPECT_EQ(taken.size(), zenoh::kMostRemembered);
    EXPECT_TRUE(taken.at("in control").went && taken.at("in control").here);
    EXPECT_TRUE(taken.contains("stranger 4999"));
    EXPECT_TRUE(changes.take().empty());
}

TEST(Zenoh, WhatACallbackThrowsIsNotThrownThroughTheLibrary) {
    const net::ZenohSession session("multicast: {enabled: false}", "");
    Watched<int> heard;
    const auto subscription = session.subscribe("throws", [&](const net::ZenohSample&) {
        heard.change([](int& count) { ++count; });
        throw std::bad_alloc();
    });
    const net::ZenohPublisher publisher = session.publish("throws");
    for (int i = 0; i < 2; ++i) publisher.put({}, {});
    EXPECT_TRUE(heard.wait([](int count) { return count == 2; }));
    ASSERT_TRUE(network::delivered(0)) << "what it refers to is on this stack";
}

TEST(Zenoh, TheNetworkThreadIsToldOnceHoweverMuchComesUntilItLooks) {
    zenoh::Inbox inbox("", 100);
    EXPECT_TRUE(inbox.to_be_told());
    EXPECT_FALSE(inbox.to_be_told());
    inbox.told();
    EXPECT_TRUE(inbox.to_be_told());
}

TEST(Zenoh, AServerThatIsOpenToAllSaysSoLoudly) {
    const auto beyond_loopback = [](ServerOptions& options) {
        options.zenoh->only = false;
        options.zenoh->listen = "0.0.0.0";
    };
    Robot open(beyond_loopback);
    EXPECT_TRUE(open.log.wait_for("WARNING: listening for Zenoh on 0.0.0.0 without a token"));
    Robot closed([&](ServerOptions& options) {
        beyond_loopback(options);
        options.zenoh->prefix = "other";
        options.access.bearer_token = "secret";
    });
    EXPECT_TRUE(closed.log.wait_for("serving Zenoh"));
    EXPECT_EQ(closed.log.count("WARNING"), 0U);  // it would have come first
}

// ---- documented servers ----

/// A server of the documented kind: answers each request with what it is told to.
class DocumentedServer {
public:
    explicit DocumentedServer(std::function<std::vector<Bytes>(wire::RequestType)> answers)
        : answers_(std::move(answers)), peer_("chiral/c2s", [this](const Bytes& message) {
              wire::Request asked;
              wire::decode_request(message, asked);
              requests.change([&](auto& all) { all.push_back(asked.type); });
              for (const Bytes& answer : answers_(asked.type)) peer_.put("chiral/s2c", answer);
          }) {}
    Watched<std::vector<wire::RequestType>> requests;

private:
    std::function<std::vector<Bytes>(wire::RequestType)> answers_;
    network::Peer peer_;
};

Bytes metadata_of(const std::string& name) {
    Bytes bytes;
    wire::encode_metadata_response({{"name", name}}, bytes);
    return bytes;
}

Bytes observation_at(double timestamp) {
    Observation obs;
    obs.timestamp = timestamp;
    wire::ObservationEncoder encoder;
    encoder.encode_obs_response(obs);
    return {encoder.head().begin(), encoder.head().end()};
}

TEST(Zenoh, OurClientTalksToADocumentedServer) {
    DocumentedServer server([](wire::RequestType type) -> std::vector<Bytes> {
        if (type == wire::RequestType::metadata) return {metadata_of("documented")};
        if (type == wire::RequestType::obs_request) return {observation_at(2.0)};
        return {};
    });
    PolicyClient client("tcp/127.0.0.1:7447", impatient());
    client.connect();
    EXPECT_EQ(client.get_metadata().at("name"), "documented");
    EXPECT_EQ(client.get_obs().timestamp, 2.0);
    client.apply_action(action_of(1));
    EXPECT_TRUE(server.requests.wait([](const auto& all) { return all.back() == wire::RequestType::apply_action; }));
}

TEST(Zenoh, WhatADocumentedServerSaysUnaskedIsDropped) {
    DocumentedServer server([](wire::RequestType type) -> std::vector<Bytes> {
        // What others asked for comes to everybody: in front of the first answer, and behind each.
        if (type == wire::RequestType::metadata) return {observation_at(-1.0), metadata_of("x"), observation_at(-2.0)};
        return {observation_at(3.0), observation_at(-3.0), metadata_of("y")};
    });
    network::reset();
    PolicyClient client("tcp/127.0.0.1:7447", impatient());
    client.connect();
    ASSERT_TRUE(network::delivered(4));  // what comes only after the next request would pass for its answer
    EXPECT_EQ(client.get_obs().timestamp, 3.0);
}

}  // namespace
}  // namespace chiral::test
