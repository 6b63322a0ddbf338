// SPDX-License-Identifier: Apache-2.0
#include "websocket/session.hpp"

#include "net/printable.hpp"
#include "net/tcp_health.hpp"

#include <boost/beast/websocket/rfc6455.hpp>

#include <bit>
#include <chrono>
#include <string_view>
#include <utility>

namespace chiral {

namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;
using beast::error_code;
using websocket::close_code;

namespace {

bool needs_action_thread(wire::RequestType type) {
    return type == wire::RequestType::reset || type == wire::RequestType::action;
}

}  // namespace

Session::Session(net::Link link, std::string peer, ServerCore& core, std::unique_ptr<ObservationSource::Seat> seat)
    : core_(core),
      observes_(seat != nullptr),
      seat_(std::move(seat)),
      stream_(std::move(link)),
      peer_(std::move(peer)),
      close_deadline_(core.io.get_executor()),
      pause_(core.io.get_executor()),
      look_(core.io.get_executor()),
      heartbeat_(core.io.get_executor()),
      each_message_(std::chrono::duration_cast<Duration>(std::chrono::seconds(1)) /
                    static_cast<std::int64_t>(core.options.max_messages_per_second)),
      gate_(core.options.gate, core.source->engine().cameras()) {}

// ---- handshake ----

void Session::start(const Upgrade& request) {
    core_.enter(shared_from_this());
    net::Link& link = stream_.next_layer();
    link.tcp().expires_never();
    if (observes_) {
        // What is copied into the kernel at a time bounds for how long an observer keeps the network thread from the client
        // in control.
        error_code ignored;  // without it observers are merely less polite
        link.socket().set_option(boost::asio::socket_base::send_buffer_size(256 * 1024), ignored);
    }
    // of its handshakes. What comes after is watched by the heartbeat: Beast would not ping behind an answer.
    stream_.set_option(
        websocket::stream_base::timeout{core_.options.handshake_timeout, websocket::stream_base::none(), false});
    stream_.set_option(websocket::stream_base::decorator(
        [](websocket::response_type& response) { response.set(http::field::server, "chiral"); }));
    stream_.control_callback([this](websocket::frame_type kind, beast::string_view payload) {
        if (kind != websocket::frame_type::close) on_control_frame(payload.size());
    });
    stream_.read_message_max(core_.options.max_message_bytes);
    // Whole messages in one frame: with no mask and no compression, buffers then go to the socket as they are.
    stream_.auto_fragment(false);
    stream_.binary(true);
    stream_.async_accept(request, [self = shared_from_this()](error_code error) { self->on_accept(error); });
}

void Session::on_accept(error_code error) {
    if (phase_ != Phase::handshake) return;
    if (error) {
        count(core_.stats.protocol_errors);
        return finish("handshake failed: " + error.message(), false);
    }
    phase_ = Phase::open;
    if (observes_) {
        count(core_.stats.observers);
        core_.stats.observing.fetch_add(1, std::memory_order_relaxed);
        core_.log_connection(ServerCore::Who::let_in, "observer " + peer_ + " connected");
    } else {
        count(core_.stats.connections);
        core_.stats.clients.fetch_add(1, std::memory_order_relaxed);
        core_.log_connection(ServerCore::Who::let_in, "client " + peer_ + " connected");
        lease_ = core_.begin_lease(peer_);
    }
    if (core_.stopping()) return shut_down();
    acknowledged_at_ = taken_at_ = heard_at_ = message_began_ = Clock::now();
    beat();
    read();
}

// ---- is it still there? ----

// Five looks in a timeout. A client is given up when its machine has left something unacknowledged for three of them, so that
// a link that breaks just after a look is found in time.
void Session::beat() {
    if (phase_ != Phase::open) return;
    heartbeat_.expires_after(core_.options.heartbeat_timeout / 5);
    heartbeat_.async_wait(net::PooledHandler(beat_memory_, [self = shared_from_this()](error_code error) {
        if (!error) self->on_beat();
    }));
}

void Session::on_beat() {
    if (phase_ != Phase::open) return;
    if (const std::string why = lost(Clock::now()); !why.empty()) return finish(why, false);
    // Something to acknowledge, also while nothing else is sent.
    if (!pinging_ && !writing_) {
        pinging_ = true;
        stream_.async_ping({}, net::PooledHandler(ping_memory_, [self = shared_from_this()](error_code error) {
                               self->pinging_ = false;
                               // A read that fails says more about it; but it may be that nothing is read.
                               if (error && !self->reading_ && self->phase_ == Phase::open)
                                   self->finish(self->why_ended(error), false);
                           }));
    }
    beat();
}

// Why the client must be given up, or nothing.
std::string Session::lost(TimePoint now) {
    const auto idle_timeout = core_.options.idle_timeout;
    const auto health = net::tcp_health(stream_.next_layer().socket().native_handle());
    // An answer of which its machine takes nothing, because the client does not read. Where the system does not tell, of
    // which it takes not all.
    const std::uint64_t taken = health ? health->acknowledged_bytes : answered_;
    if (!writing_ || taken != taken_) {
        taken_ = taken;
        taken_at_ = now;
    } else if (now - taken_at_ >= idle_timeout) {
        return "takes no answer";
    }
    if (health) {
        if (health->unacknowledged == 0 || health->acknowledged_bytes != acknowledged_) {
            acknowledged_ = health->acknowledged_bytes;
            acknowledged_at_ = now;
        } else if (now - acknowledged_at_ >= core_.options.heartbeat_timeout * 3 / 5) {
            count(core_.stats.half_open);
            keep_longest(core_.stats.longest_half_open_ns, now - acknowledged_at_);
            return "its machine has acknowledged nothing for " +
                   std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(now - acknowledged_at_).count()) +
                   " ms";
        }
        if (!observes_) core_.stats.round_trip_us.store(health->round_trip.count(), std::memory_order_relaxed);
    }
    // Somebody who lives answers pings. Behind an answer that is being written they do not get through.
    const std::uint64_t heard = health ? health->received_bytes : messages_read_ + control_bytes_;
    if (writing_ || !reading_ || heard != heard_) {
        heard_ = heard;
        heard_at_ = now;
    } else if (now - heard_at_ >= idle_timeout) {
        return "says nothing, not even in answer to pings";
    }
    // A message that was begun has to end. Its fragments may be empty: then it shows in what was received beside control
    // frames. TLS adds to these; what is not sure to be a message does not count.
    constexpr std::uint64_t uncertain = 1024;
    if (!reading_ || messages_read_ != messages_known_) {
        messages_known_ = messages_read_;
        bytes_known_ = heard;
        control_bytes_ = 0;
        message_began_ = now;
    }
    const bool begun = input_.size() > 0 || (health && heard - bytes_known_ > control_bytes_ + uncertain);
    if (!begun) message_began_ = now;
    else if (now - message_began_ >= idle_timeout) return "does not end a message that it began";
    return {};
}

