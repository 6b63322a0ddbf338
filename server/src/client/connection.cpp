// SPDX-License-Identifier: Apache-2.0
#include "client/connection.hpp"

#include <chiral/lookout.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <stdexcept>

namespace chiral::client {

namespace {

// What only looks is answered soon. What moves the robot takes as long as that takes, or as the person who sets the scene.
bool moves_the_robot(wire::RequestType type) {
    return type == wire::RequestType::reset || type == wire::RequestType::action;
}

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

Connection::Connection(const Endpoint& endpoint, const ClientOptions& options, Counters& counters)
    : address_(endpoint.text()),
      request_timeout_(options.request_timeout),
      reset_timeout_(options.reset_timeout),
      counters_(counters),
      transport_(endpoint.transport(*this)) {}

bool Connection::over() const {
    std::lock_guard lock(mutex_);
    return over_;
}

void Connection::throw_over(const std::string& expected) const {
    throw ConnectionError(address_ + ": " + reason_ + (expected.empty() ? "" : ", expected " + expected));
}

void Connection::end(std::unique_lock<std::mutex>&, std::string reason) {
    if (!over_) {
        over_ = true;
        reason_ = std::move(reason);
    }
    changed_.notify_all();
    room_.notify_all();
}

void Connection::fail(std::uint16_t code, const std::string& reason) {
    std::unique_lock lock(mutex_);
    end(lock, reason);
    transport_->close(code, reason, false);
    throw_over("");
}

void Connection::begin_close() {
    std::unique_lock lock(mutex_);
    end(lock, "the connection was closed by this client");
    transport_->close(close_code::normal, "", true);
}

void Connection::wait_closed() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_; });
}

// Waits for the condition; false at the deadline. A thread that has a lookout looks up in between. What that throws ends the
// connection: an answer that is due could be taken for that to the next request.
template <class Condition>
bool Connection::wait(std::unique_lock<std::mutex>& lock, std::condition_variable& told, TimePoint deadline,
                      Condition condition) {
    const Lookout* const lookout = Lookout::of_this_thread();
    if (lookout == nullptr) return told.wait_until(lock, deadline, condition);
    while (!told.wait_until(lock, std::min(deadline, time_after(Lookout::period)), condition)) {
        if (Clock::now() >= deadline) return false;
        lock.unlock();
        try {
            lookout->look();
        } catch (...) {
            lock.lock();
            end(lock, "a call that waited was interrupted");
            transport_->close(close_code::going_away, reason_, false);
            throw;
        }
        lock.lock();
    }
    return true;
}

// ---- sending ----

void Connection::send(std::unique_lock<std::mutex>& lock, std::vector<std::uint8_t>& message, bool action,
                      TimePoint deadline) {
    // What is waited for is that the transport takes it.
    if (!wait(lock, room_, deadline, [&] { return over_ || transport_->send(message, action); })) {
        lock.unlock();
        fail(close_code::going_away, "the server has not read for " + seconds_text(request_timeout_) + ", " +
                                         std::to_string(Transport::ring_size) + " messages wait to be sent");
    }
    if (over_) throw_over("");
}

// The server may have ended the connection while this process was stopped or busy. What is sent then would be lost without a
// word: better to wait until the transport has read why.
void Connection::hear_the_end(std::unique_lock<std::mutex>& lock, TimePoint deadline) {
    if (!over_ && transport_->ended_by_server()) wait(lock, changed_, deadline, [&] { return over_; });
}

void Connection::send_action(std::vector<std::uint8_t>& message) {
    std::unique_lock lock(mutex_);
    const TimePoint deadline = time_after(request_timeout_);
    hear_the_end(lock, deadline);
    send(lock, message, true, deadline);
}

// What a server of the same machine must not have in its memory ends the connection.
template <class Look>
auto Connection::in_its_memory(Look look) {
    try {
        return look();
    } catch (const LoanError&) {
        throw;
    } catch (const std::runtime_error& error) {
        fail(close_code::protocol_error, error.what());
    }
}

