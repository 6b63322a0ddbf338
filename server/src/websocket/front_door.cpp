// SPDX-License-Identifier: Apache-2.0
#include "websocket/front_door.hpp"

#include "http/metrics.hpp"
#include "live_page.hpp"
#include "net/printable.hpp"
#include "websocket/session.hpp"

#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/websocket/rfc6455.hpp>

#include <openssl/err.h>
#include <openssl/sslerr.h>

#include <cstring>
#include <utility>

namespace chiral::websocket {

namespace beast = boost::beast;
namespace http = beast::http;
using beast::error_code;

namespace {

// What is wrong with a handshake: RFC 6455, 4.2.1, 11.3.1 and 11.3.5; RFC 7230, 5.4. Beast looks at some of it, and only when
// the connection is a session already. Null if nothing is.
const char* fault_in(const http::request<http::empty_body>& request) {
    const auto once = [&](http::field field) { return request.count(field) == 1; };
    if (request.count(http::field::host) > 1) return "The Host field is there more than once.\n";
    if (!once(http::field::sec_websocket_version)) return "The Sec-WebSocket-Version field is not there exactly once.\n";
    if (!once(http::field::sec_websocket_key)) return "The Sec-WebSocket-Key field is not there exactly once.\n";
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const boost::beast::string_view key = request[http::field::sec_websocket_key];
    const std::string_view text(key.data(), key.size());
    if (text.size() != 24 || text.find_first_not_of(digits) != 22 || !text.ends_with("=="))
        return "The Sec-WebSocket-Key field is not the base64 of 16 bytes.\n";
    return nullptr;
}

// Clients that got the wrong one of ws:// and wss:// are told so, in the language that they speak.
bool begins_tls(const beast::flat_buffer& input) {
    constexpr unsigned char handshake_record[] = {22, 3};  // RFC 8446, 5.1
    return input.size() >= sizeof handshake_record &&
           std::memcmp(input.data().data(), handshake_record, sizeof handshake_record) == 0;
}
bool speaks_plain_http(const error_code& error) {
    const auto code = static_cast<unsigned long>(error.value());
    return error.category() == boost::asio::error::get_ssl_category() && ERR_GET_LIB(code) == ERR_LIB_SSL &&
           ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST;
}

}  // namespace

FrontDoor::FrontDoor(net::Link::Socket socket, ServerCore& core)
    : core_(core), link_(std::move(socket), core.tls ? &*core.tls : nullptr), peer_(link_.peer()) {
    error_code ignored;  // a peer that has gone again already; the next read says so
    link_.socket().set_option(boost::asio::ip::tcp::no_delay(true), ignored);
}

void FrontDoor::start() {
    core_.enter(shared_from_this());
    // For all that follows until the connection is a session or gone, however slowly it comes.
    link_.tcp().expires_after(core_.options.handshake_timeout);
    if (!core_.tls) return read_request();
    link_.async_handshake(boost::asio::ssl::stream_base::server, [self = shared_from_this()](error_code error) {
        if (self->finished_) return;
        if (!error) return self->read_request();
        count(self->core_.stats.protocol_errors);
        if (speaks_plain_http(error)) return self->answer_plain_http();
        self->finish("TLS handshake failed: " + error.message());
    });
}

void FrontDoor::read_request() {
    request_.emplace();
    request_->header_limit(8 * 1024);
    request_->body_limit(0);
    http::async_read(link_, input_, *request_,
                     [self = shared_from_this()](error_code error, std::size_t) { self->on_request(error); });
}

void FrontDoor::on_request(error_code error) {
    if (finished_) return;
    if (error) {
        if (error != http::error::end_of_stream) count(core_.stats.protocol_errors);
        if (!core_.tls && begins_tls(input_)) {
            core_.log_connection(ServerCore::Who::stranger, peer_ + ": begins with TLS, which this server does not speak");
            return answer(http::status::bad_request, "text/plain",
                          "This server does not speak TLS: use ws:// or http://.\n");
        }
        const std::string why = "handshake failed: " + error.message();
        if (error.category() != make_error_code(http::error::bad_method).category() || error == http::error::end_of_stream ||
            error == http::error::partial_message)
            return finish(why);
        core_.log_connection(ServerCore::Who::stranger, peer_ + ": " + why);
        if (error == http::error::header_limit)
            return answer(http::status::request_header_fields_too_large, "text/plain", "More than 8 kB of header.\n");
        if (error == http::error::body_limit)
            return answer(http::status::payload_too_large, "text/plain", "Requests have no body here.\n");
        return answer(http::status::bad_request, "text/plain",
                      "This is not HTTP as it should be: " + error.message() + ".\n");
    }
    const auto& message = request_->get();
    const auto view = [](boost::beast::string_view text) { return std::string_view(text.data(), text.size()); };
    const AccessRequest request{view(message.target()), view(message[http::field::host]),
                                view(message[http::field::authorization]), view(message[http::field::origin])};
    if (beast::websocket::is_upgrade(message)) upgrade(request);
    else get(request);
}

void FrontDoor::upgrade(const AccessRequest& request) {
    if (const char* fault = fault_in(request_->get())) {
        count(core_.stats.protocol_errors);
        return answer(http::status::bad_request, "text/plain", fault);
    }
    if (request_->get()[http::field::sec_websocket_version] != "13") {
        count(core_.stats.protocol_errors);
        return answer(http::status::upgrade_required, "text/plain", "This server speaks version 13 of WebSocket only.\n");
    }
    if (input_.size() > 0) {
        count(core_.stats.protocol_errors);
        return answer(http::status::bad_request, "text/plain",
                      "Wait for the answer to the handshake before you send more.\n");
    }
    if (!token_accepted(core_.options.access, request))
        return refuse(http::status::unauthorized, "no valid token",
                      "This robot asks for a token: send \"Authorization: Bearer TOKEN\".\n");
    if (!origin_accepted(core_.options.access, request))
        return refuse(http::status::forbidden, "origin " + net::printable(request.origin),
                      "Pages of this origin may not connect to this robot.\n");

    std::unique_ptr<ObservationSource::Seat> seat;
    const std::string_view path = path_of(request.target);
    const bool observes = path == "/observe" || path == "/observe/";
    if (!observes && path.starts_with("/observe"))  // whoever means to watch must not get control by a slip
        return refuse(http::status::not_found, "no such path: " + net::printable(path), "Observers connect to /observe.\n");
    const auto takeover = query_value(request.target, "takeover");
    const bool take_over = takeover && *takeover != "0";
    if (observes && take_over)
        return refuse(http::status::forbidden, "an observer that wants to take over", "An observer takes nothing over.\n");
    if (observes) {
        seat = core_.source->take_seat();
        if (!seat)
            return refuse(http::status::service_unavailable, "all seats for observers are taken",
                          "All " + std::to_string(core_.options.max_observers) +
                              " seats for observers are taken: try again when one has gone.\n");
    }
    if (!observes && core_.busy())
        return refuse(http::status::service_unavailable, "the hooks are busy with former clients",
                      "The robot is still busy with what former clients asked for: try again later.\n");

    const auto session = std::make_shared<Session>(std::move(link_), peer_, core_, std::move(seat));
    if (!observes && !core_.take_control(session.get(), take_over && core_.options.allow_takeover)) {
        link_ = session->give_back();
        if (take_over)
            return refuse(http::status::forbidden, "takeover is not allowed here",
                          "This robot does not let a client take over from another one.\n");
        return refuse(http::status::service_unavailable, "a client is connected already",
                      "Another client controls this robot. One client at a time: try again when it has gone.\n");
    }
    finished_ = true;
    session->start(request_->get());
    core_.leave(this);
}

void FrontDoor::get(const AccessRequest& request) {
    const http::verb method = request_->get().method();
    const std::string_view path = path_of(request.target);
    const bool known = path == "/" || path == "/healthz" || path == "/metrics";
    if (!known || (method != http::verb::get && method != http::verb::head)) {
        count(core_.stats.protocol_errors);
        return known ? answer(http::status::method_not_allowed, "text/plain", "GET and HEAD are answered here.\n")
                     : answer(http::status::upgrade_required, "text/plain",
                              "This is a Chiral policy server: it speaks WebSocket here, and HTTP at /, /healthz and "
                              "/metrics.\n");
    }
    if (path == "/healthz")
        return core_.stopping() ? answer(http::status::service_unavailable, "text/plain", "stopping\n")
                                : answer(http::status::ok, "text/plain", "ok\n");
    // Nothing of the robot is in the page itself.
    if (path == "/") return answer(http::status::ok, "text/html; charset=utf-8", std::string(kLivePage));
    if (!token_accepted(core_.options.access, request))
        return refuse(http::status::unauthorized, "no valid token",
                      "This robot asks for a token: send \"Authorization: Bearer TOKEN\".\n");
    Job job;
    job.task = [self = shared_from_this()] {
        // The sources are looked at here, on the observers' thread: that may take as long as a look at every pixel.
        std::string text;
        try {
            text = metrics_text(self->core_.stats, self->core_.source->report(), self->core_.source->copies());
        } catch (const std::exception& error) {
            self->core_.log(std::string("no metrics: ") + error.what());
        }
        boost::asio::post(self->core_.io, [self, text = std::move(text)]() mutable {
            if (self->finished_) return;
            if (text.empty()) self->answer(http::status::internal_server_error, "text/plain", "No figures: see the log.\n");
            else self->answer(http::status::ok, "text/plain; version=0.0.4; charset=utf-8", std::move(text));
        });
    };
    core_.observers.push(std::move(job));
}

void FrontDoor::refuse(http::status status, const std::string& why, const std::string& text) {
    count(core_.stats.refused);
    core_.log_connection(ServerCore::Who::stranger, "refused " + peer_ + ": " + why);
    answer(status, "text/plain", text);
}

void FrontDoor::answer(http::status status, std::string_view content_type, std::string text) {
    answer_.emplace(status, 11);
    answer_->set(http::field::server, "chiral");
    answer_->set(http::field::content_type, {content_type.data(), content_type.size()});
    answer_->set(http::field::cache_control, "no-store");
    answer_->set("X-Content-Type-Options", "nosniff");
    if (status == http::status::unauthorized) answer_->set(http::field::www_authenticate, "Bearer");
    if (status == http::status::method_not_allowed) answer_->set(http::field::allow, "GET, HEAD");
    answer_->keep_alive(false);
    if (status == http::status::upgrade_required) {  // to what: RFC 7231, 6.5.15; RFC 7230, 6.7; RFC 6455, 4.4
        answer_->set(http::field::upgrade, "websocket");
        answer_->set(http::field::connection, "close, upgrade");
        answer_->set(http::field::sec_websocket_version, "13");
    }
    answer_->body() = std::move(text);
    answer_->prepare_payload();
    if (request_->get().method() == http::verb::head) answer_->body().clear();
    http::async_write(link_, *answer_, [self = shared_from_this()](error_code, std::size_t) {
        // The peer may have gone; nothing more is said to it.
        self->link_.async_hang_up([self] { self->finish(""); });
    });
}

void FrontDoor::answer_plain_http() {
    core_.log_connection(ServerCore::Who::stranger, peer_ + ": speaks no TLS, which this server asks for");
    constexpr std::string_view text =
        "HTTP/1.1 400 Bad Request\r\nServer: chiral\r\nContent-Type: text/plain\r\n"
        "Content-Length: 51\r\nConnection: close\r\n\r\n"
        "This server speaks TLS only: use wss:// or https://";
    boost::asio::async_write(link_.tcp(), boost::asio::buffer(text), [self = shared_from_this()](error_code, std::size_t) {
        error_code ignored;  // the peer may have gone
        self->link_.socket().shutdown(boost::asio::ip::tcp::socket::shutdown_send, ignored);
        self->link_.async_drain([self] { self->finish(""); });
    });
}

void FrontDoor::finish(const std::string& why) {
    if (finished_) return;
    finished_ = true;
    error_code ignored;  // closing a socket that is broken already is not an event
    link_.socket().close(ignored);
    if (!why.empty()) core_.log_connection(ServerCore::Who::stranger, peer_ + ": " + why);
    core_.leave(this);
}

}  // namespace chiral::websocket
