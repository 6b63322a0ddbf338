#include "session.hpp"

#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/websocket/rfc6455.hpp>

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

// Bytes of the well-formed UTF-8 character (Unicode 15, table 3-7) at the head of `text`, 0 if there is none.
std::size_t character_at_head(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    if (first < 0x80) return 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    const std::size_t size = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (text.size() < size) return 0;
    for (std::size_t i = 1; i < size; ++i)
        if ((byte(i) & 0xC0) != 0x80) return 0;
    const bool overlong = (first == 0xE0 && byte(1) < 0xA0) || (first == 0xF0 && byte(1) < 0x90);
    const bool surrogate = first == 0xED && byte(1) > 0x9F;
    const bool too_large = first == 0xF4 && byte(1) > 0x8F;
    return overlong || surrogate || too_large ? 0 : size;
}

// RFC 6455, 5.5: a close reason holds at most 123 bytes of UTF-8. Cuts between characters. What a hook throws may be
// anything, and may quote the client: what is not UTF-8, and control characters, become '?'.
std::string fit_reason(std::string_view reason) {
    constexpr std::size_t kMax = 123;
    std::string fitted;
    while (!reason.empty()) {
        const std::size_t size = character_at_head(reason);
        const bool control = size == 1 && (static_cast<unsigned char>(reason[0]) < 0x20 || reason[0] == 0x7F);
        const std::string_view next = size > 0 && !control ? reason.substr(0, size) : "?";
        if (fitted.size() + next.size() > kMax) break;
        fitted += next;
        reason.remove_prefix(size > 0 ? size : 1);
    }
    return fitted;
}

bool needs_action_thread(wire::RequestType type) {
    return type == wire::RequestType::reset || type == wire::RequestType::action;
}

}  // namespace

Session::Session(Socket socket, ServerCore& core)
    : core_(core),
      stream_(std::move(socket)),
      close_deadline_(core.io.get_executor()),
      stalled_(core.io.get_executor()) {
    error_code ignored;  // a peer that has gone again already has no address; the next read says so
    const auto endpoint = beast::get_lowest_layer(stream_).socket().remote_endpoint(ignored);
    peer_ = ignored ? "unknown peer" : endpoint.address().to_string() + ":" + std::to_string(endpoint.port());
    beast::get_lowest_layer(stream_).socket().set_option(boost::asio::ip::tcp::no_delay(true), ignored);
}

// ---- handshake ----

void Session::start() {
    core_.enter(shared_from_this());
    handshake_.emplace();
    handshake_->header_limit(8 * 1024);
    handshake_->body_limit(0);
    beast::get_lowest_layer(stream_).expires_after(core_.options.handshake_timeout);
    http::async_read(stream_.next_layer(), input_, *handshake_,
                     [self = shared_from_this()](error_code error, std::size_t) { self->on_handshake(error); });
}

void Session::on_handshake(error_code error) {
    if (phase_ != Phase::handshake) return;
    if (error) {
        if (error != http::error::end_of_stream) count(core_.stats.protocol_errors);
        return finish("handshake failed: " + error.message());
    }
    if (!websocket::is_upgrade(handshake_->get())) {
        count(core_.stats.protocol_errors);
        return answer_http(http::status::upgrade_required, "This is a Chiral policy server: it speaks WebSocket only.\n");
    }
    if (input_.size() > 0) {
        count(core_.stats.protocol_errors);
        return answer_http(http::status::bad_request, "Wait for the answer to the handshake before you send more.\n");
    }
    if (!core_.take_control(this)) {
        count(core_.stats.refused);
        core_.log("refused " + peer_ + ": a client is connected already");
        return answer_http(http::status::service_unavailable,
                           "Another client controls this robot. One client at a time: try again when it has gone.\n");
    }
    in_control_ = true;
    beast::get_lowest_layer(stream_).expires_never();
    watch_idle_client(true);
    stream_.set_option(websocket::stream_base::decorator(
        [](websocket::response_type& response) { response.set(http::field::server, "chiral"); }));
    stream_.read_message_max(core_.options.max_message_bytes);
    // Whole messages in one frame: with no mask and no compression, buffers then go to the socket as they are.
    stream_.auto_fragment(false);
    stream_.binary(true);
    stream_.async_accept(handshake_->get(), [self = shared_from_this()](error_code e) { self->on_accept(e); });
}