// ---- reading ----

void Session::read() {
    if (phase_ != Phase::open || reading_) return;
    if (asked_ - answered_ == kReplies) return;                                    // on_write() reads on
    if (!observes_ && !core_.room_for_actions() && core_.wait_for_room()) return;  // resume() reads on
    if (too_many_messages()) return;                                               // the end of the pause reads on
    reading_ = true;
    stream_.async_read(input_, net::PooledHandler(read_memory_, [self = shared_from_this()](error_code error, std::size_t) {
                           self->on_read(error);
                       }));
}

void Session::resume() { read(); }

bool Session::too_many_messages() {
    constexpr std::chrono::milliseconds at_once{100};
    if (messages_.paid_until <= Clock::now() + at_once) return false;
    pause_.expires_at(messages_.paid_until - at_once);
    pause_.async_wait(net::PooledHandler(pause_memory_, [self = shared_from_this()](error_code error) {
        if (!error) self->read();
    }));
    return true;
}

// In the middle of a read, which cannot pause: who sends too many is no client that would be worth it.
void Session::on_control_frame(std::size_t bytes) {
    constexpr std::size_t around = 6, around_in_tls = 96;  // the frame's header; and a record's, its padding and its code
    control_bytes_ += bytes + around + (stream_.next_layer().tls() ? around_in_tls : 0);
    const TimePoint now = Clock::now();
    control_frames_.spend(now, each_message_);
    if (flooding_ || control_frames_.paid_until <= now + std::chrono::seconds(1)) return;
    flooding_ = true;
    boost::asio::post(core_.io, [self = shared_from_this()] {
        count(self->core_.stats.protocol_errors);
        self->close(
            close_code::policy_error,
            "got more than " + std::to_string(self->core_.options.max_messages_per_second) + " pings and pongs in a second");
    });
}

