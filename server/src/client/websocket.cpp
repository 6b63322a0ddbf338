// SPDX-License-Identifier: Apache-2.0
#include "client/websocket.hpp"

#include "client/received_messages.hpp"
#include "client/tls.hpp"
#include "net/link.hpp"
#include "net/printable.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/websocket.hpp>

#include <algorithm>
#include <array>
#include <exception>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

namespace chiral {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = boost::beast::websocket;
using boost::system::error_code;
using tcp = asio::ip::tcp;

namespace {

// Text from the server, for a message.
std::string told_by_server(std::string_view text) {
    constexpr std::size_t longest = 256;
    text = text.substr(0, text.find_last_not_of(" \r\n") + 1);  // the end of a body's last line
    return net::printable(text, longest) + (text.size() > longest ? "..." : "");
}

std::string_view view(boost::string_view text) { return {text.data(), text.size()}; }

// Whether the server may answer otherwise later: it is not there yet, or is just going.
bool worth_another_try(const error_code& error) {
    if (error == beast::http::error::end_of_stream || error == beast::http::error::partial_message) return true;
    return error.category() != beast::http::make_error_code(beast::http::error::end_of_stream).category() &&
           error.category() != websocket::make_error_code(websocket::error::closed).category();
}

}  // namespace

struct ClientWebSocket::Impl {
    Impl(net::Uri address, Options opts, Events& listener)
        : uri(std::move(address)), options(std::move(opts)), events(listener) {
        if (!options.bearer_token.empty())
            stream.set_option(websocket::stream_base::decorator([this](websocket::request_type& request) {
                request.set(beast::http::field::authorization, "Bearer " + options.bearer_token);
            }));
    }

    // ---- opening: all on the thread that calls open() ----

    std::optional<OpenFailure> open(TimePoint deadline) {
        std::optional<error_code> result;
        const char* step = "";
        websocket::response_type response;

        const auto finish = [&](const error_code& error) { result = error; };
        bool in_tls = false;
        const auto handshake = [&](const error_code& error) {
            if (error) return finish(error);
            in_tls = false;
            stream.binary(true);
            stream.auto_fragment(false);
            stream.read_message_max(options.max_message_bytes);
            step = "in the WebSocket handshake";
            stream.async_handshake(response, uri.authority, uri.target, finish);
        };
        const auto secure = [&](const error_code& error) {
            if (error) return finish(error);
            error_code ignored;
            socket().set_option(tcp::no_delay(true), ignored);
            if (options.tls) {
                step = "in the TLS handshake";
                in_tls = true;
                options.tls->prepare(link().tls(), uri.host);
            }
            link().async_handshake(asio::ssl::stream_base::client, handshake);
        };
        const auto connect = [&](std::vector<tcp::endpoint> endpoints) {
            step = "while connecting";
            link().async_connect(std::move(endpoints), secure);
        };

        error_code not_an_address;
        const asio::ip::address address = asio::ip::make_address(uri.host, not_an_address);
        if (!not_an_address) {
            const auto port = static_cast<unsigned short>(std::stoul(uri.port));
            connect({tcp::endpoint(address, port)});
        } else {
            step = "while looking the name up";
            resolver.async_resolve(uri.host, uri.port, [&](const error_code& error, const auto& found) {
                error ? finish(error) : connect({found.begin(), found.end()});
            });
        }

        context.run_until(deadline);
        if (!result) return OpenFailure{std::string("no answer in time ") + step, false};
        if (*result && in_tls) return tls_failure(*result);
        if (*result == websocket::error::upgrade_declined) return OpenFailure{refusal(response), true};
        if (*result && !worth_another_try(*result))
            return OpenFailure{"the server does not speak WebSocket: " + result->message(), true};
        if (*result) return OpenFailure{result->message() + ' ' + step, false};
        start();
        return std::nullopt;
    }

    OpenFailure tls_failure(const error_code& error) {
        // A server that is just going ends the connection; one that speaks no TLS may do so, too.
        if (error.category() != asio::error::get_ssl_category())
            return {
                error.message() + " in the TLS handshake (does the server speak TLS? If not, its address begins with ws://)",
                false};
        return {options.tls->failure(link().tls(), uri.host, static_cast<unsigned long>(error.value())), true};
    }

    static std::string refusal(const websocket::response_type& response) {
        std::string text = "the server refuses: HTTP " + std::to_string(response.result_int());
        const std::string reason = told_by_server(view(response.reason()));
        const std::string body = told_by_server(response.body());
        if (!reason.empty()) text += ' ' + reason;
        if (!body.empty()) text += ": " + body;
        return text;
    }