void Session::answer_http(http::status status, const std::string& text) {
    http_answer_.emplace(status, 11);
    http_answer_->set(http::field::server, "chiral");
    http_answer_->set(http::field::content_type, "text/plain");
    if (status == http::status::upgrade_required) http_answer_->set(http::field::upgrade, "websocket");
    http_answer_->keep_alive(false);
    http_answer_->body() = text;
    http_answer_->prepare_payload();
    http::async_write(stream_.next_layer(), *http_answer_, [self = shared_from_this()](error_code, std::size_t) {
        error_code ignored;  // the peer may have gone; nothing more is said to it
        beast::get_lowest_layer(self->stream_).socket().shutdown(boost::asio::ip::tcp::socket::shutdown_send, ignored);
        self->await_hang_up();
    });
}

// Closing while something that the peer sent is unread would reset the connection, and the answer could be lost.
void Session::await_hang_up() {
    if (phase_ == Phase::finished) return;
    input_.clear();
    stream_.next_layer().async_read_some(input_.prepare(4096), [self = shared_from_this()](error_code error, std::size_t) {
        if (error) self->finish("");
        else self->await_hang_up();
    });
}

void Session::on_accept(error_code error) {
    if (phase_ != Phase::handshake) return;
    if (error) {
        count(core_.stats.protocol_errors);
        return finish("handshake failed: " + error.message());
    }
    phase_ = Phase::open;
    handshake_.reset();
    input_.clear();
    count(core_.stats.connections);
    core_.log("client " + peer_ + " connected");
    if (core_.stopping()) return shut_down();
    read();
}

// ---- reading ----

void Session::read() {
    if (phase_ != Phase::open || reading_) return;
    // While nothing is read, the client cannot show that it is there.
    watch_idle_client(false);
    if (asked_ - answered_ == kReplies) return watch_stalled_write();  // on_write() reads on
    if (!core_.room_for_actions() && core_.wait_for_room()) return;    // resume() reads on
    watch_idle_client(true);
    reading_ = true;
    stream_.async_read(input_, PooledHandler(read_memory_, [self = shared_from_this()](error_code error, std::size_t) {
                           self->on_read(error);
                       }));
}

void Session::resume() { read(); }

void Session::watch_idle_client(bool watch) {
    websocket::stream_base::timeout timeouts{};
    timeouts.handshake_timeout = core_.options.handshake_timeout;
    timeouts.idle_timeout = watch ? core_.options.idle_timeout : websocket::stream_base::none();
    timeouts.keep_alive_pings = true;
    stream_.set_option(timeouts);
}

// A client that has asked for as much as it may and takes none of it would otherwise stay for ever.
void Session::watch_stalled_write() {
    if (!writing_) return;
    stalled_.expires_after(core_.options.idle_timeout);
    stalled_.async_wait([self = shared_from_this(), watched = answered_](error_code error) {
        if (!error && self->writing_ && self->answered_ == watched) self->finish("takes no answer");
    });
}

void Session::on_read(error_code error) {
    reading_ = false;
    if (phase_ == Phase::finished) return;
    if (error) {
        // Beast has told the peer already: 1002 for a broken frame, 1007 for bad UTF-8, 1009 for one that is too big.
        const bool broken = error.category() == make_error_code(websocket::error::closed).category() &&
                            error != websocket::error::closed;
        if (broken) count(core_.stats.protocol_errors);
        return finish(why_ended(error));
    }
    if (phase_ != Phase::open) return;
    handle_message();
    input_.clear();
    read();
}

void Session::handle_message() {
    if (!stream_.got_binary())
        return malformed(close_code::unknown_data, "got a text message, expected binary ones");
    try {
        const auto message = input_.cdata();
        wire::decode_request({static_cast<const std::uint8_t*>(message.data()), message.size()}, request_);
    } catch (const wire::DecodeError& error) {
        return malformed(close_code::bad_payload, error.what());
    }
    if (request_.type == wire::RequestType::apply_action) take_action();
    else take_request();
}

void Session::take_action() {
    count(core_.stats.actions_received);
    Job job;
    job.type = request_.type;
    job.sender = weak_from_this();
    job.action = std::exchange(request_.action, core_.used_action());
    job.action.received_at = to_seconds(Clock::now());
    core_.actions.push(std::move(job));
}

void Session::take_request() {
    const std::size_t index = asked_ % kReplies;
    Reply& reply = replies_[index];
    reply.type = request_.type;
    reply.state = Reply::State::queued;
    reply.error.clear();
    ++asked_;
    if (needs_action_thread(reply.type)) {
        reply.state = Reply::State::running;
        Job job;
        job.type = reply.type;
        job.session = shared_from_this();
        job.reply = index;
        if (reply.type == wire::RequestType::action) {
            count(core_.stats.actions_received);
            job.action = std::exchange(request_.action, core_.used_action());
            job.action.received_at = to_seconds(Clock::now());
        }
        core_.actions.push(std::move(job));
    }
    advance();
}