void Session::on_read(error_code error) {
    reading_ = false;
    if (phase_ == Phase::finished) return;
    if (error) {
        // Beast has told the peer already: 1002 for a broken frame, 1007 for bad UTF-8, 1009 for one that is too big.
        const bool in_words = error.category() == make_error_code(websocket::error::closed).category();
        const bool orderly = error == websocket::error::closed;
        if (in_words && !orderly) count(core_.stats.protocol_errors);
        return finish(why_ended(error), orderly, in_words);
    }
    if (phase_ != Phase::open) return;
    ++messages_read_;
    messages_.spend(Clock::now(), each_message_);
    handle_message();
    input_.clear();
    read();
}

void Session::handle_message() {
    if (!stream_.got_binary()) return malformed(close_code::unknown_data, "got a text message, expected binary ones");
    try {
        const auto message = input_.cdata();
        wire::decode_request({static_cast<const std::uint8_t*>(message.data()), message.size()}, request_);
    } catch (const wire::DecodeError& error) {
        return malformed(close_code::bad_payload, error.what());
    }
    if (observes_ && request_.type != wire::RequestType::metadata && request_.type != wire::RequestType::obs_request)
        return malformed(close_code::policy_error, std::string("an observer may ask for metadata and obs_request, got ") +
                                                       wire::to_string(request_.type));
    if (request_.type == wire::RequestType::apply_action) take_action();
    else take_request();
}

// Counts, stamps and judges an action of either dialect. What the gate objects to is in `reason_`.
ActionGate::Verdict Session::judge_action() {
    const TimePoint now = Clock::now();
    count(core_.stats.actions_received);
    request_.action.received_at = to_seconds(now);
    const ActionGate::Verdict verdict = gate_.check(request_.action, now, reason_);
    const bool rejected = verdict == ActionGate::Verdict::rejected;
    if (!rejected) core_.action_arrived(now);  // a rejected one moves nothing: the robot is as alone as without it
    if (verdict == ActionGate::Verdict::pass) return verdict;
    ++(rejected ? rejected_ : clamped_);
    last_objection_ = reason_;
    auto& total = rejected ? core_.stats.actions_rejected : core_.stats.actions_clamped;
    const std::uint64_t so_far = total.fetch_add(1, std::memory_order_relaxed) + 1;
    // The 1st, 2nd, 4th, 8th, ...: a policy that errs does so at its full rate.
    if (std::has_single_bit(so_far))
        core_.log(std::string("action ") + (rejected ? "rejected: " : "clamped: ") + reason_ + " (" +
                  std::to_string(so_far) + " so far)");
    return verdict;
}

void Session::take_action() {
    if (judge_action() == ActionGate::Verdict::rejected) return;
    Job job;
    job.type = request_.type;
    job.sender = weak_from_this();
    job.lease = lease_;
    job.moves = true;
    job.action = std::exchange(request_.action, core_.used_action());
    core_.queue_action(std::move(job));
}

void Session::take_request() {
    const std::size_t index = asked_ % kReplies;
    Reply& reply = replies_[index];
    reply.type = request_.type;
    reply.state = Reply::State::queued;
    reply.error.clear();
    reply.asked_at = Clock::now();
    ++asked_;
    if (needs_action_thread(reply.type)) {
        reply.state = Reply::State::running;
        Job job;
        job.type = reply.type;
        job.session = shared_from_this();
        job.reply = index;
        job.lease = lease_;
        if (reply.type == wire::RequestType::action) {
            job.moves = judge_action() != ActionGate::Verdict::rejected;
            if (!job.moves) job.rejected = reason_;
            job.action = std::exchange(request_.action, core_.used_action());
        } else {
            gate_.forget();
        }
        core_.queue_action(std::move(job));
    }
    advance();
}

void Session::malformed(close_code code, const std::string& reason) {
    count(core_.stats.protocol_errors);
    close(code, reason, true);
}

// ---- answering ----

