// SPDX-License-Identifier: Apache-2.0
// Memory runs out on the network thread, on those of TLS handshakes and local clients, or on those of the hooks, at every so many-th allocation:
// connections may be lost, the server is not. Afterwards it hears and serves as before.
#include "access_support.hpp"
#include "conversations.hpp"
#include "local_support.hpp"
#include "net/queue_traits.hpp"
#include "net/zenoh.hpp"
#include "raw_http.hpp"
#include "zenoh/inbox.hpp"
#include "zenoh/service.hpp"
#include "zenoh/session.hpp"
#include "zenoh_in_memory.hpp"

#include <chiral/client.hpp>
#include <chiral/log.hpp>

#include <chiral_zenoh.h>
#include <malloc.h>
#include <openssl/ssl.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <new>
#include <optional>
#include <set>
#include <thread>

extern "C" void* __real_malloc(std::size_t size);

namespace {

// On such threads every so many-th allocation fails, none for 0.
thread_local bool memory_is_short_here = false;
std::atomic<const char*> memory_is_short_on{nullptr};  // and on the thread of that name
std::atomic<unsigned> fails_every{0};
std::atomic<std::uint64_t> failed{0};
std::atomic<std::int64_t> held{0};  // bytes, by the whole program
// Of malloc() itself, which the queues call: the one fails that brings this to 0.
std::atomic<int> mallocs_until_one_fails{0};
std::atomic<bool> no_malloc{false};            // on any thread
std::atomic<std::uint64_t> mallocs_failed{0};  // since then

bool memory_is_short() {
    const char* const name = memory_is_short_on.load(std::memory_order_relaxed);
    char own[16] = "";
    return memory_is_short_here ||
           (name != nullptr && ::pthread_getname_np(::pthread_self(), own, sizeof own) == 0 && std::strcmp(own, name) == 0);
}

void* allocate(std::size_t size) {
    static thread_local unsigned count = 0;
    const unsigned every = memory_is_short() ? fails_every.load(std::memory_order_relaxed) : 0;
    if (every != 0 && ++count % every == 0) {
        failed.fetch_add(1, std::memory_order_relaxed);
        throw std::bad_alloc();
    }
    void* const memory = __real_malloc(size == 0 ? 1 : size);
    if (memory == nullptr) throw std::bad_alloc();
    held.fetch_add(static_cast<std::int64_t>(::malloc_usable_size(memory)), std::memory_order_relaxed);
    return memory;
}

void give_back(void* memory) noexcept {
    if (memory != nullptr)
        held.fetch_sub(static_cast<std::int64_t>(::malloc_usable_size(memory)), std::memory_order_relaxed);
    std::free(memory);
}

}  // namespace

extern "C" void* __wrap_malloc(std::size_t size) {
    if (no_malloc.load(std::memory_order_relaxed)) {
        mallocs_failed.fetch_add(1, std::memory_order_relaxed);
        return nullptr;
    }
    if (mallocs_until_one_fails.load(std::memory_order_relaxed) > 0 && memory_is_short() &&
        mallocs_until_one_fails.fetch_sub(1, std::memory_order_relaxed) == 1)
        return nullptr;
    return __real_malloc(size);
}

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void operator delete(void* memory) noexcept { give_back(memory); }
void operator delete[](void* memory) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t) noexcept { give_back(memory); }
void operator delete[](void* memory, std::size_t) noexcept { give_back(memory); }

