// SPDX-License-Identifier: Apache-2.0
#include "client/paced_thread.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <stdexcept>

namespace chiral::client {

void PacedThread::start(double hz, std::function<void()> turn, std::function<void()> ended,
                        const std::function<void()>& prepare) {
    constexpr double fastest = 10000.0;
    if (!(hz > 0.0 && hz <= fastest))
        throw std::invalid_argument("rate of " + what_ + " is " + std::to_string(hz) +
                                    " Hz, expected more than 0 and at most 10000");
    // The slowest rates have a period that does not fit a Duration; a year is as good.
    const std::chrono::duration<double> period(std::min(1.0 / hz, 365.0 * 86400.0));

    std::lock_guard control(control_);
    if (running()) throw std::logic_error(what_ + " runs already, expected it to be stopped");
    if (thread_.joinable()) thread_.join();
    prepare();
    {
        std::lock_guard lock(mutex_);
        stop_ = false;
        error_.reset();
        running_ = true;
    }
    try {
        thread_ = std::thread(
            [this, period = std::chrono::duration_cast<Duration>(period), turn = std::move(turn), ended = std::move(ended)] {
                run(period, turn);
                ended();
            });
    } catch (...) {
        std::lock_guard lock(mutex_);
        running_ = false;
        throw;
    }
}

void PacedThread::run(Duration period, const std::function<void()>& turn) {
    TimePoint next = Clock::now();
    std::unique_lock lock(mutex_);
    while (!stop_) {
        lock.unlock();
        std::optional<std::string> error;
        try {
            turn();
        } catch (const std::exception& exception) {
            error = exception.what();
        } catch (...) {
            error = "an exception that is no std::exception";
        }
        lock.lock();
        if (error) {
            if (!stop_) error_ = std::move(error);
            break;
        }
        next += period;
        const TimePoint now = Clock::now();
        if (next <= now) next += ((now - next) / period + 1) * period;
        stopped_.wait_until(lock, next, [&] { return stop_; });
    }
    running_ = false;
}

void PacedThread::request_stop() {
    std::lock_guard lock(mutex_);
    stop_ = true;
    stopped_.notify_all();
}

void PacedThread::stop() {
    request_stop();
    std::lock_guard control(control_);
    if (thread_.joinable()) thread_.join();
}

bool PacedThread::running() const {
    std::lock_guard lock(mutex_);
    return running_;
}

std::optional<std::string> PacedThread::error() const {
    std::lock_guard lock(mutex_);
    return error_;
}

}  // namespace chiral::client