    void start() {
        context.restart();
        work.emplace(context.get_executor());
        read_some();
        thread = std::thread([this] {
            try {
                context.run();
            } catch (const std::exception& exception) {
                give_up(exception.what());
            } catch (...) {
                give_up("an exception that is no std::exception");
            }
            events.ended();
        });
    }

    // An exception has left a handler: out of memory. The operations under way end with the context.
    void give_up(const char* what) noexcept {
        error_code ignored;
        socket().close(ignored);
        try {
            events.over(std::string("network thread: ") + what);
        } catch (...) {  // ended() follows and tells enough
        }
    }

    // ---- everything below runs on the I/O thread ----

    void read_some() {
        // Grow by what the frame announces, but not by more than has come so far or is cheap: a server that announces a
        // gigabyte and sends nothing does not get it.
        constexpr std::size_t least = std::size_t{64} << 10;
        constexpr std::size_t cheap = std::size_t{32} << 20;
        beast::flat_buffer& buffer = messages.current().bytes;
        std::size_t room = buffer.capacity() - buffer.size();
        if (room == 0) room = std::min(std::max(stream.read_size_hint(), least), std::max(buffer.size(), cheap));
        stream.async_read_some(buffer.prepare(room), [this, &buffer](const error_code& error, std::size_t bytes) {
            if (error) return read_failed(error);
            buffer.commit(bytes);
            if (!stream.got_binary())
                return violation(websocket::close_code::unknown_data, "the server sent text, expected binary messages");
            if (!events.message_due())
                return violation(websocket::close_code::policy_error, "the server sent what nobody asked for");
            if (!stream.is_message_done()) return read_some();
            events.received({static_cast<const std::uint8_t*>(buffer.data().data()) + phase, buffer.size() - phase},
                            messages.current());
        });
    }

    void read_next(std::size_t next_phase) {
        beast::flat_buffer& buffer = messages.next().bytes;
        phase = next_phase;  // the allocator's memory begins at 0
        buffer.prepare(phase);
        buffer.commit(phase);
        read_some();
    }

    void read_failed(const error_code& error) {
        if (closing) return;  // the closing handshake is done or given up elsewhere
        closing = true;
        const bool by_websocket = error.category() == websocket::make_error_code(websocket::error::closed).category();
        std::string reason;
        if (error == websocket::error::closed) {
            reason = closed_by_server();
        } else if (error == websocket::error::message_too_big) {
            reason = "the server sent a message of more than the " + std::to_string(options.max_message_bytes) +
                     " bytes accepted";
        } else if (error == asio::error::eof) {
            reason = "the server ended the connection without a close frame";
        } else if (by_websocket) {
            reason = "the server broke the WebSocket protocol: " + error.message();
        } else {
            reason = "the connection broke: " + error.message();
        }
        const std::size_t begun = messages.current().bytes.size() - phase;
        if (begun > 0) reason += ", " + std::to_string(begun) + " bytes into a message";
        events.over(std::move(reason));
        by_websocket ? wait_for_server() : drop();
    }

    std::string closed_by_server() const {
        const websocket::close_reason& reason = stream.reason();
        if (reason.code == websocket::close_code::none) return "the server closed the connection and gave no reason";
        std::string text = "the server closed the connection with code " + std::to_string(reason.code);
        if (!reason.reason.empty()) text += ": " + told_by_server({reason.reason.data(), reason.reason.size()});
        return text;
    }

    void violation(websocket::close_code code, const std::string& reason) {
        events.over(reason);
        begin_close(code, reason, false);
    }

    void pump() {
        if (writing || dropped || (closing && !flush)) return;
        {
            std::lock_guard lock(ring_mutex);
            if (ring_count == 0) {
                outgoing.counted = false;
            } else {
                std::swap(outgoing, ring[ring_first]);
                ring_first = (ring_first + 1) % ring_size;
                --ring_count;
                writing = true;
            }
        }
        if (!writing) {
            if (close_due) close_now();
            return;
        }
        stream.async_write(asio::buffer(outgoing.bytes), [this](const error_code& error, std::size_t) {
            writing = false;
            if (error) return write_failed(error);
            events.sent(outgoing.counted);
            close_due && !flush ? close_now() : pump();
        });
    }

    void write_failed(const error_code& error) {
        if (!closing) {
            closing = true;
            events.over("the connection broke while sending: " + error.message());
        }
        drop();
    }

