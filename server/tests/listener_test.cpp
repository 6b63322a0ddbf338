// SPDX-License-Identifier: Apache-2.0
// The port: all addresses of a name, none of them lost, and what a child process inherits of it.
#include "websocket/listener.hpp"

#include "raw_client.hpp"

#include <gtest/gtest.h>

#include <boost/asio/ip/address.hpp>

#include <fcntl.h>

#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace chiral::test {
namespace {

using boost::asio::ip::make_address;
using websocket::Listener;

struct ListenerTest : ::testing::Test {
    boost::asio::io_context io;
    std::vector<net::Link::Socket> taken;
    std::vector<std::string> lines;
    std::function<void()> before_taking = [] {};
    Listener listener{io,
                      [this](net::Link::Socket socket) {
                          before_taking();
                          taken.push_back(std::move(socket));
                      },
                      [this](const std::string& line) { lines.push_back(line); }};

    ~ListenerTest() override { listener.close(); }
    /// Runs the loop until so many have been taken, with the deadline of all tests.
    void run_until_taken(std::size_t count) {
        const auto end = std::chrono::steady_clock::now() + kDeadline;
        while (taken.size() < count && std::chrono::steady_clock::now() < end) io.run_one_for(std::chrono::seconds(1));
        ASSERT_EQ(taken.size(), count);
    }
};

TEST_F(ListenerTest, AnyPortIsOnePortAtEveryAddress) {
    listener.open({{make_address("127.0.0.1"), 0}, {make_address("127.0.0.2"), 0}}, 0);
    const auto endpoints = listener.endpoints();
    ASSERT_EQ(endpoints.size(), 2u);
    EXPECT_NE(listener.port(), 0);
    for (const auto& endpoint : endpoints) EXPECT_EQ(endpoint.port(), listener.port());

    listener.start();
    for (const auto& endpoint : endpoints) {
        net::Link::Socket client(io.get_executor());
        client.connect(endpoint);
        run_until_taken(taken.size() + 1);
    }
}

TEST_F(ListenerTest, AnAddressThatTheMachineDoesNotHaveIsLeftOutBesideOthers) {
    // TEST-NET-1 of RFC 5737, which nobody has.
    listener.open({{make_address("192.0.2.1"), 0}, {make_address("127.0.0.1"), 0}}, 0);
    ASSERT_EQ(listener.endpoints().size(), 1u);
    EXPECT_TRUE(listener.endpoints()[0].address().is_loopback());
}

TEST_F(ListenerTest, AloneItIsAnError) {
    try {
        listener.open({{make_address("192.0.2.1"), 0}}, 0);
        ADD_FAILURE() << "it listens at an address of nobody";
    } catch (const std::system_error& error) {
        EXPECT_NE(std::string(error.what()).find("192.0.2.1"), std::string::npos) << error.what();
    }
}

TEST_F(ListenerTest, TheSecondAddressOfANameIsServedAsWell) {
    listener.open("localhost", 0);
    boost::asio::ip::tcp::resolver resolver(io);
    std::set<std::string> expected;
    for (const auto& entry : resolver.resolve("localhost", "", boost::asio::ip::tcp::resolver::passive))
        expected.insert(entry.endpoint().address().to_string());
    std::set<std::string> bound;
    for (const auto& endpoint : listener.endpoints()) bound.insert(endpoint.address().to_string());
    EXPECT_EQ(bound, expected);
}

TEST_F(ListenerTest, WhatTakingAConnectionThrowsDoesNotMakeItDeaf) {
    listener.open({{make_address("127.0.0.1"), 0}}, 0);
    listener.start();
    int attempts = 0;
    before_taking = [&] {
        if (++attempts == 1) throw std::bad_alloc();
        if (attempts == 2) throw std::runtime_error("no room");
    };
    RawClient first(listener.port()), second(listener.port()), third(listener.port());
    run_until_taken(1);
    EXPECT_EQ(attempts, 3);
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_NE(lines[1].find("no room"), std::string::npos) << lines[1];
}

#ifdef __linux__
TEST_F(ListenerTest, NoChildInheritsThePortOrAConnection) {
    listener.open({{make_address("127.0.0.1"), 0}}, 0);
    listener.start();
    // Whatever this process has open now that has no close-on-exec, it did not get from the listener.
    const auto inherited = [] {
        std::set<int> open;
        for (int descriptor = 0; descriptor < 1024; ++descriptor) {
            const int flags = ::fcntl(descriptor, F_GETFD);
            if (flags >= 0 && (flags & FD_CLOEXEC) == 0) open.insert(descriptor);
        }
        return open;
    };
    RawClient client(listener.port());
    run_until_taken(1);
    EXPECT_EQ(inherited().count(taken[0].native_handle()), 0u);
    auto open = inherited();
    open.erase(client.descriptor());
    for (const int descriptor : {0, 1, 2}) open.erase(descriptor);
    for (const int descriptor : open) {
        sockaddr_in address{};
        socklen_t size = sizeof address;
        const bool socket = ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size) == 0;
        EXPECT_FALSE(socket && ntohs(address.sin_port) == listener.port()) << "descriptor " << descriptor;
    }
}
#endif

}  // namespace
}  // namespace chiral::test
