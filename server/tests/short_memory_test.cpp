// SPDX-License-Identifier: Apache-2.0
// Memory runs out on the network thread, or on those of the hooks, at every so many-th allocation: connections may be lost, the
// server is not. Afterwards it hears and serves as before.
#include "raw_http.hpp"
#include "support.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

// On such threads every so many-th allocation fails, none for 0.
thread_local bool memory_is_short_here = false;
std::atomic<unsigned> fails_every{0};
std::atomic<std::uint64_t> failed{0};

void* allocate(std::size_t size) {
    static thread_local unsigned count = 0;
    const unsigned every = memory_is_short_here ? fails_every.load(std::memory_order_relaxed) : 0;
    if (every != 0 && ++count % every == 0) {
        failed.fetch_add(1, std::memory_order_relaxed);
        throw std::bad_alloc();
    }
    if (void* const memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

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

}  // namespace
}  // namespace chiral::test
