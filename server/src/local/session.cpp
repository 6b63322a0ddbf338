// SPDX-License-Identifier: Apache-2.0
#include "local/session.hpp"

#include "local/service.hpp"
#include "net/direct_protocol.hpp"
#include "net/printable.hpp"

#include <asio/post.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace chiral::local {

using net::PacketKind;
using net::PacketOutcome;
using robot::Cause;
using robot::count;

namespace {

constexpr std::uint16_t kProtocolError = 1002;

std::chrono::steady_clock::duration from_now(Duration duration) {
    return std::chrono::duration_cast<std::chrono::steady_clock::duration>(duration);
}

}  // namespace

Session::Session(net::Descriptor socket, std::string peer, Service& service)
    : service_(service),
      peer_(std::move(peer)),
      socket_(service.io, socket.get()),
      process_(service.io),
      deadline_(service.io),
      stalled_(service.io),
      wake_(service.io),
      packets_(std::chrono::duration_cast<Duration>(std::chrono::seconds(1)) /
                   static_cast<std::int64_t>(4 * service.robot.options.max_messages_per_second),
               std::chrono::seconds(1)),
      answer_(service.arena.bytes()) {
    socket.release();
    net::note_arrivals(socket_.native_handle());  // without it packets count as having come when they are read
}

void Session::start() {
    expect_end(service_.robot.options.handshake_timeout);
    watch();
}

// ---- what comes ----

void Session::watch() {
    if (phase_ == Phase::finished || std::exchange(watching_, true)) return;
    socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                       net::PooledHandler(memory_.read, [self = self()](asio::error_code error) {
                           self->watching_ = false;
                           if (!error) self->read();
                       }));
}

// A client that is not read because it has asked for too much, or too fast, is still missed when it goes.
void Session::watch_for_hang_up() {
    socket_.async_wait(asio::posix::stream_descriptor::wait_error,
                       net::PooledHandler(memory_.hang_up, [self = self()](asio::error_code error) {
                           if (error) return;
                           self->hung_up_ = true;
                           if (self->phase_ == Phase::open && !self->watching_) self->finish(Cause::broken, "hung up");
                       }));
}

// A child that the client forked has its socket, too, and so would keep what a dead client holds.
void Session::watch_process() {
    net::Descriptor process = net::peer_process(socket_.native_handle());
    if (!process) return;  // a kernel before 6.5: then only the socket tells
    process_.assign(process.release());
    process_.async_wait(asio::posix::stream_descriptor::wait_read,
                        net::PooledHandler(memory_.process, [self = self()](asio::error_code error) {
                            if (!error) self->finish(Cause::broken, "its process has ended");
                        }));
}

void Session::read_on() {
    if (!reading_) read();
}

void Session::read() {
    constexpr int at_once = 16;  // then the others have their turn
    reading_ = true;
    bool more = true;
    for (int i = 0; more && i < at_once; ++i) {
        // Who has been offered a page sends no message before it has mapped it, and waits until it is heard.
        const bool offered = seat_ && seat_->offered();
        if (phase_ == Phase::open && !offered && !conversation_->wants_message(Clock::now())) {
            reading_ = false;
            if (hung_up_) finish(Cause::broken, "hung up");
            return;  // read_on() follows
        }
        more = take_packet();
    }
    reading_ = false;
    watch();
}

