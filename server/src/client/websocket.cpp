// SPDX-License-Identifier: Apache-2.0
#include "client/websocket.hpp"

#include "client/network_thread.hpp"
#include "client/outgoing_ring.hpp"
#include "client/received_messages.hpp"
#include "client/tls.hpp"
#include "net/link.hpp"
#include "net/printable.hpp"
#include "net/tcp_health.hpp"
#include "net/uri.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/websocket.hpp>

#include <poll.h>

#include <algorithm>
#include <array>
#include <exception>
#include <new>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace chiral::client {

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

// All that a server may say before the connection is open: its certificates, and its answer, which may be a refusal in words.
constexpr std::uint64_t most_before_open = std::uint64_t{256} << 10;

// A server that is gone does not hold up close() for longer.
constexpr Duration longest_close = std::chrono::seconds(2);

class WebSocket final : public Transport {
public:
    WebSocket(const net::Uri& uri, std::shared_ptr<const Tls> tls, const ClientOptions& options, Events& events)
        : uri_(uri),
          close_timeout_(std::min(options.request_timeout, longest_close)),
          silence_(options.request_timeout),
          max_message_bytes_(options.max_message_bytes),
          tls_(std::move(tls)),
          events_(events) {
        if (!options.bearer_token.empty())
            stream_.set_option(websocket::stream_base::decorator([token = options.bearer_token](auto& message) {
                message.set(beast::http::field::authorization, "Bearer " + token);
            }));
    }
    ~WebSocket() override {
        if (!thread_.joinable()) return;
        asio::post(context_, [this] {
            closing_ = true;
            drop();
        });
        thread_.join();
    }

    std::optional<OpenFailure> open(TimePoint deadline) override;
    void abort_open() override { context_.stop(); }

    bool send(std::vector<std::uint8_t>& message, bool counted) override {
        if (!ring_.put(message, counted)) return false;
        asio::post(context_, [this] { pump(); });
        return true;
    }
    bool ended_by_server() const noexcept override {
        pollfd descriptor{handle_, POLLRDHUP, 0};
        return poll(&descriptor, 1, 0) > 0;
    }
    void read_next(std::size_t phase) override {
        asio::post(context_, [this, phase] {
            if (!closing_) begin_message(phase);
        });
    }
    void close(std::uint16_t code, const std::string& reason, bool flush) override {
        asio::post(context_, [this, code, reason, flush] { begin_close(code, reason, flush); });
    }

private:
    // ---- opening: all on the thread that calls open() ----

    // Runs what open() has begun, until it has ended or the deadline. What the server says is bounded here: Beast bounds the
    // header of an answer, but not the body that it announces, nor a chunk's head, nor a trailer.
    std::optional<OpenFailure> run_until(TimePoint deadline, const char* const& step) {
        try {
            while (context_.run_one_until(deadline) > 0) {
                const auto health = net::tcp_health(handle_);
                if (health && health->received_bytes > most_before_open)
                    return OpenFailure{"the server says more than " + std::to_string(most_before_open) + " bytes " + step +
                                           ": it does not speak WebSocket",
                                       true};
            }
            return std::nullopt;
        } catch (const std::bad_alloc&) {  // Beast makes room at once for the body that a refusal announces
            return OpenFailure{std::string("the server announces more than there is memory for ") + step, true};
        } catch (const std::length_error&) {
            return OpenFailure{std::string("the server announces more than there can be memory for ") + step, true};
        }
    }
    OpenFailure tls_failure(const error_code& error) {
        // A server that is just going ends the connection; one that speaks no TLS may do so, too.
        if (error.category() != asio::error::get_ssl_category())
            return {
                error.message() + " in the TLS handshake (does the server speak TLS? If not, its address begins with ws://)",
                false};
        return {tls_->failure(link().tls(), uri_.host, static_cast<unsigned long>(error.value())), true};
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
        context_.restart();
        work_.emplace(context_.get_executor());
        read_some();
        thread_ = network_thread(
            events_, [this] { context_.run(); },
            [this] {
                error_code ignored;
                socket().close(ignored);
            });
    }

    // ---- everything below runs on the I/O thread ----

    void read_some() {
        // Grow by what the frame announces, but not by more than has come so far or is cheap: a server that announces a
        // gigabyte and sends nothing does not get it.
        constexpr std::size_t least = std::size_t{64} << 10;
        constexpr std::size_t cheap = std::size_t{32} << 20;
        beast::flat_buffer& buffer = messages_.current().bytes;
        std::size_t room = buffer.capacity() - buffer.size();
        if (room == 0) room = std::min(std::max(stream_.read_size_hint(), least), std::max(buffer.size(), cheap));
        stream_.async_read_some(buffer.prepare(room), [this, &buffer](const error_code& error, std::size_t bytes) {
            if (error) return read_failed(error);
            buffer.commit(bytes);
            if (!stream_.got_binary())
                return violation(websocket::close_code::unknown_data, "the server sent text, expected binary messages");
            if (!events_.message_due())
                return violation(websocket::close_code::policy_error, "the server sent what nobody asked for");
            if (!stream_.is_message_done()) return read_some();
            const wire::Bytes all{static_cast<const std::uint8_t*>(buffer.data().data()), buffer.size()};
            events_.received({all.subspan(phase_)}, messages_.current());
        });
    }

