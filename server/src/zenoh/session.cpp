// SPDX-License-Identifier: Apache-2.0
#include "zenoh/session.hpp"

#include "net/printable.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <memory>
#include <stdexcept>
#include <utility>

namespace chiral::zenoh {

using boost::system::error_code;
using robot::Cause;
using robot::count;

Session::Session(Service& service, std::string client, std::shared_ptr<Inbox> inbox,
                 std::unique_ptr<robot::ObservationSource::Seat> seat)
    : service_(service),
      client_(std::move(client)),
      inbox_(std::move(inbox)),
      heard_at_(Clock::now()),
      wake_(service.io.get_executor()),
      deadline_(service.io.get_executor()),
      silence_(service.io.get_executor()),
      conversation_(service.robot, *this, std::move(seat)) {}

void Session::start(net::ZenohPublisher publisher) {
    sender_ = &service_.sender(std::move(publisher));
    phase_ = Phase::open;
    present_.emplace(service_.stats, conversation_.observes());
    service_.log(who() + " connected");
    conversation_.begin(peer(), Clock::now());
    if (documented()) watch_silence();
}

// Whoever is not told, because it takes nothing of what was said before, will ask again.
void Session::welcome() {
    if (!sender_->is_behind()) say(net::ZenohNote::Kind::welcome, 0, "");
}

void Session::say(net::ZenohNote::Kind kind, std::uint16_t code, const std::string& text) {
    if (documented()) return;  // it knows no words for it
    const auto words = std::make_shared<std::string>(text);
    Sender::Message message;
    message.pieces.push_back({reinterpret_cast<const std::uint8_t*>(words->data()), words->size()});
    message.note = net::ZenohNote{kind, code, 0, 0}.encoded();
    message.keeps = words;
    sender_->send(std::move(message));
}

// ---- reading ----

void Session::read() {
    while (phase_ == Phase::open && conversation_.wants_message(Clock::now())) {
        std::optional<Inbox::Message> message = inbox_->take();
        if (!message) break;
        heard_at_ = Clock::now();
        if (message->note.kind == net::ZenohNote::Kind::end) return finish(Cause::left, "closed by the client");
        const std::size_t asked = conversation_.asked();
        asked_.push_back(message->note.number);  // before: it may be answered at once
        conversation_.message(message->bytes, message->arrived, Clock::now());
        if (conversation_.asked() == asked && !asked_.empty()) asked_.pop_back();  // it was an action
        inbox_->give_back(std::move(*message));
    }
    if (phase_ == Phase::open && inbox_->overrun())
        close(Cause::flood, "more than " + std::to_string(Inbox::kMostMessages) + " messages, or " +
                                std::to_string(service_.options.max_message_bytes) + " bytes of them, wait to be read");
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

std::vector<chiral_zenoh_bytes> Session::gather(const robot::Reply& reply) {
    encoder_.encode(reply);
    std::vector<chiral_zenoh_bytes> pieces{{encoder_.head().data(), encoder_.head().size()}};
    for (const wire::Bytes& piece : encoder_.payload()) pieces.push_back({piece.data(), piece.size()});
    return pieces;
}

// Written is what Zenoh has taken and let go of, on whichever thread that was.
std::shared_ptr<void> Session::until_written() {
    write_failed_.clear();
    struct Written {
        Service::Lent lent;  // first: what goes last keeps the service
        std::shared_ptr<Session> of;
        void operator()(void*) const {
            boost::asio::post(of->service_.io.get_executor(),
                              net::PooledHandler(of->memory_.written, [self = of] { self->on_written(); }));
        }
    };
    return {static_cast<void*>(this), Written{service_.lend(), self()}};
}

void Session::send(robot::Reply& reply) {
    Sender::Message message;
    try {
        message.pieces = gather(reply);
    } catch (const std::invalid_argument& error) {
        return conversation_.unsendable(error.what());
    }
    const std::uint64_t number = asked_.front();
    asked_.pop_front();
    const auto sent_at = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
    message.note = net::ZenohNote{net::ZenohNote::Kind::message, 0, number, sent_at}.encoded();
    for (const chiral_zenoh_bytes& piece : message.pieces) written_bytes_ += piece.size;
    message.failed = &write_failed_;
    message.keeps = until_written();
    writing_ = true;
    watch_write();
    sender_->send(std::move(message));
}

void Session::watch_write() {
    deadline_.expires_after(service_.zenoh.stalled_timeout);
    deadline_.async_wait([self = self()](error_code error) {
        if (!error && self->writing_) self->finish(Cause::deaf, "took nothing of an answer for too long");
    });
}

void Session::on_written() {
    writing_ = false;
    deadline_.cancel();
    const std::size_t bytes = std::exchange(written_bytes_, 0);
    if (phase_ != Phase::finished && write_failed_.empty()) return conversation_.sent(bytes, Clock::now());
    conversation_.let_go();
    if (phase_ != Phase::finished) finish(Cause::broken, write_failed_);
}

// ---- ending ----

void Session::watch_silence() {
    watched_at_ = Clock::now();
    silence_.expires_after(service_.zenoh.silence / 4);
    silence_.async_wait([self = self()](error_code error) {
        if (error || self->phase_ != Phase::open) return;
        const bool answering = !self->asked_.empty() || self->writing_;
        if (answering)
            self->heard_at_ = std::max(self->heard_at_, Clock::now());  // it waits: it cannot be blamed for silence
        // Nor for what was not read because this process stood still.
        const TimePoint now = Clock::now();
        const Duration gap = now - self->watched_at_;
        if (gap > self->service_.zenoh.silence / 2) self->heard_at_ = std::min(self->heard_at_ + gap, now);
        if (now - self->heard_at_ > self->service_.zenoh.silence)
            return self->finish(Cause::idle, "said nothing for too long");
        self->watch_silence();
    });
}

void Session::finish(Cause cause, const std::string& why) {
    if (phase_ == Phase::finished) return;
    const bool was_open = phase_ == Phase::open;
    const bool went =
        (cause == Cause::left || cause == Cause::broken || cause == Cause::idle) && conversation_.in_control(Clock::now());
    const std::string text = net::printable(why);  // nothing has changed yet: abort() comes without memory
    phase_ = Phase::finished;
    for (Service::Timer* timer : {&wake_, &deadline_, &silence_}) timer->cancel();
    const EndingSender sender(was_open ? sender_ : nullptr);  // whatever fails below
    conversation_.over(cause, text, Clock::now());            // first: who reads the log may rely on it
    if (was_open) {
        // One that is to be gone may hear it all the same: there is no connection that would end with it.
        const std::uint16_t code = robot::ending_of(cause).close_code;
        if (cause != Cause::left) say(net::ZenohNote::Kind::end, code != 0 ? code : robot::kGoingAway, text);
        present_.reset();
        service_.log(who() + " gone: " + text);
    }
    service_.leave(client_, went);
}

// Who has not been told that it is over, for want of memory, is not in control all the same: the conversation ends with us.
void Session::abort() noexcept {
    try {
        finish(Cause::dropped, "dropped");
    } catch (const std::exception&) {}
    service_.leave(client_, false);  // also if it was finished before, but for this
}

std::string Session::peer() const { return documented() ? "without a name, by Zenoh" : "zenoh:" + client_; }

std::string Session::who() const { return (conversation_.observes() ? "observer " : "client ") + peer(); }

}  // namespace chiral::zenoh
