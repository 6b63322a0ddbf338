// GatherStream gives the socket much of what is left of a message at once, and exactly that.
#include "gather_stream.hpp"

#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <thread>
#include <vector>

namespace chiral {
namespace {

namespace net = boost::asio;
using boost::beast::error_code;
using Bytes = std::vector<std::uint8_t>;

// Bytes that say where they are.
Bytes numbered(std::size_t size, std::uint32_t seed) {
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::uint8_t>((seed + static_cast<std::uint32_t>(i)) * 2654435761u >> 24);
    return bytes;
}

struct Written {
    Bytes received;
    std::size_t reported{0};
    int turns{0};  ///< how often async_write() went to the stream
};

// Writes a frame header and a message of these pieces, `times` times over, through a pair of sockets.
Written write(const std::vector<Bytes>& pieces, bool told, int times = 1) {
    net::io_context io;
    net::basic_socket_acceptor<net::ip::tcp, net::io_context::executor_type> acceptor(
        io.get_executor(), net::ip::tcp::endpoint(net::ip::address_v4::loopback(), 0));
    net::ip::tcp::socket reader(io);
    reader.connect(acceptor.local_endpoint());
    GatherStream stream(acceptor.accept());
    // Less than the message, so that it takes several turns either way.
    stream.socket().set_option(net::socket_base::send_buffer_size(1 << 18));

    const Bytes header = numbered(10, 99);
    std::vector<net::const_buffer> message, all{net::buffer(header)};
    for (int i = 0; i < times; ++i)
        for (const Bytes& piece : pieces) message.emplace_back(net::buffer(piece));
    all.insert(all.end(), message.begin(), message.end());

    Written written;
    written.received.resize(net::buffer_size(all));
    std::thread reading([&] {
        error_code error;
        net::read(reader, net::buffer(written.received), error);
        EXPECT_FALSE(error) << error.message();
    });
    if (told) stream.expect({message.data(), message.data() + message.size()});
    const auto another_turn = [&](const error_code& error, std::size_t) -> std::size_t {
        ++written.turns;
        return error ? 0 : 65536;  // what transfer_all() says
    };
    net::async_write(stream, all, another_turn, [&](error_code error, std::size_t bytes) {
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

TEST(AGatherStream, SendsTheMessageByteForByteInFewerTurns) {
    const std::vector<Bytes> pieces{numbered(700, 1), numbered(921600, 2), numbered(1228800, 3), numbered(921600, 4)};
    const Written whole = write(pieces, true), control = write(pieces, false);
    EXPECT_TRUE(whole.received == joined(pieces));
    EXPECT_TRUE(control.received == joined(pieces));
    EXPECT_EQ(whole.reported, whole.received.size());
    EXPECT_LT(whole.turns, control.turns / 2) << "turns of the event loop";
}

TEST(AGatherStream, SendsMessagesOfAnyShape) {
    for (const std::vector<Bytes>& pieces :
         {std::vector<Bytes>{numbered(1, 1)}, {numbered(65526, 1), numbered(1, 2)}, {numbered(65527, 1), numbered(70000, 2)},
          {numbered(0, 0), numbered(200000, 1), numbered(0, 0), numbered(3, 2)}, std::vector<Bytes>(100, numbered(5000, 7))})
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

}  // namespace
}  // namespace chiral