void Session::malformed(close_code code, const std::string& reason) {
    count(core_.stats.protocol_errors);
    close(code, reason);
}

// ---- answering ----

void Session::reply_ready(std::size_t index) {
    boost::asio::post(core_.io.get_executor(), PooledHandler(reply_memory_[index], [self = shared_from_this(), index] {
                          Reply& reply = self->replies_[index];
                          reply.state = Reply::State::ready;
                          if (self->phase_ == Phase::open) self->advance();
                          else self->core_.source->recycle(std::move(reply.result.obs));
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
    if (next.state == Reply::State::queued) {
        next.state = Reply::State::running;
        Job job;
        job.type = next.type;
        job.session = shared_from_this();
        job.reply = index;
        core_.requests.push(std::move(job));
    } else if (next.state == Reply::State::ready) {
        write(next);
    }
}

void Session::write(const Reply& reply) {
    if (!reply.error.empty()) return close(close_code::internal_error, reply.error);
    gather_.clear();
    if (reply.type == wire::RequestType::metadata) {
        wire::encode_metadata_response(reply.metadata, metadata_message_);
        gather_.emplace_back(metadata_message_.data(), metadata_message_.size());
    } else {
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
    if (asked_ - answered_ == kReplies) watch_stalled_write();
    const BufferRange message{gather_.data(), gather_.data() + gather_.size()};
    stream_.next_layer().expect(message);
    stream_.async_write(message,
                        PooledHandler(write_memory_, [self = shared_from_this()](error_code error, std::size_t bytes) {
                            self->on_write(error, bytes);
                        }));
}

void Session::on_write(error_code error, std::size_t bytes) {
    writing_ = false;
    stream_.next_layer().expect({});
    Reply& reply = replies_[answered_ % kReplies];
    const bool observation = reply.type != wire::RequestType::metadata;
    if (observation) core_.source->recycle(std::move(reply.result.obs));  // ends the pins
    if (phase_ == Phase::finished) return;
    if (error) return finish(why_ended(error));
    count(core_.stats.bytes_sent, bytes);
    if (observation) count(core_.stats.observations);
    ++answered_;
    advance();
    read();
}

// ---- ending ----

void Session::close(close_code code, std::string reason) {
    if (phase_ != Phase::open) return;
    phase_ = Phase::closing;
    reason = fit_reason(reason);
    core_.log("closing client " + peer_ + ": " + reason);
    // Of our own: a close that waits behind a write to a peer that does not read has no other deadline.
    close_deadline_.expires_after(std::chrono::duration_cast<std::chrono::steady_clock::duration>(core_.options.handshake_timeout));
    close_deadline_.async_wait([self = shared_from_this()](error_code error) {
        if (!error) self->finish("did not close in time");
    });
    stream_.async_close(websocket::close_reason(code, reason.c_str()),
                        [self = shared_from_this()](error_code) { self->finish("closed by the server"); });
}

void Session::shut_down() {
    if (phase_ == Phase::open) close(close_code::going_away, "the server is stopping");
    else if (phase_ == Phase::handshake && !in_control_) finish("the server is stopping");  // on_accept() closes the other
}

void Session::abort() { finish("dropped"); }

void Session::finish(const std::string& why) {
    if (phase_ == Phase::finished) return;
    const bool was_connected = phase_ != Phase::handshake;
    phase_ = Phase::finished;
    close_deadline_.cancel();
    stalled_.cancel();
    error_code ignored;  // closing a socket that is broken already is not an event
    beast::get_lowest_layer(stream_).socket().close(ignored);
    // Ends the pins of what will not be sent; what is being written or computed ends its own.
    for (std::size_t i = answered_ + (writing_ ? 1 : 0); i < asked_; ++i)
        if (replies_[i % kReplies].state == Reply::State::ready)
            core_.source->recycle(std::move(replies_[i % kReplies].result.obs));
    if (was_connected) core_.log("client " + peer_ + " gone: " + why);
    else if (!why.empty()) core_.log(peer_ + ": " + why);
    core_.leave(this);
}

std::string Session::why_ended(error_code error) const {
    if (error != websocket::error::closed) return error.message();
    const websocket::close_reason& reason = stream_.reason();
    std::string text = "closed by the client (" + std::to_string(reason.code) + ")";
    if (!reason.reason.empty()) text += ": " + std::string(reason.reason.c_str());
    return text;
}

}  // namespace chiral