// False if there is nothing more to read now.
bool Session::take_packet() {
    switch (reader_.read(socket_.native_handle())) {
        case PacketOutcome::done: break;
        case PacketOutcome::would_wait: return false;
        case PacketOutcome::ended: return finish(Cause::broken, "hung up"), false;
        case PacketOutcome::broken: return finish(Cause::broken, std::strerror(errno)), false;
    }
    if (phase_ == Phase::finished) return false;
    const TimePoint now = Clock::now();
    packets_.spend(now);
    const PacketKind kind = reader_.kind();
    if (phase_ == Phase::closing) {  // what it still holds may come back; the rest is too late
        if (kind == PacketKind::close) finish(Cause::dropped, "closed by the server");
        return phase_ != Phase::finished;
    }
    if (reader_.brought_descriptor()) return violation("a descriptor came, which nobody wants"), false;
    if (!packets_.allows(now)) return close(Cause::flood, "got too many packets in a second"), false;
    if (phase_ == Phase::hello) {
        if (kind == PacketKind::hello) on_hello();
        else violation("the first packet is no hello");
        return phase_ == Phase::open;
    }
    switch (kind) {
        case PacketKind::part:
        case PacketKind::message:
            if (seat_ && seat_->offered()) return violation("a message came before the page was mapped"), false;
            on_message(reader_.body(), now);
            break;
        case PacketKind::release: give_back(reader_.body()); break;
        case PacketKind::bell: wish_for_bell(reader_.body()); break;
        case PacketKind::direct: admit(); break;
        case PacketKind::close: finish(Cause::left, "closed by the client"); break;
        default: violation("a packet of an unknown kind came");
    }
    return phase_ != Phase::finished;
}

void Session::on_hello() {
    const std::string_view lines = reader_.text();
    const auto version = net::number_field(lines, "version");
    if (version != net::kLocalVersion) {
        count(service_.robot.stats.protocol_errors);
        return refuse("this server speaks version " + std::to_string(net::kLocalVersion) +
                      " of the local transport, the client version " + (version ? std::to_string(*version) : "unknown"));
    }
    const std::string_view wants = net::text_field(lines, "wants").value_or("nothing");
    const bool observes = wants == "observe", take_over = wants == "takeover";
    if (!observes && !take_over && wants != "control") {
        count(service_.robot.stats.protocol_errors);
        return refuse("the client wants '" + net::printable(wants, 40) + "', expected control, takeover or observe");
    }
    std::unique_ptr<robot::ObservationSource::Seat> seat;
    if (observes && !(seat = service_.robot.source->take_local_seat()))
        return refuse("all " + std::to_string(service_.robot.options.access.local.max_observers) +
                      " seats for local observers are taken");
    if (!observes && service_.robot.hooks.busy()) return refuse("the hooks are busy with former clients");
    conversation_.emplace(service_.robot, *this, std::move(seat));
    if (!observes && !conversation_->take_control(take_over && service_.robot.options.allow_takeover)) {
        conversation_.reset();
        return refuse(take_over && !service_.robot.options.allow_takeover ? "takeover is not allowed here"
                                                                          : "a client is connected already");
    }
    welcome(net::number_field(lines, "direct") == 1);
}

void Session::welcome(bool direct) {
    int page = -1;
    std::vector<std::uint8_t> layout;
    if (direct) {
        seat_.emplace(service_.seats);
        try {
            page = seat_->take(layout);
        } catch (const std::system_error& error) {  // then it goes on asking
            service_.log_connection(peer_ + ": no page to read by itself: " + error.what());
        }
    }
    net::Welcome welcome;
    welcome.direct = page >= 0;
    welcome.instance = service_.arena.instance();
    welcome.bytes = service_.arena.bytes().size();
    welcome.bytes_in_use = service_.robot.source->engine().arena().bytes;
    if (net::send_packet(socket_.native_handle(), PacketKind::welcome, welcome.text(), service_.arena.descriptor()) !=
            PacketOutcome::done ||
        (page >= 0 && net::send_packet(socket_.native_handle(), PacketKind::direct, layout, page) != PacketOutcome::done))
        return finish(Cause::broken, "hung up during the handshake");
    phase_ = Phase::open;
    deadline_.cancel();
    present_.emplace(service_.robot.stats, conversation_->observes());
    service_.log_connection(who() + " connected");
    watch_for_hang_up();
    watch_process();
    conversation_->begin("local " + peer_, Clock::now());
}

// It has mapped its page.
void Session::admit() {
    if (!seat_ || !seat_->offered()) return violation("the client has mapped a page that it was not given");
    const std::uint64_t occupant = seat_->admit();
    if (occupant == 0) service_.log_connection(who() + ": its page to read by itself could not be sealed");
    if (net::send_packet(socket_.native_handle(), PacketKind::direct, net::occupant(occupant)) == PacketOutcome::would_wait)
        finish(Cause::deaf, "it takes nothing of an answer");
}

