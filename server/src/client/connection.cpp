// SPDX-License-Identifier: Apache-2.0
#include "client/connection.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace chiral {

namespace {

// RFC 6455 section 7.4.1.
constexpr std::uint16_t normal_closure = 1000;
constexpr std::uint16_t going_away = 1001;

// A server that is gone does not hold up close() for longer.
constexpr Duration longest_close = std::chrono::seconds(2);

}  // namespace

TimePoint time_after(Duration duration) {
    const TimePoint now = Clock::now();
    return duration < TimePoint::max() - now ? now + duration : TimePoint::max();
}

std::string seconds_text(Duration duration) {
    char text[32];
    std::snprintf(text, sizeof text, "%g s", std::chrono::duration<double>(duration).count());
    return text;
}

ClientConnection::ClientConnection(const net::Uri& uri, std::shared_ptr<const ClientTls> tls, const ClientOptions& options,
                                   ClientCounters& counters)
    : uri_(uri.text),
      request_timeout_(options.request_timeout),
      counters_(counters),
      socket_(uri,
              {options.max_message_bytes, std::min(options.request_timeout, longest_close), options.bearer_token,
               std::move(tls)},
              *this) {}

bool ClientConnection::over() const {
    std::lock_guard lock(mutex_);
    return over_;
}

void ClientConnection::throw_over(const std::string& expected) const {
    throw ConnectionError(uri_ + ": " + reason_ + (expected.empty() ? "" : ", expected " + expected));
}

void ClientConnection::end(std::unique_lock<std::mutex>&, std::string reason) {
    if (!over_) {
        over_ = true;
        reason_ = std::move(reason);
    }
    changed_.notify_all();
    room_.notify_all();
}

void ClientConnection::fail(std::uint16_t close_code, const std::string& reason) {
    std::unique_lock lock(mutex_);
    end(lock, reason);
    socket_.close(close_code, reason, false);
    throw_over("");
}

void ClientConnection::begin_close() {
    std::unique_lock lock(mutex_);
    end(lock, "the connection was closed by this client");
    socket_.close(normal_closure, "", true);
}

void ClientConnection::wait_closed() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_; });
}

// ---- sending ----

void ClientConnection::send(std::unique_lock<std::mutex>& lock, std::vector<std::uint8_t>& message, bool action,
                            TimePoint deadline) {
    while (!over_ && !socket_.send(message, action))
        if (room_.wait_until(lock, deadline) == std::cv_status::timeout) {
            lock.unlock();
            fail(going_away, "the server has not read for " + seconds_text(request_timeout_) + ", " +
                                 std::to_string(ClientWebSocket::ring_size) + " messages wait to be sent");
        }
    if (over_) throw_over("");
}

void ClientConnection::send_action(std::vector<std::uint8_t>& message) {
    std::unique_lock lock(mutex_);
    send(lock, message, true, time_after(request_timeout_));
}

// ---- asking ----

ClientConnection::Exchange::Exchange(ClientConnection& connection) : connection_(connection) {
    std::unique_lock lock(connection.mutex_);
    const std::uint64_t ticket = connection.next_ticket_++;
    connection.changed_.wait(lock, [&] { return connection.over_ || connection.serving_ == ticket; });
    // Those who leave here never get their turn, but nor does anybody else.
    if (connection.over_) connection.throw_over("");
}

ClientConnection::Exchange::~Exchange() {
    std::lock_guard lock(connection_.mutex_);
    if (connection_.answer_ == Answer::here && !connection_.over_)
        connection_.socket_.read_next(-wire::payload_offset(connection_.answer_bytes_) % 16);
    connection_.answer_ = Answer::none_due;
    ++connection_.serving_;
    connection_.changed_.notify_all();
}

wire::Bytes ClientConnection::Exchange::perform(wire::RequestType type, wire::ResponseType expected) {
    ClientConnection& c = connection_;
    const TimePoint deadline = time_after(c.request_timeout_);
    std::unique_lock lock(c.mutex_);
    c.answer_ = Answer::due;  // before it is sent: the answer may be here at once
    c.send(lock, c.request_, type == wire::RequestType::action, deadline);
    c.changed_.wait_until(lock, deadline, [&] { return c.over_ || c.answer_ == Answer::here; });
    if (c.over_) c.throw_over(to_string(expected));
    if (c.answer_ != Answer::here) {
        lock.unlock();
        c.fail(going_away, std::string("the server has not answered ") + to_string(type) + " for " +
                               seconds_text(c.request_timeout_) + ", expected " + to_string(expected));
    }
    return c.answer_bytes_;
}

// ---- what the I/O thread tells ----

bool ClientConnection::message_due() {
    std::lock_guard lock(mutex_);
    return answer_ == Answer::due;
}

void ClientConnection::received(wire::Bytes message, Loan& memory) {
    counters_.bytes_received += message.size();
    std::lock_guard lock(mutex_);
    answer_ = Answer::here;
    answer_bytes_ = message;
    answer_memory_ = &memory;
    changed_.notify_all();
}

void ClientConnection::sent(bool action) {
    if (action) ++counters_.actions_sent;
    std::lock_guard lock(mutex_);  // nobody is between finding the ring full and waiting
    room_.notify_all();
}

void ClientConnection::over(std::string reason) {
    std::unique_lock lock(mutex_);
    end(lock, std::move(reason));
}

void ClientConnection::ended() {
    std::unique_lock lock(mutex_);
    end(lock, "the network thread ended");
    ended_ = true;
    changed_.notify_all();
}

}  // namespace chiral
