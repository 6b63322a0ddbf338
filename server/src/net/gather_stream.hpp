// SPDX-License-Identifier: Apache-2.0
// A TCP stream that sends a message in few, large steps.
//
// Asio's async_write() hands a stream at most 64 KiB per call, and each call is a turn of the event loop through all layers
// above the socket: for an observation of 17 MB hundreds of them, each after a copy that has emptied the caches. Told of the
// whole message before, this stream appends what follows what it is handed, sends all of it by itself, and reports all of it.
// In between it lets others have their turn after every two megabytes, so that an action that arrives meanwhile waits for the
// copy of no more than that.
//
// That a stream may send more than it was handed is beyond the letter of Asio's AsyncWriteStream, but
// consuming_buffers::consume(), which counts the bytes, is made for any number of them up to the end of the message;
// AGatherStream.* would receive a different message otherwise.
//
// One thread, like the stream.
#pragma once

#include "net/handler_memory.hpp"
#include "net/unsent.hpp"

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/role.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace chiral::net {

class GatherStream : public boost::beast::basic_stream<boost::asio::ip::tcp, boost::asio::io_context::executor_type> {
public:
    using TcpStream = boost::beast::basic_stream<boost::asio::ip::tcp, boost::asio::io_context::executor_type>;
    using TcpStream::TcpStream;

    /// What is about to be written, in one message; the buffers stay where they are until it is. An empty range: no more.
    /// Time limits (expires_after()) do not hold for what is sent of it.
    void expect(BufferRange message) noexcept { message_ = overlap(message) ? BufferRange{} : message; }

    template <class Buffers, class Handler>
    void async_write_some(const Buffers& buffers, Handler&& handler) {
        whole_.assign(boost::asio::buffer_sequence_begin(buffers), boost::asio::buffer_sequence_end(buffers));
        if (!append_rest()) return TcpStream::async_write_some(buffers, std::forward<Handler>(handler));
        unsent_.begin(BufferRange(whole_));
        Turn turn{*this, Pending::of(std::forward<Handler>(handler))};
        send(std::move(turn));
    }

private:
    using error_code = boost::system::error_code;

    /// Who waits for the end of the message. Stays where it is meanwhile: it may be large.
    class Pending {
    public:
        struct Deleter {
            void operator()(Pending* pending) const noexcept { pending->discard(); }
        };
        using Owner = std::unique_ptr<Pending, Deleter>;

        template <class Handler>
        static Owner of(Handler&& handler);
        virtual void complete(const error_code& error, std::size_t bytes) = 0;  // and is gone
        virtual void discard() noexcept = 0;

    protected:
        ~Pending() = default;
    };
    template <class Handler>
    class PendingOf;

    /// The socket has taken some of it.
    struct Turn {
        using allocator_type = HandlerAllocator<std::byte>;
        allocator_type get_allocator() const noexcept { return allocator_type(stream.turn_memory_); }

        GatherStream& stream;
        Pending::Owner pending;

        void operator()(const error_code& error, std::size_t taken) {
            Unsent& unsent = stream.unsent_;
            unsent.sent(taken);
            if (error || unsent.left() == 0)
                return pending.release()->complete(error, boost::asio::buffer_size(stream.whole_) - unsent.left());
            stream.send(std::move(*this));
        }
    };

    // Asio sends at once if the socket takes something, and otherwise when it does.
    void send(Turn&& turn) {
        constexpr std::size_t most = std::size_t{2} << 20;
        socket().async_write_some(unsent_.front(most), std::move(turn));
    }

    // Memory that is sent twice does not tell where in the message it stands. Observations that borrow may do that.
    static bool overlap(const BufferRange& message) noexcept {
        const auto begin = [](const boost::asio::const_buffer& piece) {
            return static_cast<const std::uint8_t*>(piece.data());
        };
        for (auto a = message.begin(); a != message.end(); ++a)
            for (auto b = a + 1; b != message.end(); ++b)
                if (begin(*a) < begin(*b) + b->size() && begin(*b) < begin(*a) + a->size()) return true;
        return false;
    }

    // What we are handed ends inside a piece of the message, or at its end; a frame's header ends in none. False if nothing
    // follows that is known of.
    bool append_rest() {
        while (!whole_.empty() && whole_.back().size() == 0) whole_.pop_back();
        if (whole_.empty()) return false;
        const auto* const end = static_cast<const std::uint8_t*>(whole_.back().data()) + whole_.back().size();
        for (auto piece = message_.begin(); piece != message_.end(); ++piece) {
            const auto* const data = static_cast<const std::uint8_t*>(piece->data());
            if (end <= data || end > data + piece->size()) continue;
            if (end < data + piece->size()) whole_.emplace_back(end, static_cast<std::size_t>(data + piece->size() - end));
            whole_.insert(whole_.end(), piece + 1, message_.end());
            return true;
        }
        return false;
    }

    BufferRange message_;
    std::vector<boost::asio::const_buffer> whole_;  // of the operation under way
    Unsent unsent_;                                 // of it
    HandlerMemory turn_memory_;
};

template <class Handler>
class GatherStream::PendingOf final : public Pending {
public:
    using Allocator =
        typename std::allocator_traits<boost::asio::associated_allocator_t<Handler>>::template rebind_alloc<PendingOf>;

    explicit PendingOf(Handler&& handler) : handler_(std::move(handler)) {}
    void complete(const error_code& error, std::size_t bytes) override { leave()(error, bytes); }
    void discard() noexcept override { leave(); }

private:
    // The memory goes before the handler, which may own it, or start the next operation in it.
    Handler leave() {
        Allocator allocator(boost::asio::get_associated_allocator(handler_));
        Handler handler(std::move(handler_));
        std::allocator_traits<Allocator>::destroy(allocator, this);
        std::allocator_traits<Allocator>::deallocate(allocator, this, 1);
        return handler;
    }

    Handler handler_;
};

template <class Handler>
GatherStream::Pending::Owner GatherStream::Pending::of(Handler&& handler) {
    using Kept = PendingOf<std::decay_t<Handler>>;
    typename Kept::Allocator allocator(boost::asio::get_associated_allocator(handler));
    Kept* const kept = std::allocator_traits<typename Kept::Allocator>::allocate(allocator, 1);
    std::allocator_traits<typename Kept::Allocator>::construct(allocator, kept,
                                                               std::decay_t<Handler>(std::forward<Handler>(handler)));
    return Owner(kept);
}

/// What Beast closes a WebSocket's connection with, found by the type of the stream.
template <class Handler>
void async_teardown(boost::beast::role_type role, GatherStream& stream, Handler&& handler) {
    async_teardown(role, static_cast<GatherStream::TcpStream&>(stream), std::forward<Handler>(handler));
}

}  // namespace chiral::net
