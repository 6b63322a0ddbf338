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

#include <chrono>
#include <cstring>
#include <new>
#include <utility>

namespace chiral::websocket {

namespace beast = boost::beast;
namespace beast_http = beast::http;  // http:: is the room next door
using Field = beast_http::field;
using Status = beast_http::status;
using beast::error_code;
using robot::count;

namespace {

// What is wrong with an upgrade: RFC 6455, 4.2.1, 11.3.1 and 11.3.5; RFC 7230, 5.4. Null if nothing is, and then Beast accepts
// it: it looks at less than this, and only when the connection is a session, and another client out of control, already.
const char* fault_in(const beast_http::request<beast_http::empty_body>& request) {
    const auto once = [&](Field field) { return request.count(field) == 1; };
    if (!once(Field::host)) return "The Host field is not there exactly once.\n";
    if (!once(Field::sec_websocket_version)) return "The Sec-WebSocket-Version field is not there exactly once.\n";
    if (!once(Field::sec_websocket_key)) return "The Sec-WebSocket-Key field is not there exactly once.\n";
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const boost::beast::string_view key = request[Field::sec_websocket_key];
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

}  // namespace

FrontDoor::FrontDoor(net::Link::Socket socket, Service& core, Tls* tls)
    : core_(core),
      tls_(tls),
      link_(std::move(socket), tls != nullptr ? &tls->context : nullptr),
      peer_(link_.peer()),
      answer_by_(core_.io.get_executor()) {
    error_code ignored;  // a peer that has gone again already; the next read says so
    link_.socket().set_option(boost::asio::ip::tcp::no_delay(true), ignored);
}

void FrontDoor::start() {
    core_.enter(shared_from_this());
    // For all that follows until the connection is a session or gone, however slowly it comes.
    link_.tcp().expires_after(core_.options.handshake_timeout);
    if (tls_ == nullptr) return read_request();
    const auto handshake = std::make_shared<TlsHandshake>(link_, tls_->handshakes);
    handshake_ = handshake;
    handshake->start([self = shared_from_this()](TlsHandshake::Outcome outcome) { self->on_handshake(outcome); });
}

void FrontDoor::on_handshake(TlsHandshake::Outcome outcome) {
    const auto handshake = handshake_.lock();
    if (finished_) return;
    switch (outcome) {
        case TlsHandshake::Outcome::done: return read_request();
        case TlsHandshake::Outcome::silent: return finish("");
        case TlsHandshake::Outcome::crowded:
            count(core_.stats.refused);
            return finish("too many TLS handshakes of its address wait");
        case TlsHandshake::Outcome::plain_http: count(core_.stats.protocol_errors); return answer_plain_http();
        case TlsHandshake::Outcome::failed:
            count(core_.stats.protocol_errors);
            return finish("TLS handshake failed: " + handshake->why());
    }
}

void FrontDoor::read_request() {
    request_.emplace();
    request_->header_limit(8 * 1024);
    request_->body_limit(0);
    beast_http::async_read(link_, input_, *request_,
                           [self = shared_from_this()](error_code error, std::size_t) { self->on_request(error); });
}

void FrontDoor::on_request(error_code error) {
    if (finished_) return;
    // Browsers open connections in advance, and close them or not: who has said nothing has made no mistake.
    if (error && !request_->got_some()) return finish("");
    if (error) {
        count(core_.stats.protocol_errors);
        if (tls_ == nullptr && begins_tls(input_)) {
            core_.log_connection(Service::Who::stranger, peer_ + ": begins with TLS, which this server does not speak");
            return answer(Status::bad_request, "text/plain", "This server does not speak TLS: use ws:// or http://.\n");
        }
        const std::string why = "handshake failed: " + error.message();
        if (error.category() != make_error_code(beast_http::error::bad_method).category() ||
            error == beast_http::error::partial_message)
            return finish(why);
        core_.log_connection(Service::Who::stranger, peer_ + ": " + why);
        if (error == beast_http::error::header_limit)
            return answer(Status::request_header_fields_too_large, "text/plain", "More than 8 kB of header.\n");
        if (error == beast_http::error::body_limit)
            return answer(Status::payload_too_large, "text/plain", "Requests have no body here.\n");
        return answer(Status::bad_request, "text/plain", "This is not HTTP as it should be: " + error.message() + ".\n");
    }
    const auto& message = request_->get();
    const auto view = [](boost::beast::string_view text) { return std::string_view(text.data(), text.size()); };
    const AccessRequest request{view(message.target()), view(message[Field::host]), view(message[Field::authorization]),
                                view(message[Field::origin])};
    if (beast::websocket::is_upgrade(message)) upgrade(request);
    else get(request);
}

void FrontDoor::upgrade(const AccessRequest& request) {
    if (const char* fault = fault_in(request_->get())) {
        count(core_.stats.protocol_errors);
        return answer(Status::bad_request, "text/plain", fault);
    }
    if (request_->get()[Field::sec_websocket_version] != "13") {
        count(core_.stats.protocol_errors);
        return answer(Status::upgrade_required, "text/plain", "This server speaks version 13 of WebSocket only.\n");
    }
    if (input_.size() > 0) {
        count(core_.stats.protocol_errors);
        return answer(Status::bad_request, "text/plain", "Wait for the answer to the handshake before you send more.\n");
    }
    if (!token_accepted(core_.options.access, request))
        return refuse(Status::unauthorized, "no valid token",
                      "This robot asks for a token: send \"Authorization: Bearer TOKEN\".\n");
    if (!origin_accepted(core_.options.access, request))
        return refuse(Status::forbidden, "origin " + net::printable(request.origin),
                      "Pages of this origin may not connect to this robot.\n");

    Purpose purpose;
    try {
        purpose = purpose_of(request.target);
    } catch (const UnknownPath& unknown) {
        return refuse(Status::not_found, "no WebSocket at " + net::printable(path_of(request.target)),
                      std::string(unknown.what()) + '\n');
    } catch (const std::invalid_argument& fault) {
        return refuse(Status::bad_request, fault.what(), std::string(fault.what()) + '\n');
    }
    const bool observes = purpose.what == Purpose::What::observe;
    const bool take_over = purpose.take_over;
    if (observes && take_over)
        return refuse(Status::forbidden, "an observer that wants to take over", "An observer takes nothing over.\n");
    std::unique_ptr<robot::ObservationSource::Seat> seat;
    if (observes) {
        seat = core_.robot.source->take_seat();
        if (!seat)
            return refuse(Status::service_unavailable, "all seats for observers are taken",
                          "All " + std::to_string(core_.options.max_observers) +
                              " seats for observers are taken: try again when one has gone.\n");
    }
    if (!observes && core_.robot.hooks.busy())
        return refuse(Status::service_unavailable, "the hooks are busy with former clients",
                      "The robot is still busy with what former clients asked for: try again later.\n");

    finished_ = true;  // the link is the session's, or gone if there is no memory for one
    const auto session = std::make_shared<Session>(std::move(link_), peer_, core_, std::move(seat));
    if (!observes && !session->take_control(take_over && core_.options.allow_takeover)) {
        link_ = session->give_back();
        finished_ = false;
        if (take_over)
            return refuse(Status::forbidden, "takeover is not allowed here",
                          "This robot does not let a client take over from another one.\n");
        return refuse(Status::service_unavailable, "a client is connected already",
                      "Another client controls this robot. One client at a time: try again when it has gone.\n");
    }
    session->start(request_->get());
    core_.leave(this);
}

void FrontDoor::get(const AccessRequest& request) {
    const beast_http::verb method = request_->get().method();
    const std::string_view path = path_of(request.target);
    const bool known = path == "/" || path == "/healthz" || path == "/metrics";
    if (!known || (method != beast_http::verb::get && method != beast_http::verb::head)) {
        count(core_.stats.protocol_errors);
        return known ? answer(Status::method_not_allowed, "text/plain", "GET and HEAD are answered here.\n")
                     : answer(Status::upgrade_required, "text/plain",
                              "This is a Chiral policy server: it speaks WebSocket here, and HTTP at /, /healthz and "
                              "/metrics.\n");
    }
    if (path == "/healthz")
        return core_.stopping() ? answer(Status::service_unavailable, "text/plain", "stopping\n")
                                : answer(Status::ok, "text/plain", "ok\n");
    // Nothing of the robot is in the page itself.
    if (path == "/") return answer(Status::ok, "text/html; charset=utf-8", std::string(http::kLivePage));
    if (!token_accepted(core_.options.access, request))
        return refuse(Status::unauthorized, "no valid token",
                      "This robot asks for a token: send \"Authorization: Bearer TOKEN\".\n");
    if (!host_accepted(core_.options.access, request))
        return refuse(
            Status::forbidden, "figures for host " + net::printable(request.host),
            "Without a token the figures are not shown under a domain, which may be a stranger's: ask at the robot's "
            "address or with its name in .local, set a token, or allow the origin http://" +
                net::printable(request.host) + ".\n");
    if (core_.robot.hooks.many_looks_wait())
        return refuse(Status::service_unavailable, "too many ask for figures",
                      "Too many ask for the figures: try again later.\n");
    // Nothing is read or written until the answer comes, and so no deadline of the link's applies: without one of its own an answer
    // that is lost for want of memory would leave the connection open for ever.
    answer_by_.expires_after(
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(core_.options.handshake_timeout));
    answer_by_.async_wait([self = shared_from_this()](error_code error) {
        if (error || self->finished_ || self->answer_) return;
        constexpr const char* why = "no figures in time";
        try {
            self->refuse(Status::service_unavailable, why, "There are no figures in time: try again later.\n");
        } catch (const std::bad_alloc&) {
            self->finish(why);
        }
    });
    link_.tcp().expires_after(2 * core_.options.handshake_timeout);  // for what is written then
    // The sources are looked at on the observers' thread: that may take as long as a look at every pixel.
    robot::ReportSources job;
    job.deliver = [self = shared_from_this()](const std::vector<robot::SourceReport>& sources) {
        robot::Robot& robot = self->core_.robot;
        std::string text =
            http::metrics_text(robot.stats, sources, robot.source->copies(), robot.control.holder(), robot.hooks.pictures());
        boost::asio::post(self->core_.io, [self, text = std::move(text)]() mutable {
            if (!self->finished_ && !self->answer_)
                self->answer(Status::ok, "text/plain; version=0.0.4; charset=utf-8", std::move(text));
        });
    };
    core_.robot.hooks.push(robot::ObserverJob(std::move(job)));
}

void FrontDoor::refuse(Status status, const std::string& why, const std::string& text) {
    count(core_.stats.refused);
    core_.log_connection(Service::Who::stranger, "refused " + peer_ + ": " + why);
    answer(status, "text/plain", text);
}

void FrontDoor::answer(Status status, std::string_view content_type, std::string text) {
    answer_by_.cancel();
    answer_.emplace(status, 11);
    answer_->set(Field::server, "chiral");
    answer_->set(Field::content_type, {content_type.data(), content_type.size()});
    answer_->set(Field::cache_control, "no-store");
    answer_->set("X-Content-Type-Options", "nosniff");
    if (status == Status::unauthorized) answer_->set(Field::www_authenticate, "Bearer");
    if (status == Status::method_not_allowed) answer_->set(Field::allow, "GET, HEAD");
    answer_->keep_alive(false);
    if (status == Status::upgrade_required) {  // to what: RFC 7231, 6.5.15; RFC 7230, 6.7; RFC 6455, 4.4
        answer_->set(Field::upgrade, "websocket");
        answer_->set(Field::connection, "close, upgrade");
        answer_->set(Field::sec_websocket_version, "13");
    }
    answer_->body() = std::move(text);
    answer_->prepare_payload();
    if (request_->get().method() == beast_http::verb::head) answer_->body().clear();
    beast_http::async_write(link_, *answer_, [self = shared_from_this()](error_code, std::size_t) {
        // The peer may have gone; nothing more is said to it.
        self->link_.async_hang_up([self] { self->finish(""); });
    });
}

void FrontDoor::answer_plain_http() {
    core_.log_connection(Service::Who::stranger, peer_ + ": speaks no TLS, which this server asks for");
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
    answer_by_.cancel();
    if (const auto handshake = handshake_.lock()) handshake->cancel();
    error_code ignored;  // closing a socket that is broken already is not an event
    link_.socket().close(ignored);
    const auto self = shared_from_this();
    core_.leave(this);
    try {
        if (!why.empty()) core_.log_connection(Service::Who::stranger, peer_ + ": " + why);
    } catch (const std::bad_alloc&) {  // no memory for words: it has left all the same
    }
}

}  // namespace chiral::websocket
