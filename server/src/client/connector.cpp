// SPDX-License-Identifier: Apache-2.0
#include "client/connector.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace chiral::client {

namespace {

[[noreturn]] void throw_aborted(const Endpoint& endpoint) {
    throw ConnectionError(endpoint.text() + ": closed by this client while it was connecting");
}

}  // namespace

void Connector::establish(const Endpoint& endpoint, Counters& counters) {
    const TimePoint deadline = time_after(options_.connect_timeout);
    std::string reason;
    for (bool told = false;; told = true) {
        const std::shared_ptr<Connection> attempt = begin_attempt(endpoint, counters);
        const auto failure = attempt->open(std::min(deadline, time_after(options_.request_timeout)));

        std::unique_lock lock(mutex_);
        attempting_.reset();
        if (aborts_ > 0) throw_aborted(endpoint);
        if (!failure) {
            connection_ = attempt;
            return;
        }
        if (failure->final) throw ConnectionError(endpoint.text() + ": " + failure->reason);
        // An attempt that the deadline cut short says less than the one before it.
        if (reason.empty() || Clock::now() < deadline) reason = failure->reason;
        const TimePoint next = std::min(deadline, time_after(options_.retry_interval));
        if (!told) {
            lock.unlock();
            log_("waiting for server at " + endpoint.text() + " (" + failure->reason + ')');
            lock.lock();
        }
        if (aborted_.wait_until(lock, next, [&] { return aborts_ > 0; })) throw_aborted(endpoint);
        if (Clock::now() >= deadline)
            throw ConnectionError(endpoint.text() + ": no connection after " + seconds_text(options_.connect_timeout) +
                                  ": " + reason);
    }
}

std::shared_ptr<Connection> Connector::begin_attempt(const Endpoint& endpoint, Counters& counters) {
    const auto attempt = std::make_shared<Connection>(endpoint, options_, counters);
    std::lock_guard lock(mutex_);
    if (aborts_ > 0) throw_aborted(endpoint);
    attempting_ = attempt;
    return attempt;
}

std::shared_ptr<Connection> Connector::release() {
    std::lock_guard lock(mutex_);
    return std::exchange(connection_, nullptr);
}

std::shared_ptr<Connection> Connector::current() const {
    std::lock_guard lock(mutex_);
    if (!connection_) throw ConnectionError("not connected, expected connect() to be called before");
    return connection_;
}

bool Connector::reads_directly() const {
    std::lock_guard lock(mutex_);
    return connection_ && connection_->reads_directly();
}

bool Connector::connected() const {
    std::lock_guard lock(mutex_);
    return connection_ && !connection_->over();
}

bool Connector::broken() const {
    std::lock_guard lock(mutex_);
    return connection_ && connection_->over();
}

void Connector::abort() {
    std::lock_guard lock(mutex_);
    ++aborts_;
    if (attempting_) attempting_->abort_open();
    aborted_.notify_all();
}

Connector::Abort::~Abort() {
    std::lock_guard lock(connector_.mutex_);
    --connector_.aborts_;
}

}  // namespace chiral::client