    void begin_message(std::size_t phase) {
        beast::flat_buffer& buffer = messages_.next().bytes;
        phase_ = phase;  // the allocator's memory begins at 0
        buffer.prepare(phase);
        buffer.commit(phase);
        read_some();
    }

    void read_failed(const error_code& error) {
        if (closing_) return;  // the closing handshake is done or given up elsewhere
        closing_ = true;
        const bool by_websocket = error.category() == websocket::make_error_code(websocket::error::closed).category();
        std::string reason;
        if (error == websocket::error::closed) {
            reason = closed_by_server();
        } else if (error == websocket::error::message_too_big) {
            reason = "the server sent a message of more than the " + std::to_string(max_message_bytes_) + " bytes accepted";
        } else if (error == asio::error::eof) {
            reason = "the server ended the connection without a close frame";
        } else if (by_websocket) {
            reason = "the server broke the WebSocket protocol: " + error.message();
        } else {
            reason = "the connection broke: " + error.message();
        }
        const std::size_t begun = messages_.current().bytes.size() - phase_;
        if (begun > 0) reason += ", " + std::to_string(begun) + " bytes into a message";
        events_.over(std::move(reason));
        by_websocket ? wait_for_server() : drop();
    }

    std::string closed_by_server() const {
        const websocket::close_reason& reason = stream_.reason();
        if (reason.code == websocket::close_code::none) return "the server closed the connection and gave no reason";
        std::string text = "the server closed the connection with code " + std::to_string(reason.code);
        if (!reason.reason.empty()) text += ": " + told_by_server({reason.reason.data(), reason.reason.size()});
        return text;
    }

    void violation(websocket::close_code code, const std::string& reason) {
        events_.over(reason);
        begin_close(code, reason, false);
    }

    void pump() {
        if (writing_ || dropped_ || (closing_ && !flush_)) return;
        writing_ = ring_.take(outgoing_);
        if (!writing_) {
            if (close_due_) close_now();
            return;
        }
        stream_.async_write(asio::buffer(outgoing_.bytes), [this](const error_code& error, std::size_t) {
            writing_ = false;
            if (error) return write_failed(error);
            events_.sent(outgoing_.counted);
            close_due_ && !flush_ ? close_now() : pump();
        });
    }

    void write_failed(const error_code& error) {
        if (!closing_) {
            closing_ = true;
            events_.over("the connection broke while sending: " + error.message());
        }
        drop();
    }

    void begin_close(std::uint16_t code, const std::string& reason, bool flush_first) {
        if (closing_) return;
        closing_ = true;
        close_due_ = true;
        flush_ = flush_first;
        close_reason_ = websocket::close_reason(static_cast<websocket::close_code>(code));
        close_reason_.reason.assign(reason.data(), std::min(reason.size(), close_reason_.reason.max_size()));
        limit_time();
        if (writing_) return;  // goes on when the message is written
        flush_ ? pump() : close_now();
    }

    void close_now() {
        if (dropped_) return;
        flush_ = false;
        close_due_ = false;
        stream_.async_close(close_reason_, [this](const error_code& error) { error ? drop() : wait_for_server(); });
    }

    // The last messages have passed: the server closes the connection, as RFC 6455 section 7.1.1 prefers.
    void wait_for_server() {
        limit_time();
        if (!tls_ || writing_) return say_last_word();  // TLS cannot say goodbye in the middle of a message
        link().async_shutdown([this](const error_code&) { say_last_word(); });
    }
    void say_last_word() {
        error_code ignored;
        socket().shutdown(tcp::socket::shutdown_send, ignored);
        discard();
    }
    void discard() {
        if (dropped_) return;
        socket().async_read_some(asio::buffer(discarded_),
                                 [this](const error_code& error, std::size_t) { error ? drop() : discard(); });
    }

    void limit_time() {
        if (time_limited_) return;
        time_limited_ = true;
        timer_.expires_after(close_timeout_);
        timer_.async_wait([this](const error_code& error) {
            if (!error) drop();
        });
    }

    // Ends what is still under way, and with it the thread.
    void drop() {
        dropped_ = true;
        error_code ignored;
        socket().close(ignored);
        timer_.cancel();
        work_.reset();
    }

    net::Link& link() { return stream_.next_layer(); }
    net::Link::Socket& socket() { return link().socket(); }

