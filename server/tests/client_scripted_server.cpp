// SPDX-License-Identifier: Apache-2.0
#include "client_scripted_server.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>

#include <sys/socket.h>

namespace chiral::test {

namespace asio = boost::asio;
namespace websocket = boost::beast::websocket;
using boost::system::error_code;
using tcp = asio::ip::tcp;

struct Peer::Impl {
    explicit Impl(tcp::socket connection) : stream(std::move(connection)) {
        stream.control_callback(
            [this](websocket::frame_type kind, boost::string_view) { pongs += kind == websocket::frame_type::pong; });
        stream.binary(true);
        stream.auto_fragment(false);
    }

    // Whatever goes wrong on a loopback connection, the client has done it.
    void check(const error_code& error) {
        if (error == websocket::error::closed) code = stream.reason().code;
        if (error) throw ClientGone(error.message());
    }
    tcp::socket& socket() { return stream.next_layer(); }

    websocket::stream<tcp::socket> stream;
    int pongs{0};
    std::uint16_t code{0};
};

void Peer::accept() {
    error_code error;
    impl_.stream.accept(error);
    impl_.check(error);
}

void Peer::accept(const std::string& http_request) {
    error_code error;
    impl_.stream.accept(asio::buffer(http_request), error);
    impl_.check(error);
}

ByteVector Peer::receive() {
    boost::beast::flat_buffer buffer;
    error_code error;
    impl_.stream.read(buffer, error);
    impl_.check(error);
    const auto* begin = static_cast<const std::uint8_t*>(buffer.data().data());
    return {begin, begin + buffer.size()};
}

wire::Request Peer::receive_request() {
    wire::Request request;
    wire::decode_request(receive(), request);
    return request;
}

std::optional<wire::Request> Peer::receive_request_if_any() {
    try {
        return receive_request();
    } catch (const ClientGone&) {
        return std::nullopt;
    }
}

void Peer::expect_request(wire::RequestType type) { EXPECT_STREQ(to_string(receive_request().type), to_string(type)); }

void Peer::send(const ByteVector& message) { send_fragment(true, message); }

void Peer::send_fragment(bool final, wire::Bytes bytes) {
    error_code error;
    impl_.stream.write_some(final, asio::buffer(bytes.data(), bytes.size()), error);
    impl_.check(error);
}

void Peer::ping() {
    error_code error;
    impl_.stream.ping("are you there?", error);
    impl_.check(error);
}

int Peer::pongs() const { return impl_.pongs; }

void Peer::close(std::uint16_t code, const std::string& reason) {
    error_code error;
    websocket::close_reason with{static_cast<websocket::close_code>(code), reason};
    impl_.stream.close(code == 0 ? websocket::close_reason() : with, error);
}

void Peer::wait_for_close() {
    try {
        for (;;) receive();
    } catch (const ClientGone&) {}
}

std::uint16_t Peer::close_code() const { return impl_.code; }

void Peer::send_raw(const ByteVector& bytes) {
    error_code error;
    asio::write(impl_.socket(), asio::buffer(bytes), error);
    impl_.check(error);
}

void Peer::send_raw(const std::string& text) { send_raw(ByteVector(text.begin(), text.end())); }

std::string Peer::read_http_request() {
    std::string text;
    error_code error;
    asio::read_until(impl_.socket(), asio::dynamic_buffer(text), "\r\n\r\n", error);
    impl_.check(error);
    return text;
}

void Peer::end_sending() {
    error_code ignored;
    impl_.socket().shutdown(tcp::socket::shutdown_send, ignored);
}

void Peer::end(bool abruptly) {
    error_code ignored;
    if (abruptly) impl_.socket().set_option(asio::socket_base::linger(true, 0), ignored);
    impl_.socket().close(ignored);
}

void Peer::wait_until_client_ends() {
    error_code error;
    ByteVector bytes(4096);
    while (!error) impl_.socket().read_some(asio::buffer(bytes), error);
}

bool Peer::more_to_receive() { return impl_.socket().available() > 0; }

struct ScriptedServer::Impl {
    Impl(ScriptedServer& owner, Script what_to_do, unsigned short port)
        : acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), port)),
          script(std::move(what_to_do)),
          server(owner) {}

    void run() {
        for (;;) {
            error_code error;
            tcp::socket socket(context);
            acceptor.accept(socket, error);
            {
                std::lock_guard lock(mutex);
                if (stop || error) return;
                connection = socket.native_handle();
            }
            error_code ignored;
            socket.set_option(tcp::no_delay(true), ignored);
            Peer::Impl peer_impl(std::move(socket));
            Peer peer(peer_impl);
            server.accepted.happen();
            try {
                script(peer);
            } catch (const ClientGone&) {
            } catch (const std::exception& exception) {
                ADD_FAILURE() << "script: " << exception.what();
            }
            std::lock_guard lock(mutex);  // from here on nobody may shut down this connection's number
            connection = -1;
            if (stop) return;
        }
    }

    asio::io_context context;
    tcp::acceptor acceptor;
    Script script;
    ScriptedServer& server;
    std::mutex mutex;
    bool stop{false};
    int connection{-1};
    std::thread thread;
};

ScriptedServer::ScriptedServer(Script script, unsigned short port)
    : impl_(std::make_unique<Impl>(*this, std::move(script), port)) {
    impl_->thread = std::thread([this] { impl_->run(); });
}

ScriptedServer::~ScriptedServer() {
    {
        std::lock_guard lock(impl_->mutex);
        impl_->stop = true;
        ::shutdown(impl_->acceptor.native_handle(), SHUT_RDWR);
        if (impl_->connection >= 0) ::shutdown(impl_->connection, SHUT_RDWR);
    }
    impl_->thread.join();
}

unsigned short ScriptedServer::port() const { return impl_->acceptor.local_endpoint().port(); }

unsigned short free_port() {
    asio::io_context context;
    return tcp::acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0)).local_endpoint().port();
}

}  // namespace chiral::test