void Session::on_message(net::PacketBytes rest, TimePoint now) {
    const std::size_t most = service_.robot.options.max_message_bytes;
    if (rest.size() > most || parts_.size() > most - rest.size())
        return violation("a message of more than the " + std::to_string(most) + " bytes accepted came");
    if (reader_.kind() == PacketKind::part && rest.empty()) return violation("an empty part of a message came");
    if (parts_.empty()) parts_since_ = now - reader_.waited();
    if (reader_.kind() == PacketKind::part) {
        parts_.insert(parts_.end(), rest.begin(), rest.end());
        deadline_.expires_after(from_now(service_.robot.options.deaf_timeout));
        deadline_.async_wait([self = self()](asio::error_code error) {
            if (!error && self->phase_ == Phase::open) self->close(Cause::unfinished, "a message was not ended");
        });
        return;
    }
    if (parts_.empty()) return conversation_->message(rest, parts_since_, now);
    deadline_.cancel();
    parts_.insert(parts_.end(), rest.begin(), rest.end());
    conversation_->message(parts_, parts_since_, now);
    parts_ = {};  // seldom: large messages are not the rule
}

// ---- what is lent ----

std::optional<std::uint32_t> Session::free_loan() const noexcept {
    for (std::uint32_t i = 0; i < loans_.size(); ++i)
        if (!loans_[i]) return i;
    return std::nullopt;
}

void Session::give_back(net::PacketBytes which) {
    const std::uint32_t number = which.size() == 1 ? which.front() : 0;
    if (number < 1 || number > loans_.size() || !loans_[number - 1])
        return violation("the client gives back what it does not hold");
    service_.robot.source->recycle(std::move(*loans_[number - 1]));
    loans_[number - 1].reset();
}

void Session::wish_for_bell(net::PacketBytes body) {
    const std::optional<net::BellWish> wish = net::read_bell_wish(body);
    if (!wish) return violation("a wish for a newer image came without its numbers");
    const std::vector<CameraConfig>& cameras = service_.robot.source->engine().cameras();
    const auto camera =
        std::find_if(cameras.begin(), cameras.end(), [&](const CameraConfig& c) { return c.name == wish->camera; });
    const Bell::Way way{socket_.native_handle(), seat_ ? seat_->bell() : nullptr};
    if (camera != cameras.end()) {
        try {
            return service_.bell.ring(this, way, static_cast<std::size_t>(camera - cameras.begin()), wish->after,
                                      wish->number);
        } catch (const std::system_error&) {  // this client's loss, and nobody else's
            return finish(Cause::dropped, "there is no thread to watch that camera for it");
        }
    }
    service_.bell.forget(this);  // an earlier wish: one thread at a time rings in a page
    if (!Bell::tell(way, {net::kNoSuchCamera, wish->number})) finish(Cause::deaf, "it takes nothing of an answer");
}

// ---- what is answered ----

void Session::send(robot::Reply& reply) {
    try {
        answer_.begin(reply, free_loan());
    } catch (const std::invalid_argument& error) {
        return conversation_->unsendable(error.what());
    } catch (const std::logic_error& error) {
        conversation_->let_go();
        return violation(error.what());
    }
    writing_ = true;
    write();
}

void Session::write() {
    if (!writing_) return;
    switch (answer_.write(socket_.native_handle())) {
        case PacketOutcome::done: return on_written();
        case PacketOutcome::would_wait: break;
        default: return finish(Cause::broken, std::strerror(errno));
    }
    socket_.async_wait(asio::posix::stream_descriptor::wait_write,
                       net::PooledHandler(memory_.write, [self = self()](asio::error_code error) {
                           if (!error) self->write();
                       }));
    stalled_.expires_after(from_now(service_.robot.options.deaf_timeout));
    stalled_.async_wait(net::PooledHandler(memory_.stalled, [self = self()](asio::error_code error) {
        if (!error && self->writing_) self->close(Cause::deaf, "it takes nothing of an answer");
    }));
}

void Session::on_written() {
    writing_ = false;
    stalled_.cancel();
    if (answer_.loan()) loans_[*answer_.loan()].emplace(std::move(answer_.observation()));
    conversation_->sent(answer_.bytes(), Clock::now());
}