std::uint64_t Connection::wait_frame(const std::string& camera, std::uint64_t after, TimePoint deadline) {
    const std::uint64_t newest = in_its_memory([&] { return transport_->wait_frame(camera, after, deadline); });
    std::lock_guard lock(mutex_);
    if (newest == 0 && over_) throw_over("");
    return newest;
}

bool Connection::show(const std::string& camera, CameraInfo& info) {
    {
        const std::lock_guard lock(mutex_);
        if (over_) throw_over("");
    }
    return in_its_memory([&] { return transport_->show(camera, info); });
}

// ---- asking ----

thread_local const Connection::Exchange::Asking* Connection::Exchange::innermost_ = nullptr;

Connection::Exchange::Asking::Asking(const Connection& connection) : on(connection), before(innermost_) {
    on.require_not_asking();
    innermost_ = this;
}

Connection::Exchange::Asking::~Asking() { innermost_ = before; }

void Connection::require_not_asking() const {
    for (const Exchange::Asking* asking = Exchange::innermost_; asking != nullptr; asking = asking->before)
        if (&asking->on == this)
            throw std::logic_error(address_ +
                                   ": this thread waits for an answer already: what is called meanwhile, such as "
                                   "a signal's handler, may send actions, but not ask");
}

Connection::Exchange::Exchange(Connection& connection) : asking_(connection), connection_(connection) {
    std::unique_lock lock(connection.mutex_);
    const std::uint64_t ticket = connection.next_ticket_++;
    connection.wait(lock, connection.changed_, TimePoint::max(),
                    [&] { return connection.over_ || connection.serving_ == ticket; });
    // Those who leave here never get their turn, but nor does anybody else.
    if (connection.over_) connection.throw_over("");
}

Connection::Exchange::~Exchange() {
    std::lock_guard lock(connection_.mutex_);
    if (connection_.answer_ == Answer::here && !connection_.over_)
        connection_.transport_->read_next(-wire::payload_offset(connection_.answer_message_.head) % 16);
    connection_.answer_ = Answer::none_due;
    ++connection_.serving_;
    connection_.changed_.notify_all();
}

wire::Message Connection::Exchange::perform(wire::RequestType type, wire::ResponseType expected) {
    Connection& c = connection_;
    std::unique_lock lock(c.mutex_);
    const Duration timeout = moves_the_robot(type) ? c.reset_timeout_ : c.request_timeout_;
    const TimePoint deadline = time_after(timeout);
    const TimePoint sent_by = std::min(deadline, time_after(c.request_timeout_));
    c.hear_the_end(lock, sent_by);
    c.answer_ = Answer::due;  // before it is sent: the answer may be here at once
    c.send(lock, c.request_, type == wire::RequestType::action, sent_by);
    c.wait(lock, c.changed_, deadline, [&] { return c.over_ || c.answer_ == Answer::here; });
    if (c.over_) c.throw_over(to_string(expected));
    if (c.answer_ != Answer::here) {
        lock.unlock();
        c.fail(close_code::going_away, std::string("the server has not answered ") + to_string(type) + " for " +
                                           seconds_text(timeout) + ", expected " + to_string(expected));
    }
    return c.answer_message_;
}

// ---- what the I/O thread tells ----

bool Connection::message_due() {
    std::lock_guard lock(mutex_);
    return answer_ == Answer::due;
}

void Connection::received(const wire::Message& message, Loan& memory) {
    counters_.bytes_received += message.size();
    std::lock_guard lock(mutex_);
    answer_ = Answer::here;
    answer_message_ = message;
    answer_memory_ = &memory;
    changed_.notify_all();
}

void Connection::sent(bool action) {
    if (action) ++counters_.actions_sent;
    std::lock_guard lock(mutex_);  // nobody is between finding the ring full and waiting
    room_.notify_all();
}

void Connection::over(std::string reason) {
    std::unique_lock lock(mutex_);
    end(lock, std::move(reason));
}

void Connection::ended() {
    std::unique_lock lock(mutex_);
    end(lock, "the network thread ended");
    ended_ = true;
    changed_.notify_all();
}

}  // namespace chiral::client
