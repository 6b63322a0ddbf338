// SPDX-License-Identifier: Apache-2.0
// A byte stream between client and server, at either end of it: TCP, or TLS over it.
//
// One type for both, so that the WebSocket layer is compiled once; which of the two it is costs a branch per operation.
// Movable: what operations refer to stays where it is.
#pragma once

#include "net/gather_stream.hpp"
#include "net/sockets.hpp"

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/beast/websocket/teardown.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace chiral::net {

class Link {
public:
    // The loop's own executor instead of a type-erased one: posting through it does not allocate.
    using executor_type = boost::asio::io_context::executor_type;
    using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, executor_type>;
    using TcpStream = GatherStream;
    using next_layer_type = TcpStream;
    using Timer = boost::asio::basic_waitable_timer<std::chrono::steady_clock,
                                                    boost::asio::wait_traits<std::chrono::steady_clock>, executor_type>;

    /// Speaks TLS if there is a context for it, which must outlive the link.
    Link(Socket socket, boost::asio::ssl::context* tls) : transport_(std::make_unique<Transport>(std::move(socket))) {
        if (tls) transport_->tls.emplace(transport_->tcp, *tls);
    }

    executor_type get_executor() noexcept { return transport_->tcp.get_executor(); }
    TcpStream& next_layer() noexcept { return transport_->tcp; }
    const TcpStream& next_layer() const noexcept { return transport_->tcp; }
    TcpStream& tcp() noexcept { return transport_->tcp; }
    Socket& socket() noexcept { return transport_->tcp.socket(); }

    /// Null where there is no TLS.
    SSL* tls() noexcept { return transport_->tls ? transport_->tls->native_handle() : nullptr; }

    /// "ADDRESS:PORT" of the other end, or "unknown peer" if it has gone again already.
    std::string peer() {
        boost::system::error_code error;
        const auto endpoint = socket().remote_endpoint(error);
        return error ? "unknown peer" : endpoint.address().to_string() + ":" + std::to_string(endpoint.port());
    }

    /// Connects to the first of some addresses that can be reached; the error is that of the last one. In place of Asio's loop
    /// over addresses, which opens sockets that a child process would inherit.
    template <class Handler>
    void async_connect(std::vector<boost::asio::ip::tcp::endpoint> addresses, Handler handler,
                       boost::system::error_code last = boost::asio::error::host_not_found) {
        if (addresses.empty())
            return boost::asio::post(get_executor(), boost::beast::bind_front_handler(std::move(handler), last));
        const auto address = addresses.front();
        addresses.erase(addresses.begin());
        if (const auto error = reopen(address.protocol()))
            return async_connect(std::move(addresses), std::move(handler), error);
        socket().async_connect(address, [this, addresses = std::move(addresses),
                                         handler = std::move(handler)](boost::system::error_code error) mutable {
            if (!error || error == boost::asio::error::operation_aborted) return handler(error);
            async_connect(std::move(addresses), std::move(handler), error);
        });
    }
    /// The TLS handshake where there is TLS.
    template <class Handler>
    void async_handshake(boost::asio::ssl::stream_base::handshake_type as, Handler&& handler) {
        if (transport_->tls) transport_->tls->async_handshake(as, std::forward<Handler>(handler));
        else
            boost::asio::post(get_executor(),
                              boost::beast::bind_front_handler(std::forward<Handler>(handler), boost::system::error_code()));
    }
    template <class Buffers, class Handler>
    void async_read_some(const Buffers& buffers, Handler&& handler) {
        if (transport_->tls) transport_->tls->async_read_some(buffers, std::forward<Handler>(handler));
        else transport_->tcp.async_read_some(buffers, std::forward<Handler>(handler));
    }
    template <class Buffers, class Handler>
    void async_write_some(const Buffers& buffers, Handler&& handler) {
        if (transport_->tls) transport_->tls->async_write_some(buffers, std::forward<Handler>(handler));
        else transport_->tcp.async_write_some(buffers, std::forward<Handler>(handler));
    }
    /// See GatherStream::expect(). TLS has a copy to make of every byte anyway.
    void expect(BufferRange message) noexcept {
        if (!transport_->tls) transport_->tcp.expect(message);
    }
    /// Says that nothing more will be sent.
    template <class Handler>
    void async_shutdown(Handler&& handler) {
        if (transport_->tls) return transport_->tls->async_shutdown(std::forward<Handler>(handler));
        boost::system::error_code error;
        socket().shutdown(boost::asio::ip::tcp::socket::shutdown_send, error);
        boost::asio::post(get_executor(), boost::beast::bind_front_handler(std::forward<Handler>(handler), error));
    }
    /// Drops what comes until the other end has closed, or the time of the TCP stream is over. Closing while something is
    /// unread would reset the connection, and what was said last could be lost.
    template <class Handler>
    void async_drain(Handler handler) {
        tcp().async_read_some(boost::asio::buffer(transport_->dropped),
                              [this, handler = std::move(handler)](boost::system::error_code error, std::size_t) mutable {
                                  if (error) handler();
                                  else async_drain(std::move(handler));
                              });
    }
    /// Says that nothing more will be sent, and drains.
    template <class Handler>
    void async_hang_up(Handler handler) {
        async_shutdown(
            [this, handler = std::move(handler)](boost::system::error_code) mutable { async_drain(std::move(handler)); });
    }

    // Found by Beast's WebSocket stream.
    //
    // Beast ends a connection, also one on which the other end broke the protocol, by reading until that closes it, and
    // reports only then: the other end would decide how long it stays in control. So a teardown does nothing; goodbye is said
    // afterwards, when everybody knows.
    template <class Handler>
    friend void async_teardown(boost::beast::role_type, Link& link, Handler&& handler) {
        boost::asio::post(link.get_executor(),
                          boost::beast::bind_front_handler(std::forward<Handler>(handler), boost::system::error_code()));
    }
    friend void teardown(boost::beast::role_type, Link&, boost::system::error_code&) = delete;

private:
    boost::system::error_code reopen(boost::asio::ip::tcp protocol) {
        boost::system::error_code error;
        socket().close(error);
        Descriptor descriptor = open_socket(protocol.family());
        if (!descriptor) return {errno, boost::system::system_category()};
        socket().assign(protocol, descriptor.get(), error);
        if (!error) descriptor.release();
        return error;
    }

    struct Transport {
        explicit Transport(Socket socket) : tcp(std::move(socket)) {}
        TcpStream tcp;
        std::array<char, 4096> dropped;
        std::optional<boost::asio::ssl::stream<TcpStream&>> tls;
    };
    std::unique_ptr<Transport> transport_;
};

}  // namespace chiral::net
