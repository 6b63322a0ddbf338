// SPDX-License-Identifier: Apache-2.0
// Memory runs out on the network thread, at every allocation in turn: connections may be lost, the server is not. Afterwards it
// hears and serves as before.
#include "raw_http.hpp"
#include "support.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

// The network thread of the test; every so many of its allocations fail, none for 0.
thread_local bool on_network_thread = false;
std::atomic<unsigned> fails_every{0};
std::atomic<std::uint64_t> failed{0};

void* allocate(std::size_t size) {
    static thread_local unsigned count = 0;
    const unsigned every = on_network_thread ? fails_every.load(std::memory_order_relaxed) : 0;
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

// Connects in several ways, and does not mind being dropped.
void try_everything(int port) {
    const auto attempt = [&](auto&& what) {
        try {
            what();
        } catch (const std::exception&) {  // dropped: memory is short
        }
    };
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

TEST(ShortMemory, LosesConnectionsAndNeverTheServer) {
    LogBook log;
    ServerOptions options = quiet(log);
    options.handshake_timeout = std::chrono::seconds(1);
    HookedServer server(one_small_camera(), {{"q", 2}}, "127.0.0.1", 0, options);
    std::thread network([&] {
        on_network_thread = true;
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

}  // namespace
}  // namespace chiral::test
