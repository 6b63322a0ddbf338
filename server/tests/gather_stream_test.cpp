// SPDX-License-Identifier: Apache-2.0
// GatherStream sends what is left of a message by itself, and exactly that.
#include "net/gather_stream.hpp"

#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <gtest/gtest.h>

#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

namespace chiral {
namespace {

namespace asio = boost::asio;
using boost::beast::error_code;
using Bytes = std::vector<std::uint8_t>;

// Bytes that say where they are.
Bytes numbered(std::size_t size, std::uint32_t seed) {
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::uint8_t>((seed + static_cast<std::uint32_t>(i)) * 2654435761u >> 24);
    return bytes;
}

// Two connected sockets, the one that writes a GatherStream.
struct Pair {
    asio::io_context io;
    asio::basic_socket_acceptor<asio::ip::tcp, asio::io_context::executor_type> acceptor{
        io.get_executor(), asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
    asio::ip::tcp::socket reader{io};
    net::GatherStream stream{(reader.connect(acceptor.local_endpoint()), acceptor.accept())};
};

struct Written {
    Bytes received;
    std::size_t reported{0};
    int turns{0};  ///< how often async_write() went to the stream
};

// Writes a frame header and a message of these pieces, `times` times over, through a pair of sockets.
Written write(const std::vector<Bytes>& pieces, bool told, int times = 1) {
    Pair pair;
    auto& [io, acceptor, reader, stream] = pair;
    // Less than the message, so that it does not fit in at once.
    stream.socket().set_option(asio::socket_base::send_buffer_size(1 << 18));

    const Bytes header = numbered(10, 99);
    std::vector<asio::const_buffer> message, all{asio::buffer(header)};
    for (int i = 0; i < times; ++i)
        for (const Bytes& piece : pieces) message.emplace_back(asio::buffer(piece));
    all.insert(all.end(), message.begin(), message.end());

    Written written;
    written.received.resize(asio::buffer_size(all));
    std::thread reading([&pair, &written] {
        error_code error;
        asio::read(pair.reader, asio::buffer(written.received), error);
        EXPECT_FALSE(error) << error.message();
    });
    if (told) stream.expect({message.data(), message.data() + message.size()});
    const auto another_turn = [&](const error_code& error, std::size_t) -> std::size_t {
        ++written.turns;
        return error ? 0 : 65536;  // what transfer_all() says
    };
    asio::async_write(stream, all, another_turn, [&](error_code error, std::size_t bytes) {
        EXPECT_FALSE(error) << error.message();
        written.reported = bytes;
    });
    io.run();
    if (written.reported != written.received.size()) reader.close();  // so that the reader ends
    reading.join();
    return written;
}

Bytes joined(const std::vector<Bytes>& pieces) {
    Bytes all = numbered(10, 99);
    for (const Bytes& piece : pieces) all.insert(all.end(), piece.begin(), piece.end());
    return all;
}

TEST(AGatherStream, SendsTheMessageByteForByteInOneTurn) {
    const std::vector<Bytes> pieces{numbered(700, 1), numbered(921600, 2), numbered(1228800, 3), numbered(921600, 4)};
    const Written whole = write(pieces, true), control = write(pieces, false);
    EXPECT_TRUE(whole.received == joined(pieces));
    EXPECT_TRUE(control.received == joined(pieces));
    EXPECT_EQ(whole.reported, whole.received.size());
    EXPECT_EQ(whole.turns, 1);
    EXPECT_GT(control.turns, 40);
}

TEST(AGatherStream, SendsMessagesOfAnyShape) {
    for (const std::vector<Bytes>& pieces : {std::vector<Bytes>{numbered(1, 1)},
                                             {numbered(65526, 1), numbered(1, 2)},
                                             {numbered(65527, 1), numbered(70000, 2)},
                                             {numbered(0, 0), numbered(200000, 1), numbered(0, 0), numbered(3, 2)},
                                             std::vector<Bytes>(100, numbered(5000, 7))})
        for (const bool told : {true, false}) {
            const Written written = write(pieces, told);
            EXPECT_TRUE(written.received == joined(pieces)) << pieces.size() << " pieces, told " << told;
            EXPECT_EQ(written.reported, written.received.size());
        }
}

TEST(AGatherStream, SendsTheSameMemoryTwice) {
    const std::vector<Bytes> piece{numbered(300000, 1)};
    const Written written = write(piece, true, 2);
    EXPECT_TRUE(written.received == joined({piece[0], piece[0]}));
    EXPECT_EQ(written.reported, written.received.size());
}

TEST(AGatherStream, LetsOthersHaveTheirTurnAfterEveryTwoMegabytes) {
    constexpr std::size_t kMegabytes = 16;
    Pair pair;
    // A kernel that would take all of it at once, as robots are tuned sometimes. Not everybody may say that; a kernel that is
    // not told takes about four megabytes.
    const int room = static_cast<int>(kMegabytes << 21);
    ::setsockopt(pair.stream.socket().native_handle(), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    const Bytes large = numbered(kMegabytes << 20, 1);
    const std::vector<asio::const_buffer> message{asio::buffer(large)};
    std::thread reading([&] {
        Bytes received(large.size());
        error_code error;
        asio::read(pair.reader, asio::buffer(received), error);
        EXPECT_TRUE(received == large);
    });
    bool written = false;
    std::size_t others = 0;
    pair.stream.expect({message.data(), message.data() + message.size()});
    asio::async_write(pair.stream, message, [&](error_code error, std::size_t) {
        EXPECT_FALSE(error) << error.message();
        written = true;
    });
    const std::function<void()> other = [&] {
        if (written) return;
        ++others;
        asio::post(pair.io, other);
    };
    asio::post(pair.io, other);
    pair.io.run();
    reading.join();
    EXPECT_GE(others, kMegabytes / 2 - 1);
}

TEST(AGatherStream, TellsThatTheOtherEndHasGoneInTheMiddleOfAMessage) {
    Pair pair;
    const Bytes large = numbered(64 << 20, 1);
    const std::vector<asio::const_buffer> message{asio::buffer(large)};
    pair.stream.expect({message.data(), message.data() + message.size()});
    error_code told;
    std::size_t reported = 0;
    asio::async_write(pair.stream, message, [&](error_code error, std::size_t bytes) {
        told = error;
        reported = bytes;
    });
    while (pair.io.poll() > 0) {}  // until the sockets are full
    pair.reader.set_option(asio::socket_base::linger(true, 0));
    pair.reader.close();
    pair.io.restart();
    pair.io.run();
    EXPECT_TRUE(told) << "no error";
    EXPECT_GT(reported, 0u);
    EXPECT_LT(reported, large.size());
}

TEST(AGatherStream, GivesWhatItHoldsBackIfItIsNeverContinued) {
    const auto alive = std::make_shared<int>(0);
    const Bytes large = numbered(64 << 20, 1);
    const std::vector<asio::const_buffer> message{asio::buffer(large)};
    for (const bool closed : {true, false}) {
        Pair pair;
        pair.stream.expect({message.data(), message.data() + message.size()});
        error_code told;
        asio::async_write(pair.stream, message, [&told, alive](error_code error, std::size_t) { told = error; });
        while (pair.io.poll() > 0) {}
        EXPECT_EQ(alive.use_count(), 2);
        if (!closed) continue;  // the loop ends with the write under way
        pair.stream.socket().close();
        pair.io.restart();
        pair.io.run();
        EXPECT_EQ(told, asio::error::operation_aborted);
    }
    EXPECT_EQ(alive.use_count(), 1);
}

}  // namespace
}  // namespace chiral