void Session::reply_ready(std::size_t index) {
    boost::asio::post(core_.io.get_executor(), net::PooledHandler(reply_memory_[index], [self = shared_from_this(), index] {
                          Reply& reply = self->replies_[index];
                          reply.state = Reply::State::ready;
                          if (self->phase_ == Phase::open) return self->advance();
                          self->core_.source->recycle(std::move(reply.result.obs));
                          if (self->phase_ == Phase::finished) self->leave_seat();
                      }));
}

void Session::action_failed(std::string reason) {
    boost::asio::post(core_.io, [self = shared_from_this(), reason = std::move(reason)]() mutable {
        self->close(close_code::internal_error, std::move(reason));
    });
}

void Session::advance() {
    if (writing_ || phase_ != Phase::open || answered_ == asked_) return;
    const std::size_t index = answered_ % kReplies;
    Reply& next = replies_[index];
    if (next.state == Reply::State::ready) return write(next);
    if (next.state == Reply::State::running) return;
    Job job;
    job.type = next.type;
    job.session = shared_from_this();
    job.reply = index;
    if (!observes_) {
        next.state = Reply::State::running;
        return core_.requests.push(std::move(job));
    }
    if (next.type == wire::RequestType::metadata) {
        next.state = Reply::State::running;
        if (!core_.known_metadata) return core_.requests.push(std::move(job));
        next.metadata = *core_.known_metadata;
        next.state = Reply::State::ready;
        return write(next);
    }
    const TimePoint now = Clock::now();
    if (now < next_look_) {
        if (waiting_to_look_) return;
        waiting_to_look_ = true;
        look_.expires_at(next_look_);
        return look_.async_wait(net::PooledHandler(look_memory_, [self = shared_from_this()](error_code error) {
            self->waiting_to_look_ = false;
            if (!error) self->advance();
        }));
    }
    next_look_ =
        now + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(1.0 / core_.options.max_observer_hz));
    next.state = Reply::State::running;
    core_.observers.push(std::move(job));
}

// Tells the client what became of its actions; those that do not know the keys ignore them.
void Session::report_gate(ExtraMap& extra) {
    if (rejected_ == 0 && clamped_ == 0) return;
    if (rejected_ > 0) extra["chiral.actions_rejected"] = rejected_;
    if (clamped_ > 0) extra["chiral.actions_clamped"] = clamped_;
    extra["chiral.action_reason"] = last_objection_;
    rejected_ = clamped_ = 0;
}

void Session::write(Reply& reply) {
    if (!reply.error.empty()) return close(close_code::internal_error, reply.error);
    gather_.clear();
    if (reply.type == wire::RequestType::metadata) {
        if (!observes_ || !core_.known_metadata) core_.known_metadata = reply.metadata;
        wire::encode_metadata_response(reply.metadata, metadata_message_);
        gather_.emplace_back(metadata_message_.data(), metadata_message_.size());
    } else {
        report_gate(reply.result.obs.extra);
        try {
            switch (reply.type) {
                case wire::RequestType::reset: encoder_.encode_reset_response(reply.result.obs, reply.result.info); break;
                case wire::RequestType::action: encoder_.encode_step_response(reply.result); break;
                default: encoder_.encode_obs_response(reply.result.obs);
            }
        } catch (const std::invalid_argument& error) {
            // The observation that a hook returned does not fit its own shapes.
            count(core_.stats.hook_errors);
            core_.log(std::string("observation cannot be sent: ") + error.what());
            return close(close_code::internal_error, error.what());
        }
        gather_.emplace_back(encoder_.head().data(), encoder_.head().size());
        for (const wire::Bytes& piece : encoder_.payload()) gather_.emplace_back(piece.data(), piece.size());
    }
    writing_ = true;
    const net::BufferRange message{gather_.data(), gather_.data() + gather_.size()};
    stream_.next_layer().expect(message);
    stream_.async_write(message,
                        net::PooledHandler(write_memory_, [self = shared_from_this()](error_code error, std::size_t bytes) {
                            self->on_write(error, bytes);
                        }));
}

