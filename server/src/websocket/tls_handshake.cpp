// SPDX-License-Identifier: Apache-2.0
#include "websocket/tls_handshake.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/write.hpp>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>

#include <new>
#include <utility>

namespace chiral::websocket {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// RFC 8446, 5.1 and 5.2: a record's head, and how long what follows may be.
constexpr std::size_t kHead = 5, kLongestRecord = 16384 + 256;
// The largest handshake that is no attack: a ClientHello with everything, and a Finished.
constexpr std::size_t kMostInput = 64 * 1024;

bool is_record(const std::vector<std::uint8_t>& head) {
    constexpr std::uint8_t change_cipher_spec = 20, application_data = 23;  // and alert, handshake between
    return head[0] >= change_cipher_spec && head[0] <= application_data && head[1] == 3;
}
std::size_t length_in(const std::vector<std::uint8_t>& head) { return std::size_t{head[3]} << 8 | head[4]; }

// Who takes turns: the network of an IPv6 address, of which one machine has as many as it likes.
std::string turn_of(const net::Link::Socket& socket) {
    error_code error;
    const auto address = socket.remote_endpoint(error).address();
    if (error) return {};
    if (address.is_v4()) return address.to_string();
    const auto bytes = address.to_v6().to_bytes();
    return {bytes.begin(), bytes.begin() + (address.to_v6().is_v4_mapped() ? 16 : 8)};
}

}  // namespace

TlsHandshake::TlsHandshake(net::Link& link, HandshakeThread& thread)
    : link_(link),
      thread_(thread),
      address_(turn_of(link.socket())),
      ssl_(link.tls()),
      own_(SSL_get_rbio(ssl_)),
      input_(BIO_new(BIO_s_mem())),
      output_(BIO_new(BIO_s_mem())) {
    if (input_ == nullptr || output_ == nullptr) {
        BIO_free(input_);
        BIO_free(output_);
        throw std::bad_alloc();
    }
    BIO_set_mem_eof_return(input_, -1);  // "not yet", instead of an end
    BIO_up_ref(own_);
    SSL_set_bio(ssl_, input_, output_);
}

TlsHandshake::~TlsHandshake() {
    if (own_ != nullptr) BIO_free(own_);
}

void TlsHandshake::start(Then then) {
    then_ = std::move(then);
    read_head();
}

void TlsHandshake::read_head() {
    record_.resize(kHead);
    asio::async_read(link_.tcp(), asio::buffer(record_), [self = shared_from_this()](error_code error, std::size_t bytes) {
        self->received_ += bytes;
        if (error) return self->broken(error);
        if (!is_record(self->record_)) return self->compute();  // OpenSSL says what it is instead
        if (length_in(self->record_) > kLongestRecord || self->received_ + length_in(self->record_) > kMostInput) {
            self->why_ = "it is too long";
            return self->end(Outcome::failed);
        }
        self->read_rest();
    });
}

void TlsHandshake::read_rest() {
    record_.resize(kHead + length_in(record_));
    asio::async_read(link_.tcp(), asio::buffer(record_.data() + kHead, record_.size() - kHead),
                     [self = shared_from_this()](error_code error, std::size_t bytes) {
                         self->received_ += bytes;
                         if (error) return self->broken(error);
                         self->compute();
                     });
}

void TlsHandshake::compute() {
    const bool first = received_ == record_.size();
    const auto priority = first ? HandshakeThread::Priority::newcomer : HandshakeThread::Priority::begun;
    const bool taken = thread_.push(address_, priority, [self = shared_from_this()]() mutable {
        self->step();
        // Back to the network thread, where it ends as well if nobody else has it.
        const auto executor = self->link_.get_executor();
        net::HandlerMemory& memory = self->way_back_;
        asio::post(executor, net::PooledHandler(memory, [self = std::move(self)] { self->on_step(); }));
    });
    if (!taken) end(Outcome::crowded);
}

// On the handshake thread, while nobody else touches the connection's TLS.
void TlsHandshake::step() noexcept {
    if (cancelled_) return;
    try {
        state_ = advance();
        answer_.resize(BIO_ctrl_pending(output_));
        if (!answer_.empty()) BIO_read(output_, answer_.data(), static_cast<int>(answer_.size()));
    } catch (const std::bad_alloc&) {
        state_ = State::failed;
    }
}

TlsHandshake::State TlsHandshake::advance() {
    ERR_clear_error();
    BIO_write(input_, record_.data(), static_cast<int>(record_.size()));
    const int result = SSL_accept(ssl_);
    if (result == 1) return State::done;
    if (SSL_get_error(ssl_, result) == SSL_ERROR_WANT_READ && is_record(record_)) return State::more;
    const unsigned long error = ERR_get_error();
    if (ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_HTTP_REQUEST) return State::plain_http;
    const char* reason = error != 0 ? ERR_reason_error_string(error) : nullptr;
    why_ = reason != nullptr ? reason : "this is not TLS";
    return State::failed;
}

void TlsHandshake::on_step() {
    if (cancelled_) return end(Outcome::failed);
    if (state_ == State::plain_http) return end(Outcome::plain_http);
    if (answer_.empty() && state_ == State::more) return read_head();
    asio::async_write(link_.tcp(), asio::buffer(answer_), [self = shared_from_this()](error_code error, std::size_t) {
        if (self->state_ == State::failed) return self->end(Outcome::failed);
        if (error) return self->broken(error);
        if (self->state_ == State::more) return self->read_head();
        self->end(Outcome::done);
    });
}

void TlsHandshake::broken(const error_code& error) {
    why_ = error.message();
    end(received_ == 0 ? Outcome::silent : Outcome::failed);
}

void TlsHandshake::end(Outcome outcome) {
    SSL_set_bio(ssl_, own_, own_);  // which frees the other two
    own_ = nullptr;
    std::exchange(then_, nullptr)(outcome);
}

}  // namespace chiral::websocket
