// A TCP stream that gives the socket a large part of a message at once.
//
// Asio's async_write() hands a stream at most 64 KiB per call, so that an observation of 17 MB takes hundreds of them, each
// with a system call and a turn of the event loop. Told of the whole message before, this stream appends what follows what
// it is handed, up to a megabyte, so that an action that arrives meanwhile waits for the copy of no more than that; and
// reports all bytes that the socket took: async_write() goes on after them. That a stream may take more
// than it was handed is beyond the letter of Asio's AsyncWriteStream, but consuming_buffers::consume(), which counts them,
// is made for any number of bytes up to the end of the message; AGatherStream.* would receive a different message otherwise.
//
// One thread, like the stream.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/role.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace chiral {

/// A range of buffers that a write operation may copy freely: the buffers themselves stay where they are.
struct BufferRange {
    using value_type = boost::asio::const_buffer;
    using const_iterator = const value_type*;
    const_iterator first{nullptr}, last{nullptr};
    const_iterator begin() const noexcept { return first; }
    const_iterator end() const noexcept { return last; }
};

class GatherStream : public boost::beast::basic_stream<boost::asio::ip::tcp, boost::asio::io_context::executor_type> {
public:
    using TcpStream = boost::beast::basic_stream<boost::asio::ip::tcp, boost::asio::io_context::executor_type>;
    using TcpStream::TcpStream;

    /// What is about to be written, in one message; the buffers stay where they are until it is. An empty range: no more.
    void expect(BufferRange message) noexcept { message_ = overlap(message) ? BufferRange{} : message; }

    template <class Buffers, class Handler>
    auto async_write_some(const Buffers& buffers, Handler&& handler) {
        whole_.assign(boost::asio::buffer_sequence_begin(buffers), boost::asio::buffer_sequence_end(buffers));
        append_rest();
        return TcpStream::async_write_some(BufferRange{whole_.data(), whole_.data() + whole_.size()},
                                           std::forward<Handler>(handler));
    }

private:
    // Memory that is sent twice does not tell where in the message it stands. Observations that borrow may do that.
    static bool overlap(const BufferRange& message) noexcept {
        const auto begin = [](const boost::asio::const_buffer& piece) { return static_cast<const std::uint8_t*>(piece.data()); };
        for (auto a = message.begin(); a != message.end(); ++a)
            for (auto b = a + 1; b != message.end(); ++b)
                if (begin(*a) < begin(*b) + b->size() && begin(*b) < begin(*a) + a->size()) return true;
        return false;
    }

    // What we are handed ends inside a piece of the message, or at its end; a frame's header ends in none.
    void append_rest() {
        while (!whole_.empty() && whole_.back().size() == 0) whole_.pop_back();
        if (whole_.empty()) return;
        constexpr std::size_t most = std::size_t{1} << 20;
        std::size_t room = most - std::min(most, boost::asio::buffer_size(whole_));
        const auto append = [&](const std::uint8_t* data, std::size_t size) {
            const std::size_t taken = std::min(size, room);
            if (taken > 0) whole_.emplace_back(data, taken);
            room -= taken;
        };
        const auto* const end = static_cast<const std::uint8_t*>(whole_.back().data()) + whole_.back().size();
        for (auto piece = message_.begin(); piece != message_.end(); ++piece) {
            const auto* const data = static_cast<const std::uint8_t*>(piece->data());
            if (end <= data || end > data + piece->size()) continue;
            append(end, static_cast<std::size_t>(data + piece->size() - end));
            for (++piece; piece != message_.end() && room > 0; ++piece)
                append(static_cast<const std::uint8_t*>(piece->data()), piece->size());
            return;
        }
    }

    BufferRange message_;
    std::vector<boost::asio::const_buffer> whole_;  // read by the operation under way
};

/// What Beast closes a WebSocket's connection with, found by the type of the stream.
template <class Handler>
void async_teardown(boost::beast::role_type role, GatherStream& stream, Handler&& handler) {
    async_teardown(role, static_cast<GatherStream::TcpStream&>(stream), std::forward<Handler>(handler));
}

}  // namespace chiral