void Session::on_write(error_code error, std::size_t bytes) {
    writing_ = false;
    stream_.next_layer().expect({});
    Reply& reply = replies_[answered_ % kReplies];
    const bool observation = reply.type != wire::RequestType::metadata;
    if (observation) core_.source->recycle(std::move(reply.result.obs));  // ends the pins
    if (phase_ == Phase::finished) return leave_seat();
    if (error) return finish(why_ended(error), false);
    count(core_.stats.bytes_sent, bytes);
    if (observation) count(core_.stats.observations);
    if (!observes_) core_.stats.answer_latency.record(Clock::now() - reply.asked_at);
    ++answered_;
    advance();
    read();
}

// ---- ending ----

void Session::close(close_code code, std::string reason, bool orderly) {
    if (phase_ != Phase::open) return;
    phase_ = Phase::closing;
    reason = net::printable(reason);
    if (!observes_) core_.end_lease(this, reason, orderly);  // before the log, as in finish()
    core_.log_connection(ServerCore::Who::let_in, "closing " + who() + ": " + reason);
    // Of our own: a close that waits behind a write to a peer that does not read has no other deadline.
    close_deadline_.expires_after(
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(core_.options.handshake_timeout));
    close_deadline_.async_wait([self = shared_from_this()](error_code error) {
        if (!error) self->finish("did not close in time", false);
    });
    stream_.async_close(websocket::close_reason(code, reason.c_str()),
                        [self = shared_from_this()](error_code) { self->finish("closed by the server", false); });
}

void Session::shut_down() {
    if (phase_ == Phase::finished) return hang_up();
    if (phase_ == Phase::open) close(close_code::going_away, "the server is stopping");  // else on_accept() does
}

void Session::lose_control(const std::string& reason) {
    if (phase_ == Phase::handshake) return finish(reason, false);  // it must not complete
    core_.end_lease(this, reason, false);
    close(close_code::policy_error, reason);
}

void Session::abort() {
    finish("dropped", false);
    hang_up();
}

void Session::finish(const std::string& why, bool orderly, bool in_words) {
    if (phase_ == Phase::finished) return;
    const bool was_connected = phase_ != Phase::handshake;
    phase_ = Phase::finished;
    gone_.store(true, std::memory_order_relaxed);
    for (net::Link::Timer* timer : {&close_deadline_, &pause_, &look_, &heartbeat_}) timer->cancel();
    // Ends the pins of what will not be sent; what is being written or computed ends its own.
    for (std::size_t i = answered_ + (writing_ ? 1 : 0); i < asked_; ++i)
        if (replies_[i % kReplies].state == Reply::State::ready)
            core_.source->recycle(std::move(replies_[i % kReplies].result.obs));
    leave_seat();
    if (!observes_) {
        core_.end_lease(this, why, orderly);  // first: who reads the log may rely on it
        core_.stats.round_trip_us.store(0, std::memory_order_relaxed);
    }
    if (was_connected) {
        core_.log_connection(ServerCore::Who::let_in, who() + " gone: " + why);
        (observes_ ? core_.stats.observing : core_.stats.clients).fetch_sub(1, std::memory_order_relaxed);
    } else if (!why.empty()) {
        core_.log_connection(ServerCore::Who::stranger, peer_ + ": " + why);
    }
    if (!in_words || writing_) return hang_up();
    stream_.next_layer().tcp().expires_after(core_.options.handshake_timeout);
    stream_.next_layer().async_hang_up([self = shared_from_this()] { self->hang_up(); });
}

void Session::hang_up() {
    error_code ignored;  // closing a socket that is broken already is not an event
    stream_.next_layer().socket().close(ignored);
    core_.leave(this);
}

// As soon as nothing that it has lent is in use; the end of what is under way calls this again.
void Session::leave_seat() {
    const auto in_use = [](const Reply& reply) { return reply.state == Reply::State::running; };
    if (!writing_ && std::none_of(replies_.begin(), replies_.end(), in_use)) seat_.reset();
}

std::string Session::who() const { return (observes_ ? "observer " : "client ") + peer_; }

std::string Session::why_ended(error_code error) const {
    if (error != websocket::error::closed) return error.message();
    const websocket::close_reason& reason = stream_.reason();
    std::string text = "closed by the client (" + std::to_string(reason.code) + ")";
    if (!reason.reason.empty()) text += ": " + net::printable({reason.reason.data(), reason.reason.size()});
    return text;
}

}  // namespace chiral
