// SPDX-License-Identifier: Apache-2.0
#include "websocket/session.hpp"

#include "net/printable.hpp"
#include "net/tcp_health.hpp"

#include <boost/beast/websocket/rfc6455.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <utility>

namespace chiral::websocket {

namespace beast = boost::beast;
namespace http = beast::http;
namespace beast_ws = beast::websocket;
using beast::error_code;
using robot::Cause;
using robot::count;

namespace {

// Five looks in the shortest limit, and as often as the age of actions asks for.
Duration health_beat(const ServerOptions& options) { return options.heartbeat_timeout / 5; }
Duration beat_of(const ServerOptions& options) { return robot::turn_for(options.max_action_delay, health_beat(options)); }

// What a ping, a pong or a close may have to wait for: a third of a second on a link of 3 MB/s, beside what the kernel holds.
constexpr std::size_t kFragment = std::size_t{1} << 20;

// A large message is seldom followed by another one: its memory goes back.
constexpr std::size_t kMostKept = 64 * 1024;

}  // namespace

Session::Session(net::Link link, std::string peer, Service& service, std::unique_ptr<robot::ObservationSource::Seat> seat)
    : service_(service),
      stream_(std::move(link)),
      peer_(std::move(peer)),
      beat_(beat_of(service.options)),
      liveness_({service.options.heartbeat_timeout, service.options.deaf_timeout, service.options.idle_timeout,
                 health_beat(service.options)},
                Clock::now()),
      arrivals_(2 * beat_, Clock::now()),
      control_frames_(std::chrono::duration_cast<Duration>(std::chrono::seconds(1)) /
                          static_cast<std::int64_t>(service.options.max_messages_per_second),
                      std::chrono::seconds(1)),
      close_deadline_(service.io.get_executor()),
      heartbeat_(service.io.get_executor()),
      wake_(service.io.get_executor()),
      conversation_(service.robot, *this, std::move(seat)) {}

// ---- handshake ----

void Session::start(const Upgrade& request) {
    service_.enter(self());
    net::Link& link = stream_.next_layer();
    link.tcp().expires_never();
    if (conversation_.observes()) {
        // What is copied into the kernel at a time bounds for how long an observer keeps the network thread from the client
        // in control.
        error_code ignored;  // without it observers are merely less polite
        link.socket().set_option(boost::asio::socket_base::send_buffer_size(256 * 1024), ignored);
    }
    // of its handshakes. What comes after is watched by the heartbeat: Beast would not ping behind an answer.
    stream_.set_option(
        beast_ws::stream_base::timeout{service_.options.handshake_timeout, beast_ws::stream_base::none(), false});
    stream_.set_option(beast_ws::stream_base::decorator(
        [](beast_ws::response_type& response) { response.set(http::field::server, "chiral"); }));
    stream_.control_callback([this](beast_ws::frame_type kind, beast::string_view payload) {
        if (kind != beast_ws::frame_type::close) on_control_frame(payload.size());
    });
    stream_.read_message_max(service_.options.max_message_bytes);
    // Fragments are of our own making: with no mask and no compression, buffers then go to the socket as they are.
    stream_.auto_fragment(false);
    stream_.binary(true);
    stream_.async_accept(request, [self = self()](error_code error) { self->on_accept(error); });
}

void Session::on_accept(error_code error) {
    if (phase_ != Phase::handshake) return;
    if (error) {
        count(service_.stats.protocol_errors);
        return finish(Cause::handshake_failed, "handshake failed: " + error.message());
    }
    phase_ = Phase::open;
    present_.emplace(service_.stats, conversation_.observes());
    service_.log_connection(Service::Who::let_in, who() + " connected");
    conversation_.begin(peer_, Clock::now());
    if (service_.stopping()) return shut_down();
    beat();
    read();
}

// ---- is it still there? ----

void Session::beat() {
    if (phase_ != Phase::open) return;
    heartbeat_.expires_after(beat_);
    heartbeat_.async_wait(net::PooledHandler(memory_.beat, [self = self()](error_code error) {
        if (!error) self->on_beat();
    }));
}

void Session::on_beat() {
    if (phase_ != Phase::open) return;
    const TimePoint now = Clock::now();
    const auto health = net::tcp_health(stream_.next_layer().socket().native_handle());
    if (reading_) arrivals_.turn(now, [this] { return counted(); });
    if (const auto verdict =
            liveness_.look(now, {health, writing_, reading_, input_.size() > 0, conversation_.answered()})) {
        if (verdict->cause == Cause::dead) {
            count(service_.stats.half_open);
            robot::keep_longest(service_.stats.longest_half_open_ns, verdict->unacknowledged);
        }
        return close(verdict->cause, verdict->reason);
    }
    if (health && !conversation_.observes())
        service_.stats.round_trip_us.store(health->round_trip.count(), std::memory_order_relaxed);
    if (!pinging_ && !writing_) ping();  // something to acknowledge, also while nothing else is sent
    beat();
}

void Session::ping() {
    pinging_ = true;
    stream_.async_ping({}, net::PooledHandler(memory_.ping, [self = self()](error_code error) {
                           self->pinging_ = false;
                           // A read that fails says more about it; but it may be that nothing is read.
                           if (error && !self->reading_ && self->phase_ == Phase::open)
                               self->finish(Cause::broken, self->why_ended(error));
                       }));
}

// In the middle of a read, which cannot pause: who sends too many is no client that would be worth it.
void Session::on_control_frame(std::size_t bytes) {
    constexpr std::size_t around = 6, around_in_tls = 96;  // the frame's header; and a record's, its padding and its code
    liveness_.control_frame(bytes + around + (stream_.next_layer().tls() ? around_in_tls : 0));
    const TimePoint now = Clock::now();
    control_frames_.spend(now);
    if (flooding_ || control_frames_.allows(now)) return;
    flooding_ = true;
    boost::asio::post(service_.io, [self = self()] {
        self->close(Cause::flood, "got more than " + std::to_string(self->service_.options.max_messages_per_second) +
                                      " pings and pongs in a second");
    });
}

// ---- reading ----

void Session::read() {
    if (phase_ != Phase::open || reading_ || !conversation_.wants_message(Clock::now())) return;
    reading_ = true;
    stream_.async_read(
        input_, net::PooledHandler(memory_.read, [self = self()](error_code error, std::size_t) { self->on_read(error); }));
}

void Session::on_read(error_code error) {
    reading_ = false;
    if (phase_ == Phase::finished) return;
    if (error) {
        // Beast has told the peer already: 1002 for a broken frame, 1007 for bad UTF-8, 1009 for one that is too big.
        const bool in_words = error.category() == make_error_code(beast_ws::error::closed).category();
        const Cause cause = error == beast_ws::error::closed ? Cause::left
                            : in_words                       ? Cause::broke_protocol
                                                             : Cause::broken;
        return finish(cause, why_ended(error), in_words);
    }
    if (phase_ != Phase::open) return;
    liveness_.message_read();
    const TimePoint now = Clock::now();
    if (stream_.got_binary()) {
        const auto message = input_.cdata();
        conversation_.message({static_cast<const std::uint8_t*>(message.data()), message.size()}, arrival(now), now);
    } else {
        close(Cause::text_message, "got a text message, expected binary ones");
    }
    input_.clear();
    if (input_.capacity() > kMostKept) input_.shrink_to_fit();
    read();
}

TimePoint Session::arrival(TimePoint now) {
    const auto count = [this] { return counted(); };
    arrivals_.turn(now, count);
    return arrivals_.arrival(now, count);
}

std::optional<robot::ArrivalClock::Bytes> Session::counted() {
    net::Link::Socket& socket = stream_.next_layer().socket();
    error_code before, after;
    // In this order: what comes in between was not waiting before, and is after.
    const std::size_t waiting_before = socket.available(before);
    const auto health = net::tcp_health(socket.native_handle());
    const std::size_t waiting_after = socket.available(after);
    if (!health || before || after) return std::nullopt;
    const auto taken = [&](std::uint64_t waiting) {
        return health->received_bytes - std::min(waiting, health->received_bytes);
    };
    return robot::ArrivalClock::Bytes{health->received_bytes, taken(waiting_after), taken(waiting_before)};
}

void Session::wake_at(TimePoint time) {
    wake_.expires_at(time);
    wake_.async_wait(net::PooledHandler(memory_.wake, [self = self()](error_code error) {
        if (!error) self->conversation_.wake(Clock::now());
    }));
}

void Session::notify(robot::Notice notice) noexcept {
    boost::asio::post(service_.io.get_executor(),
                      net::PooledHandler(memory_.notice[static_cast<std::size_t>(notice)],
                                         [self = self(), notice] { self->conversation_.notice(notice, Clock::now()); }));
}

// ---- writing ----

void Session::gather(const robot::Reply& reply) {
    gather_.clear();
    encoder_.encode(reply);
    gather_.emplace_back(encoder_.head().data(), encoder_.head().size());
    for (const wire::Bytes& piece : encoder_.payload()) gather_.emplace_back(piece.data(), piece.size());
}

void Session::send(robot::Reply& reply) {
    try {
        gather(reply);
    } catch (const std::invalid_argument& error) {
        return conversation_.unsendable(error.what());
    }
    writing_ = true;
    unsent_.begin(net::BufferRange(gather_));
    write_fragment();
}

// Beast sends what else is waiting to be sent between two of them.
void Session::write_fragment() {
    const bool last = unsent_.left() <= kFragment;
    const net::BufferRange fragment = unsent_.front(kFragment);
    stream_.next_layer().expect(fragment);
    stream_.async_write_some(last, fragment,
                             net::PooledHandler(memory_.write, [self = self()](error_code error, std::size_t bytes) {
                                 self->on_write(error, bytes);
                             }));
}

void Session::on_write(error_code error, std::size_t bytes) {
    stream_.next_layer().expect({});
    unsent_.sent(bytes);
    const bool whole = unsent_.left() == 0;
    if (!error && !whole && phase_ == Phase::open) return write_fragment();
    writing_ = false;
    if (!error && whole && phase_ != Phase::finished)
        return conversation_.sent(boost::asio::buffer_size(gather_), Clock::now());
    conversation_.let_go();  // of an answer that was cut short, too: who is told goodbye needs no more of it
    if (error && phase_ == Phase::open) finish(Cause::broken, why_ended(error));
}

// ---- ending ----

void Session::close(Cause cause, const std::string& reason) {
    if (phase_ == Phase::handshake && cause == Cause::stopping) return;  // on_accept() says so, in words
    if (phase_ == Phase::handshake || (phase_ == Phase::open && robot::ending_of(cause).close_code == 0))
        return finish(cause, reason);
    if (phase_ != Phase::open) return;
    phase_ = Phase::closing;
    const std::string text = net::printable(reason);
    conversation_.over(cause, text, Clock::now());  // before the log, as in finish()
    service_.log_connection(Service::Who::let_in, "closing " + who() + ": " + text);
    // Of our own: a close that waits behind a write to a peer that does not read has no other deadline.
    close_deadline_.expires_after(
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(service_.options.handshake_timeout));
    close_deadline_.async_wait([self = self()](error_code error) {
        if (!error) self->finish(Cause::dropped, "did not close in time");
    });
    stream_.async_close(
        beast_ws::close_reason(static_cast<beast_ws::close_code>(robot::ending_of(cause).close_code), text.c_str()),
        [self = self()](error_code) { self->finish(Cause::dropped, "closed by the server"); });
}

void Session::shut_down() {
    if (phase_ == Phase::finished) return hang_up();
    if (phase_ == Phase::open) close(Cause::stopping, "the server is stopping");  // else on_accept() does
}

void Session::abort() {
    try {
        finish(Cause::dropped, "dropped");
    } catch (const std::exception&) {  // no memory for words: the lease has ended before anything could fail
    }
    hang_up();
}

void Session::finish(Cause cause, const std::string& why, bool in_words) {
    if (phase_ == Phase::finished) return;
    const bool was_connected = phase_ != Phase::handshake;
    phase_ = Phase::finished;
    for (net::Link::Timer* timer : {&close_deadline_, &wake_, &heartbeat_}) timer->cancel();
    conversation_.over(cause, why, Clock::now());  // first: who reads the log may rely on it
    if (!conversation_.observes()) service_.stats.round_trip_us.store(0, std::memory_order_relaxed);
    present_.reset();
    if (was_connected) {
        service_.log_connection(Service::Who::let_in, who() + " gone: " + why);
    } else if (!why.empty()) {
        service_.log_connection(Service::Who::stranger, peer_ + ": " + why);
    }
    if (!in_words || writing_) return hang_up();
    stream_.next_layer().tcp().expires_after(service_.options.handshake_timeout);
    stream_.next_layer().async_hang_up([self = self()] { self->hang_up(); });
}

void Session::hang_up() {
    error_code ignored;  // closing a socket that is broken already is not an event
    stream_.next_layer().socket().close(ignored);
    service_.leave(this);
}

std::string Session::who() const { return (conversation_.observes() ? "observer " : "client ") + peer_; }

std::string Session::why_ended(error_code error) const {
    if (error != beast_ws::error::closed) return error.message();
    const beast_ws::close_reason& reason = stream_.reason();
    std::string text = "closed by the client (" + std::to_string(reason.code) + ")";
    if (!reason.reason.empty()) text += ": " + net::printable({reason.reason.data(), reason.reason.size()});
    return text;
}

}  // namespace chiral::websocket