    static std::optional<asio::ssl::context> shared(const std::shared_ptr<const Tls>& tls) {
        return tls ? std::optional<asio::ssl::context>(std::in_place, tls->share()) : std::nullopt;
    }

    const net::Uri uri_;
    const Duration close_timeout_;  // for the closing handshakes, and for what is still to be sent before them
    const Duration silence_;        // of the server's machine, after which it counts as gone
    const std::size_t max_message_bytes_;
    const std::shared_ptr<const Tls> tls_;  // null: none
    Events& events_;

    asio::io_context context_{1};
    std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_;
    std::optional<asio::ssl::context> tls_context_{shared(tls_)};
    websocket::stream<net::Link, false> stream_{net::Link::Socket(context_), tls_context_ ? &*tls_context_ : nullptr};
    asio::steady_timer timer_{context_};
    std::thread thread_;
    int handle_{-1};  // of the socket, for other threads

    ReceivedMessages messages_;
    std::size_t phase_{0};  // bytes in front of the message
    std::array<char, 4096> discarded_;
    OutgoingRing<ring_size> ring_;
    Outgoing outgoing_;  // what is being written
    bool writing_{false};
    bool closing_{false};    // over, for whatever reason: over() has been told, or close() was called
    bool flush_{false};      // but the ring is still to be sent
    bool close_due_{false};  // and the closing handshake is still to be begun
    bool time_limited_{false};
    bool dropped_{false};
    websocket::close_reason close_reason_;
};

std::optional<Transport::OpenFailure> WebSocket::open(TimePoint deadline) {
    std::optional<error_code> result;
    const char* step = "";
    websocket::response_type response;
    tcp::resolver resolver{context_};

    const auto finish = [&](const error_code& error) { result = error; };
    bool in_tls = false;
    const auto handshake = [&](const error_code& error) {
        if (error) return finish(error);
        in_tls = false;
        stream_.binary(true);
        stream_.auto_fragment(false);
        stream_.read_message_max(max_message_bytes_);
        step = "in the WebSocket handshake";
        stream_.async_handshake(response, uri_.authority, uri_.target, finish);
    };
    const auto secure = [&](const error_code& error) {
        if (error) return finish(error);
        error_code ignored;
        socket().set_option(tcp::no_delay(true), ignored);
        handle_ = socket().native_handle();
        // A reset may take for ever; that its robot is no longer there must be noticed all the same.
        net::end_when_unreachable(handle_, std::chrono::duration_cast<std::chrono::seconds>(silence_));
        if (tls_) {
            step = "in the TLS handshake";
            in_tls = true;
            tls_->prepare(link().tls(), uri_.host);
        }
        link().async_handshake(asio::ssl::stream_base::client, handshake);
    };
    const auto connect = [&](std::vector<tcp::endpoint> endpoints) {
        step = "while connecting";
        link().async_connect(std::move(endpoints), secure);
    };

    error_code not_an_address;
    const asio::ip::address address = asio::ip::make_address(uri_.host, not_an_address);
    if (!not_an_address) {
        const auto port = static_cast<unsigned short>(std::stoul(uri_.port));
        connect({tcp::endpoint(address, port)});
    } else {
        step = "while looking the name up";
        resolver.async_resolve(uri_.host, uri_.port, [&](const error_code& error, const auto& found) {
            error ? finish(error) : connect({found.begin(), found.end()});
        });
    }

    if (std::optional<OpenFailure> failure = run_until(deadline, step)) return failure;
    if (!result) return OpenFailure{std::string("no answer in time ") + step, false};
    if (*result && in_tls) return tls_failure(*result);
    if (*result == websocket::error::upgrade_declined) return OpenFailure{refusal(response), true};
    if (*result && !worth_another_try(*result))
        return OpenFailure{"the server does not speak WebSocket: " + result->message(), true};
    if (*result) return OpenFailure{result->message() + ' ' + step, false};
    start();
    return std::nullopt;
}

class WebSocketEndpoint final : public Endpoint {
public:
    WebSocketEndpoint(const std::string& address, const ClientOptions& options)
        : uri_(net::parse_uri(address)), options_(options) {
        if (uri_.secure) tls_ = std::make_shared<const Tls>(options.tls_ca_file, options.tls_verify);
    }
    const std::string& text() const noexcept override { return uri_.text; }
    std::unique_ptr<Transport> transport(Transport::Events& events) const override {
        return std::make_unique<WebSocket>(uri_, tls_, options_, events);
    }

private:
    const net::Uri uri_;
    const ClientOptions& options_;
    std::shared_ptr<const Tls> tls_;
};

}  // namespace

std::unique_ptr<Endpoint> websocket_endpoint(const std::string& address, const ClientOptions& options) {
    return std::make_unique<WebSocketEndpoint>(address, options);
}

}  // namespace chiral::client