    void begin_close(std::uint16_t code, const std::string& reason, bool flush_first) {
        if (closing) return;
        closing = true;
        close_due = true;
        flush = flush_first;
        close_reason = websocket::close_reason(static_cast<websocket::close_code>(code));
        close_reason.reason.assign(reason.data(), std::min(reason.size(), close_reason.reason.max_size()));
        limit_time();
        if (writing) return;  // goes on when the message is written
        flush ? pump() : close_now();
    }

    void close_now() {
        if (dropped) return;
        flush = false;
        close_due = false;
        stream.async_close(close_reason, [this](const error_code& error) { error ? drop() : wait_for_server(); });
    }

    // The last messages have passed: the server closes the connection, as RFC 6455 section 7.1.1 prefers.
    void wait_for_server() {
        limit_time();
        if (!options.tls || writing) return say_last_word();  // TLS cannot say goodbye in the middle of a message
        link().async_shutdown([this](const error_code&) { say_last_word(); });
    }
    void say_last_word() {
        error_code ignored;
        socket().shutdown(tcp::socket::shutdown_send, ignored);
        discard();
    }
    void discard() {
        if (dropped) return;
        socket().async_read_some(asio::buffer(discarded),
                                 [this](const error_code& error, std::size_t) { error ? drop() : discard(); });
    }

    void limit_time() {
        if (time_limited) return;
        time_limited = true;
        timer.expires_after(options.close_timeout);
        timer.async_wait([this](const error_code& error) {
            if (!error) drop();
        });
    }

    // Ends what is still under way, and with it the thread.
    void drop() {
        dropped = true;
        error_code ignored;
        socket().close(ignored);
        timer.cancel();
        work.reset();
    }

    net::Link& link() { return stream.next_layer(); }
    net::Link::Socket& socket() { return link().socket(); }

    static std::optional<asio::ssl::context> shared(const std::shared_ptr<const ClientTls>& tls) {
        return tls ? std::optional<asio::ssl::context>(std::in_place, tls->share()) : std::nullopt;
    }

    const net::Uri uri;
    const Options options;
    Events& events;

    asio::io_context context{1};
    std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work;
    tcp::resolver resolver{context};
    std::optional<asio::ssl::context> tls{shared(options.tls)};
    websocket::stream<net::Link, false> stream{net::Link::Socket(context), tls ? &*tls : nullptr};
    asio::steady_timer timer{context};
    std::thread thread;

    ReceivedMessages messages;
    std::size_t phase{0};  // bytes in front of the message
    std::array<char, 4096> discarded;
    bool writing{false};
    bool closing{false};    // over, for whatever reason: over() has been told, or close() was called
    bool flush{false};      // but the ring is still to be sent
    bool close_due{false};  // and the closing handshake is still to be begun
    bool time_limited{false};
    bool dropped{false};
    websocket::close_reason close_reason;

    struct Outgoing {
        std::vector<std::uint8_t> bytes;
        bool counted{false};
    };
    Outgoing outgoing;  // what is being written
    std::mutex ring_mutex;
    std::array<Outgoing, ring_size> ring;
    std::size_t ring_first{0};
    std::size_t ring_count{0};
};

ClientWebSocket::ClientWebSocket(net::Uri uri, Options options, Events& events)
    : impl_(std::make_unique<Impl>(std::move(uri), std::move(options), events)) {}

ClientWebSocket::~ClientWebSocket() {
    if (!impl_->thread.joinable()) return;
    asio::post(impl_->context, [impl = impl_.get()] {
        impl->closing = true;
        impl->drop();
    });
    impl_->thread.join();
}

std::optional<ClientWebSocket::OpenFailure> ClientWebSocket::open(TimePoint deadline) { return impl_->open(deadline); }

void ClientWebSocket::abort_open() { impl_->context.stop(); }

bool ClientWebSocket::send(std::vector<std::uint8_t>& message, bool counted) {
    {
        std::lock_guard lock(impl_->ring_mutex);
        if (impl_->ring_count == ring_size) return false;
        Impl::Outgoing& last = impl_->ring[(impl_->ring_first + impl_->ring_count) % ring_size];
        last.bytes.swap(message);
        last.counted = counted;
        ++impl_->ring_count;
    }
    asio::post(impl_->context, [impl = impl_.get()] { impl->pump(); });
    return true;
}

void ClientWebSocket::read_next(std::size_t phase) {
    asio::post(impl_->context, [impl = impl_.get(), phase] {
        if (!impl->closing) impl->read_next(phase);
    });
}

void ClientWebSocket::close(std::uint16_t code, const std::string& reason, bool flush) {
    asio::post(impl_->context, [impl = impl_.get(), code, reason, flush] { impl->begin_close(code, reason, flush); });
}

}  // namespace chiral