namespace chiral::test {
namespace {

using wire::RequestType;

// What may come to nothing while memory is short.
template <class What>
void attempt(What&& what) {
    try {
        what();
    } catch (const std::exception&) {  // the connection was dropped
    }
}

// Connects in several ways, and does not mind being dropped.
void try_everything(int port) {
    attempt([&] { get(port, "/healthz"); });
    attempt([&] { get(port, "/metrics"); });
    attempt([&] {
        RawClient client = RawClient::connected(port);
        for (int i = 0; i < 3; ++i) client.send(numbered_action(static_cast<float>(i)));
        client.ask(RequestType::obs_request);
        client.close();
    });
    attempt([&] {
        RawClient observer(port);
        observer.handshake("/observe");
        observer.ask(RequestType::obs_request);
        observer.reset();
    });
}

TEST(ShortMemory, OfTheNetworkThreadLosesConnectionsAndNeverTheServer) {
    LogBook log;
    ServerOptions options = quiet(log);
    options.handshake_timeout = std::chrono::seconds(1);
    HookedServer server(one_small_camera(), {{"q", 2}}, "127.0.0.1", 0, options);
    std::thread network([&] {
        memory_is_short_here = true;
        server.run();
    });
    ASSERT_TRUE(eventually([&] { return server.port() != 0; }));
    for (unsigned every = 1; every <= 40; ++every) {
        fails_every = every;
        try_everything(server.port());
        fails_every = 0;
        // Alive, and not deaf.
        ASSERT_TRUE(eventually([&] {
            try {
                return get(server.port(), "/healthz").status == 200;
            } catch (const std::exception&) {
                return false;  // one that came when memory was short still
            }
        })) << "every "
            << every;
    }
    EXPECT_GT(failed.load(), 40u);
    ASSERT_TRUE(eventually([&] {
        try {
            RawClient client = RawClient::connected(server.port());
            return client.ask(RequestType::obs_request).type == wire::ResponseType::obs_response;
        } catch (const std::exception&) {
            return false;  // the client before has not been let go yet
        }
    }));
    server.stop();
    network.join();
    const auto events = server.control.get();
    const auto told = [&](const std::string& of) {
        return std::count_if(events.begin(), events.end(), [&](const std::string& event) { return event.starts_with(of); });
    };
    EXPECT_EQ(told("connect"), told("disconnect")) << "whoever came has gone";
}

TEST(ShortMemory, InWhichFiguresAreLostIsToldToWhoWaitsForThem) {
    Served<HookedServer> served(one_small_camera(), {},
                                [](ServerOptions& options) { options.handshake_timeout = std::chrono::milliseconds(200); });
    memory_is_short_on = "chiral-observer";
    fails_every = 1;
    EXPECT_TRUE(eventually([&] {
        RawClient::HttpAnswer answer;
        attempt([&] { answer = get(served->port(), "/metrics"); });  // does not wait for ever
        return answer.status == 503 && answer.body.find("no figures in time") != std::string::npos;
    }));
    EXPECT_TRUE(served.log.wait_for("no figures in time"));
    fails_every = 0;
    memory_is_short_on = nullptr;
    EXPECT_TRUE(eventually([&] {
        try {
            return get(served->port(), "/metrics").status == 200;
        } catch (const std::exception&) {
            return false;  // one that was too slow for so short a time
        }
    }));
}

TEST(ShortMemory, OfWhoeverStopsTheServerStopsItAllTheSame) {
    Served<HookedServer> served(
        one_small_camera(), {}, [](ServerOptions&) {},
        [](HookedServer& server) {
            server.on_action = [&server](const Action&) {
                memory_is_short_here = true;
                fails_every = 1;
                server.stop();
                fails_every = 0;
            };
        });
    RawClient client = served.connect();
    for (int i = 0; i < 3; ++i) attempt([&] { client.send(numbered_action(static_cast<float>(i))); });
    served->wait();
    EXPECT_EQ(served->stats().actions_applied, 1u);
}

TEST(ShortMemory, OfTheHooksLosesClientsAndNeverTheServer) {
    Served<HookedServer> served(
        one_small_camera(), {},
        [](ServerOptions& options) {
            options.action_timeout = std::chrono::milliseconds(10);
            options.gate.dimension = 7;
        },
        [](HookedServer& server) {
            server.on_control = [](const std::string&) { memory_is_short_here = true; };
            server.on_get_obs = [&server] {
                memory_is_short_here = true;
                return server.make_obs();
            };
        });
    expect_serves_the_next_client(served);
    for (unsigned every = 1; every <= 20; ++every) {
        SCOPED_TRACE(every);
        RawClient client = served.connect_next();
        fails_every = every;
        attempt([&] {
            client.send(numbered_action(1, 3));  // which the gate objects to
            client.send(RequestType::obs_request);
            client.send(RequestType::reset);
            for (int i = 0; i < 3; ++i) client.send(numbered_action(static_cast<float>(i)));
            client.ask(RequestType::metadata);
        });
        const std::uint64_t timeouts = served->stats().action_timeouts;
        attempt([&] { client.send(numbered_action(1)); });
        fails_every = 0;
        attempt([&] { client.close(); });
        RawClient next = served.connect_next();
        EXPECT_EQ(next.ask(RequestType::obs_request).type, wire::ResponseType::obs_response);
        next.send(numbered_action(2));
        EXPECT_TRUE(eventually([&] { return served->stats().action_timeouts > timeouts; })) << "the watchdog was not called";
        next.close();
    }
}

TEST(ShortMemory, OfTheEncodersLosesObservationsAndNeverTheServer) {
    Served<HookedServer> served({camera("wrist", 24, 32, 3, true)});
    const std::vector<float> depth(24 * 32, 1.2344f);
    const auto publish = [&](unsigned number) {
        const std::vector<std::uint8_t> image(24 * 32 * 3, static_cast<std::uint8_t>(number));
        EXPECT_TRUE(served->update_image(0, image.data(), image.size()));
        EXPECT_TRUE(
            served->update_depth(0, reinterpret_cast<const std::uint8_t*>(depth.data()), depth.size() * sizeof(float)));
    };
    ClientOptions options;
    options.log = [](const std::string&) {};
    options.connect_timeout = options.request_timeout = kDeadline;
    PolicyClient client("ws://127.0.0.1:" + std::to_string(served->port()), options);
    Want want;
    const auto look = [&] {
        client.connect();
        return client.get_obs(want);
    };
    const std::uint64_t before = failed;
    memory_is_short_on = "chiral-encode";
    for (unsigned every = 1; every <= 12; ++every)
        for (const ImageEncoding encoding :
             {ImageEncoding::raw, ImageEncoding::jpeg, ImageEncoding::png, ImageEncoding::zstd}) {
            SCOPED_TRACE(every);
            want.all = {{12, 12}, Fit::crop, encoding, 90, ColourOrder::rgb, DepthEncoding::millimetres};
            publish(2 * every);
            fails_every = every;
            attempt(look);
            fails_every = 0;
            publish(2 * every + 1);  // so that all of it is made again
            Observation obs;
            ASSERT_TRUE(eventually([&] {
                try {
                    obs = look();
                    return true;
                } catch (const std::exception&) {
                    return false;  // of the connection that was lost before
                }
            }));
            ASSERT_EQ(obs["wrist"].image.size(), 12u * 12 * 3);
            EXPECT_NEAR(obs["wrist"].image[0], 2 * every + 1, 2);
            EXPECT_EQ(obs["wrist"].depth_data.size(), 12u * 12 * sizeof(float));
        }
    memory_is_short_on = nullptr;
    EXPECT_GT(failed, before + 12);
}

TEST(ShortMemory, OfWhoeverFindsAClientGoneTellsTheRobotAllTheSame) {
    Stage stage;
    const auto talk = Talk::in_control(stage.robot());
    const auto told = [&](const std::string& event) {
        return stage.server.control.wait([&](const auto& events) { return !events.empty() && events.back() == event; });
    };
    ASSERT_TRUE(told("connect"));
    const std::string reason = "a reason that is longer than what a string holds without memory";
    memory_is_short_here = true;
    fails_every = 1;
    attempt([&] { talk->conversation->over(robot::Cause::broken, reason, talk->now); });
    fails_every = 0;
    memory_is_short_here = false;
    EXPECT_TRUE(told("disconnect: no memory"));
}

TEST(ShortMemory, OfWhoeverFindsThatAClientLeftInOrderLosesWhatItLeftAndTellsTheRobot) {
    Gate gate;
    Stage stage([](ServerOptions&) {},
                [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    for (const float value : {1.0F, 2.0F}) talk->say(one_action(value));
    ASSERT_TRUE(gate.reached());
    memory_is_short_here = true;
    fails_every = 1;
    attempt([&] { talk->conversation->over(robot::Cause::left, "gone", talk->now); });
    fails_every = 0;
    memory_is_short_here = false;
    gate.open();
    EXPECT_TRUE(stage.server.control.wait(
        [](const auto& events) { return !events.empty() && events.back().starts_with("disconnect"); }));
    EXPECT_EQ(stage.applied(), 1u) << "what nobody could stop any more is not applied";
}

// ---- an end for which there is no place in the queue ----

void with_a_small_queue(ServerOptions& options) {
    options.max_queued_actions = 32;
    options.action_timeout = Duration::zero();  // a thread may pause for longer
}

// As many as there is memory for from the start.
void fill_the_queue(Talk& talk) {
    no_malloc = true;
    EXPECT_THROW(
        {
            for (int i = 0; i < 10'000; ++i) talk.say(one_action(2));
        },
        std::bad_alloc);
}

TEST(ShortMemory, ForTheEndOfAClientHasTheRobotToldOfItBeforeWhatIsQueued) {
    Gate gate;
    Stage stage(with_a_small_queue, [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(1));
    ASSERT_TRUE(gate.reached());
    fill_the_queue(*talk);
    attempt([&] { talk->end(robot::Cause::left); });  // after which what it had sent would count
    no_malloc = false;
    gate.open();
    stage.robot().hooks.join();
    EXPECT_EQ(stage.server.control.get(), (std::vector<std::string>{"connect", "action 1", "disconnect: no memory"}));
}

TEST(ShortMemory, ForTheEndOfAClientEndsTheOneBeforeInFewerWords) {
    Gate gate;
    Stage stage(with_a_small_queue, [&](HookedServer& server) {
        server.on_action = [&](const Action&) {
            gate.pass();
            memory_is_short_here = true;
        };
    });
    const OpensAtEnd opener(gate);
    const auto talk = Talk::in_control(stage.robot());
    talk->say(one_action(1));
    ASSERT_TRUE(gate.reached());
    const auto next = Talk::in_control(stage.robot(), true);
    fill_the_queue(*next);
    attempt([&] { next->end(robot::Cause::broken); });  // comes before that of the one before
    no_malloc = false;
    fails_every = 1;
    gate.open();
    EXPECT_TRUE(eventually([&] { return stage.stats.hook_errors == 2; }))
        << "neither hook of the test finds memory for its notes";
    fails_every = 0;
    stage.robot().hooks.join();
    EXPECT_EQ(stage.stats.action_timeouts, 1u) << "on_disconnect() was called, and failed";
    EXPECT_EQ(stage.applied(), 1u);
}

TEST(ShortMemory, ForTheEndOfAClientHasAnIdleRobotToldOfItAsSoonAsThereIsMemory) {
    Stage stage;
    const auto talk = Talk::in_control(stage.robot());
    const auto told = [&](const std::string& event) {
        return stage.server.control.wait([&](const auto& events) { return !events.empty() && events.back() == event; });
    };
    ASSERT_TRUE(told("connect"));
    Gate gate;  // until then each keeps what it has of the queue
    std::vector<std::jthread> others;
    const OpensAtEnd opener(gate);
    no_malloc = true;
    for (bool refused = false; !refused;) {
        const auto pushed = std::make_shared<Watched<std::optional<bool>>>();  // the other is still telling when it is known
        others.emplace_back([&, pushed] {
            bool has_pushed = true;
            try {
                stage.robot().hooks.push(robot::ActionJob(robot::ActionTimeout{}));
            } catch (const std::bad_alloc&) {
                has_pushed = false;
            }
            pushed->set(has_pushed);
            gate.pass();
        });
        ASSERT_TRUE(pushed->wait([](const auto& known) { return known.has_value(); }));
        refused = !*pushed->get();
    }
    std::thread([&] { attempt([&] { talk->end(robot::Cause::broken); }); }).join();
    mallocs_failed = 0;
    EXPECT_TRUE(eventually([] { return mallocs_failed > 2; })) << "it is not tried again";
    no_malloc = false;
    EXPECT_TRUE(told("disconnect: no memory"));
}

TEST(ShortMemory, OfWhoeverLetsAClientBeginTellsTheRobotOfItsEndIfOfItsComing) {
    const std::string peer = "a name that is longer than what a string holds without memory";
    for (unsigned every = 1; every <= 6; ++every) {
        Stage stage;
        const auto talk = Talk::with(stage.robot());
        ASSERT_TRUE(talk->conversation->take_control(false));
        std::vector<std::uint8_t> reset;
        wire::encode_request(RequestType::reset, reset);
        memory_is_short_here = true;
        fails_every = every;
        attempt([&] { talk->conversation->begin(peer, talk->now); });
        fails_every = 0;
        memory_is_short_here = false;
        talk->say(reset);  // which comes to the robot after its coming
        ASSERT_TRUE(eventually([&] { return stage.called("reset") == 1; }));
        const bool came = !stage.server.control.get().empty();
        talk->end(robot::Cause::broken);
        EXPECT_TRUE(stage.server.control.wait([&](const auto& events) { return events.size() == (came ? 2U : 0U); }))
            << "every " << every;
    }
}

TEST(ShortMemory, OfWhoeverLetsAClientBeginLeavesTheOrderOfThoseBeforeAndAfter) {
    Gate gate;
    Stage stage([](ServerOptions&) {},
                [&](HookedServer& server) { server.on_action = [&](const Action&) { gate.pass(); }; });
    const OpensAtEnd opener(gate);
    const auto first = Talk::in_control(stage.robot());
    first->say(one_action(1));
    ASSERT_TRUE(gate.reached());
    // On another thread, of which the queue keeps an order of its own.
    std::thread([&] { first->end(robot::Cause::left); }).join();
    const std::string peer = "a name that is longer than what a string holds without memory";
    auto lost = Talk::with(stage.robot());
    ASSERT_TRUE(lost->conversation->take_control(false));
    memory_is_short_here = true;
    fails_every = 1;
    attempt([&] { lost->conversation->begin(peer, lost->now); });
    fails_every = 0;
    memory_is_short_here = false;
    lost->end(robot::Cause::broken);
    lost.reset();
    const auto next = Talk::in_control(stage.robot());
    for (float value = 3; value < 13; ++value) next->say(one_action(value));
    gate.open();
    ASSERT_TRUE(
        stage.server.control.wait([](const auto& events) { return !events.empty() && events.back() == "action 12"; }));
    const std::vector<std::string> events = stage.server.control.get();
    ASSERT_GE(events.size(), 4u);
    EXPECT_EQ(events[1], "action 1");
    EXPECT_TRUE(events[2].starts_with("disconnect")) << events[2];
    EXPECT_EQ(events[3], "connect");
}

// ---- what a thread's first push takes ----

TEST(ShortMemory, OfTheWatchdogsFirstPushKeepsNoTimeoutFromComing) {
    for (int nth = 1; nth <= 2; ++nth) {
        SCOPED_TRACE(nth);
        Stage stage([](ServerOptions& options) { options.action_timeout = std::chrono::milliseconds(10); });
        const auto talk = Talk::in_control(stage.robot());
        memory_is_short_on = "chiral-watchdog";
        mallocs_until_one_fails = nth;
        for (std::uint64_t silences = 1; silences <= 2; ++silences) {
            talk->say(one_action(1));
            ASSERT_TRUE(eventually([&] { return stage.stats.action_timeouts == silences; }));
        }
        memory_is_short_on = nullptr;
        EXPECT_EQ(mallocs_until_one_fails, 0) << "none has failed";
    }
}

TEST(ShortMemory, OfANetworkThreadsFirstPushKeepsNoClientAfterItFromMovingTheRobot) {
    for (int nth = 1; nth <= 2; ++nth) {
        SCOPED_TRACE(nth);
        Stage stage;
        std::shared_ptr<Talk> next;
        std::thread([&] {
            memory_is_short_here = true;
            mallocs_until_one_fails = nth;
            attempt([&] { Talk::in_control(stage.robot())->end(robot::Cause::broken); });
            attempt([&] {
                next = Talk::in_control(stage.robot());
                next->say(one_action(1));
            });
        }).join();
        EXPECT_TRUE(eventually([&] { return stage.applied() == 1; }));
        EXPECT_EQ(mallocs_until_one_fails, 0) << "none has failed";
    }
}

TEST(ShortMemory, OfWhoeverWaitsForTheHooksToEndDoesNotMakeItWaitForEver) {
    for (int nth = 1; nth <= 2; ++nth) {
        SCOPED_TRACE(nth);
        Stage stage;
        Watched<bool> joined{false};
        std::thread joins([&] {
            memory_is_short_here = true;
            mallocs_until_one_fails = nth;
            stage.robot().hooks.join();
            joined.set(true);
        });
        EXPECT_TRUE(joined.wait([](bool done) { return done; }));
        joins.join();
        EXPECT_EQ(mallocs_until_one_fails, 0) << "none has failed";
    }
}

TEST(ShortMemory, OfTheFirstWantKeepsNoneAfterItFromBeingMade) {
    for (int nth = 1; nth <= 2; ++nth) {
        SCOPED_TRACE(nth);
        Served<HookedServer> served({camera("wrist", 24, 32, 3)});
        ClientOptions options;
        options.log = [](const std::string&) {};
        options.connect_timeout = options.request_timeout = kDeadline;
        PolicyClient client("ws://127.0.0.1:" + std::to_string(served->port()), options);
        Want want;
        want.all = {{12, 12}, Fit::crop, ImageEncoding::raw, 90, ColourOrder::rgb, DepthEncoding::millimetres};
        memory_is_short_on = "chiral-requests";
        mallocs_until_one_fails = nth;
        EXPECT_TRUE(eventually([&] {
            try {
                client.connect();
                return client.get_obs(want)["wrist"].image.size() == 12u * 12 * 3;
            } catch (const std::exception&) {
                return false;  // of the connection that was lost before
            }
        }));
        memory_is_short_on = nullptr;
        EXPECT_EQ(mallocs_until_one_fails, 0) << "none has failed";
    }
}

TEST(AQueuesReserve, IsForWhatIsSmallAndIsUsedAgain) {
    net::QueueReserve reserve;
    EXPECT_EQ(reserve.take(net::QueueReserve::kSlotBytes + 1), nullptr);
    std::vector<void*> slots;
    while (void* const slot = reserve.take(net::QueueReserve::kSlotBytes)) slots.push_back(slot);
    EXPECT_EQ(slots.size(), net::QueueReserve::kSlots);
    EXPECT_EQ(std::set<void*>(slots.begin(), slots.end()).size(), slots.size());
    EXPECT_FALSE(reserve.give_back(&reserve - 1));
    EXPECT_FALSE(reserve.give_back(&reserve + 1));
    EXPECT_FALSE(reserve.give_back(nullptr));
    EXPECT_TRUE(reserve.give_back(slots[63]));
    EXPECT_EQ(reserve.take(1), slots[63]);
}

// ---- Zenoh ----

void by_zenoh(ServerOptions& options) {
    options.zenoh.emplace();
    options.zenoh->only = true;
}

TEST(ShortMemory, OfWhoeverFindsAZenohClientGoneEndsWhatItMayDoToo) {
    boost::asio::io_context io;
    Gate gate;
    Stage stage(by_zenoh, [&](HookedServer& server) {
        server.on_get_obs = [&] {
            gate.pass();
            return server.make_obs();
        };
    });
    zenoh_network::reset();
    zenoh::Service service(stage.robot(), io, "127.0.0.1", 7447);
    const net::ZenohSession client("multicast: {enabled: false}", "");
    const auto inbox = std::make_shared<zenoh::Inbox>("client", 1 << 20);
    const auto session = std::make_shared<zenoh::Session>(service, "client", inbox, nullptr);
    const OpensAtEnd opener(gate);
    ASSERT_TRUE(session->take_control(false));
    session->start(client.publish("answers"));
    std::vector<std::uint8_t> request;
    wire::encode_request(RequestType::obs_request, request);
    const chiral_zenoh_bytes piece{request.data(), request.size()};
    inbox->put(net::ZenohSample({{}, {}, &piece, 1, 0}), {}, Clock::now(), Clock::now());
    session->read();
    ASSERT_TRUE(gate.reached()) << "from here on a ticket keeps the session";
    ASSERT_TRUE(stage.server.control.wait([](const auto& events) { return !events.empty(); })) << "never met, nor told of";
    const std::string reason = "a reason that is longer than what a string holds without memory";
    memory_is_short_here = true;
    fails_every = 1;
    attempt([&] { session->finish(robot::Cause::broken, reason); });
    session->abort();
    fails_every = 0;
    memory_is_short_here = false;
    EXPECT_FALSE(stage.robot().control.holder());
    ASSERT_TRUE(stage.server.control.wait(
        [](const auto& events) { return !events.empty() && events.back() == "disconnect: dropped"; }));
    gate.open();
    ASSERT_TRUE(eventually([&] {
        io.restart();
        io.poll();
        return session.use_count() == 1;
    }));
    EXPECT_TRUE(zenoh_network::passed().empty()) << "nobody is there to be answered";
}

TEST(ShortMemory, OfZenohsThreadLetsADocumentedClientThatHearsNoMoreLoseControl) {
    Served<HookedServer> served(one_small_camera(), {}, by_zenoh);
    zenoh_network::reset();
    const auto saw = [&](const std::string& event) {
        return served->control.wait(
            [&](const auto& events) { return std::find(events.begin(), events.end(), event) != events.end(); });
    };
    Watched<bool> answered;
    std::optional<zenoh_network::Peer> client(std::in_place, "chiral/s2c",
                                              [&](std::vector<std::uint8_t>) { answered.set(true); });
    std::vector<std::uint8_t> request;
    wire::encode_request(RequestType::metadata, request);
    client->put("chiral/c2s", request);
    ASSERT_TRUE(saw("connect"));
    ASSERT_TRUE(
        answered.wait([](bool is) { return is; }));  // the network of the test copies what it delivers: not without memory
    memory_is_short_on = "zenoh-network";
    fails_every = 1;
    client.reset();
    EXPECT_TRUE(saw("disconnect: nobody subscribes to its answers any more"));
    fails_every = 0;
    memory_is_short_on = nullptr;
}

TEST(ShortMemory, OfWhoeverIsToldOfAnotherRobotByZenohLeavesNoneUnseen) {
    for (const char* const thread : {"zenoh-network", "chiral-net"}) {
        SCOPED_TRACE(thread);
        Served<HookedServer> served(one_small_camera(), {}, by_zenoh);
        const net::ZenohSession other("multicast: {enabled: false}", "");
        memory_is_short_on = thread;
        fails_every = 1;
        const std::uint64_t failed_before = failed.load();
        const net::ZenohDeclaration token = other.token(net::ZenohKeys{"chiral"}.robot_token(other.id()));
        EXPECT_TRUE(eventually([&] { return failed > failed_before; }));
        fails_every = 0;
        memory_is_short_on = nullptr;
        EXPECT_TRUE(served.log.wait_for("WARNING: robot " + other.id() + " is under the same Zenoh prefix"));
    }
}

TEST(LargeActions, LeaveNothingOfTheirMemoryBehind) {
    Served<HookedServer> served;
    RawClient client = served.connect();
    const auto apply = [&](int size) {
        const std::uint64_t before = served->stats().actions_applied;
        client.send(numbered_action(1, size));
        ASSERT_TRUE(eventually([&] { return served->stats().actions_applied > before; }));
        client.ask(RequestType::obs_request);  // behind it, all that it held is let go
    };
    constexpr int kLarge = 1'000'000;
    for (int i = 0; i < 3; ++i) apply(7);
    const std::int64_t before = held.load();
    for (int i = 0; i < 8; ++i) apply(kLarge);
    apply(7);
    EXPECT_LT(held.load() - before, static_cast<std::int64_t>(kLarge)) << "of 4 bytes a value, eight times";
}

#ifdef __linux__

std::size_t open_descriptors() {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator()));
}

// Whether a handshake of TLS comes to its end; one that comes to nothing is ended by the server.
bool shakes_hands(int port) {
    RawClient raw(port);
    const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    const std::unique_ptr<SSL, void (*)(SSL*)> ssl(SSL_new(context.get()), SSL_free);
    const timeval deadline{kDeadline.count(), 0};
    ::setsockopt(raw.descriptor(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    SSL_set_fd(ssl.get(), raw.descriptor());
    const int result = SSL_connect(ssl.get());
    EXPECT_NE(SSL_get_error(ssl.get(), result), SSL_ERROR_WANT_READ) << "the server has forgotten the connection";
    return result == 1;
}

TEST(ShortMemory, OfTheLogLeavesWordsOutAndDoesNotEndTheProgram) {
    Gate gate;
    Watched<std::string> last;
    Log log([&](const std::string& line) {
        gate.pass();
        if (line == "last") last.set(line);
    });
    const OpensAtEnd opens(gate);
    log.say("first");
    ASSERT_TRUE(gate.reached());
    while (log.left_out() == 0) log.say("more than there is room for");
    memory_is_short_on = "chiral-log";
    fails_every = 1;
    const std::uint64_t failed_before = failed.load();
    gate.open();
    EXPECT_TRUE(log.flush(kDeadline));
    EXPECT_GT(failed.load(), failed_before);
    fails_every = 0;
    memory_is_short_on = nullptr;
    log.say("last");
    EXPECT_TRUE(last.wait([](const std::string& line) { return line == "last"; }));
}

TEST(ShortMemory, OfTheThreadOfHandshakesLosesConnectionsAndNeverTheServer) {
    std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to connections that are dropped
    TestAuthority authority;
    Served<HookedServer> served(one_small_camera(), {}, with_tls(authority.issue()));
    ASSERT_TRUE(shakes_hands(served->port()));
    const std::size_t before = open_descriptors();
    for (const char* const thread : {"chiral-tls", "chiral-net"}) {
        memory_is_short_on = thread;
        const std::uint64_t failed_before = failed.load();
        for (unsigned every = 1; every <= 12; ++every) {
            SCOPED_TRACE(std::string(thread) + ", every " + std::to_string(every));
            fails_every = every;
            for (int i = 0; i < 3; ++i) attempt([&] { shakes_hands(served->port()); });
            fails_every = 0;
            ASSERT_TRUE(eventually([&] {
                try {
                    return shakes_hands(served->port());
                } catch (const std::exception&) {
                    return false;  // dropped with all others, for what came when memory was short still
                }
            }));
        }
        memory_is_short_on = nullptr;
        EXPECT_GT(failed.load(), failed_before) << "memory was never short on " << thread;
    }
    EXPECT_TRUE(eventually([&] { return open_descriptors() <= before; })) << "connections stay that nobody looks after";
}

TEST(ShortMemory, OfTheThreadOfLocalClientsLosesConnectionsAndNeverTheServer) {
    OwnFolder folder;
    LogBook log;
    HookedServer server(one_small_camera(), {{"q", 2}}, "127.0.0.1", 0, local_options(log, folder));
    server.serve();
    const auto let_in = [&](const char* wants) {
        try {
            RawLocal client(folder);
            client.hello(wants);
            client.ask(RequestType::obs_request);
            return client.next();
        } catch (const std::exception&) {
            return false;  // dropped; or who was before has not been let go yet
        }
    };
    memory_is_short_on = "chiral-local";
    for (unsigned every = 1; every <= 20; ++every) {
        fails_every = every;
        for (const char* wants : {"control", "observe"}) let_in(wants);
        fails_every = 0;
        for (const char* wants : {"control", "observe"})
            ASSERT_TRUE(eventually([&] { return let_in(wants); })) << wants << ", every " << every;
    }
    memory_is_short_on = nullptr;
    server.stop();
    server.wait();
}

#endif

}  // namespace
}  // namespace chiral::test