void Session::wake_at(TimePoint time) {
    wake_.expires_at(time);
    wake_.async_wait(net::PooledHandler(memory_.wake, [self = self()](asio::error_code error) {
        if (!error) self->conversation_->wake(Clock::now());
    }));
}

void Session::notify(robot::Notice notice) noexcept {
    asio::post(service_.io.get_executor(),
               net::PooledHandler(memory_.notice[static_cast<std::size_t>(notice)],
                                  [self = self(), notice] { self->conversation_->notice(notice, Clock::now()); }));
}

// ---- the end ----

void Session::expect_end(Duration within) {
    deadline_.expires_after(from_now(within));
    deadline_.async_wait([self = self()](asio::error_code error) {
        if (!error) self->finish(Cause::dropped, self->phase_ == Phase::hello ? "said no hello" : "did not close in time");
    });
}

void Session::refuse(const std::string& why) {
    count(service_.robot.stats.refused);
    service_.log_connection("refused " + peer_ + ": " + why);
    net::send_packet(socket_.native_handle(), PacketKind::refusal, why);  // nobody owes it an answer
    finish(Cause::handshake_failed, "");
}

// As far as there is room: who does not read is not told.
void Session::say_goodbye(std::uint16_t code, const std::string& reason) noexcept {
    try {
        net::send_packet(socket_.native_handle(), PacketKind::close,
                         "code=" + std::to_string(code) + "\nreason=" + reason + '\n');
    } catch (const std::exception&) {  // no memory for words
    }
}

void Session::violation(const std::string& reason) {
    say_goodbye(kProtocolError, reason);
    finish(Cause::broke_protocol, reason);
}

void Session::close(Cause cause, const std::string& reason) {
    const std::uint16_t code = robot::ending_of(cause).close_code;
    if (phase_ == Phase::hello || (phase_ == Phase::open && code == 0)) return finish(cause, reason);
    if (phase_ != Phase::open) return;
    phase_ = Phase::closing;
    const std::string text = net::printable(reason);
    conversation_->over(cause, text, Clock::now());  // before the log, as in finish()
    if (std::exchange(writing_, false)) conversation_->let_go();
    service_.log_connection("closing " + who() + ": " + text);
    say_goodbye(code, text);
    // What it holds stays as it is until it has closed, too, but not for longer than this.
    expect_end(service_.robot.options.handshake_timeout);
    watch();
}

void Session::shut_down() {
    if (phase_ == Phase::hello) finish(Cause::dropped, "the server is stopping");
    else close(Cause::stopping, "the server is stopping");
}

void Session::abort() {
    try {
        finish(Cause::dropped, "dropped");
    } catch (const std::exception&) {  // no memory for words: the lease has ended, and all is given back, before that
    }
}

void Session::finish(Cause cause, const std::string& why) {
    if (phase_ == Phase::finished) return;
    const bool was_connected = phase_ != Phase::hello;
    phase_ = Phase::finished;
    const auto self = shared_from_this();
    for (asio::steady_timer* timer : {&deadline_, &stalled_, &wake_}) timer->cancel();
    try {
        if (conversation_) conversation_->over(cause, why, Clock::now());  // first: who reads the log may rely on it
    } catch (const std::exception&) {
        let_go();
        throw;
    }
    let_go();
    if (was_connected) service_.log_connection(who() + " gone: " + why);
    else if (!why.empty()) service_.log_connection(peer_ + ": " + why);
}

// Of all that it holds.
void Session::let_go() noexcept {
    if (std::exchange(writing_, false) && conversation_) conversation_->let_go();
    for (std::optional<Observation>& loan : loans_)
        if (loan) {
            service_.robot.source->recycle(std::move(*loan));
            loan.reset();
        }
    service_.bell.forget(this);  // before its page is gone, and its socket another's
    seat_.reset();
    asio::error_code ignored;  // closing a socket that is broken already is not an event
    socket_.close(ignored);
    process_.close(ignored);
    present_.reset();
    service_.leave(this);
}

std::string Session::who() const { return (conversation_->observes() ? "local observer, " : "local client, ") + peer_; }

}  // namespace chiral::local
