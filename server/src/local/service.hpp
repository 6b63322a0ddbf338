// SPDX-License-Identifier: Apache-2.0
// The local socket: who may connect, the sessions that have, and the thread on which they live.
//
// It has an event loop of its own, so that what goes on at the WebSocket port, where a large answer is copied for milliseconds,
// delays no client that was promised microseconds. That is standalone Asio's, and stays inside: no source file can include both
// that and Boost's.
#pragma once

#include "local/arena_file.hpp"
#include "local/bell.hpp"
#include "local/direct_seats.hpp"
#include "net/handler_memory.hpp"
#include "robot/rate_limit.hpp"
#include "robot/robot.hpp"

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include <sys/types.h>

namespace asio {
class io_context;
}

namespace chiral::local {

class Session;

class Service {
    struct Loop;  // what is Asio's
    const std::unique_ptr<Loop> loop_;

public:
    Service(robot::Robot& served, const ArenaFile& file);
    ~Service();

    /// Listens: who connects waits for start(). A socket file that nobody listens at any more is replaced. Throws
    /// std::system_error.
    void open(const std::string& path);
    /// Begins to serve. Throws std::system_error if there is no thread.
    void start();
    /// Any thread: tells the clients, and ends the thread when they have gone or their time is over.
    void stop() noexcept;
    /// Not from a hook: returns when the thread has ended, after stop().
    void join();

    robot::Robot& robot;
    const ArenaFile& arena;
    asio::io_context& io;
    Bell bell;          // thread of the service
    DirectSeats seats;  // likewise

    // Thread of the service:

    /// What anybody who reaches the socket can cause: a bounded number of lines a second.
    void log_connection(const std::string& line);
    void leave(Session* session);
    bool stopping() const noexcept { return stopping_; }

private:
    struct Entered {
        std::shared_ptr<Session> session;
        uid_t user;
    };

    void run();
    void accept() noexcept;
    void accept_later() noexcept;
    void on_acceptable() noexcept;
    void say_failing(const char* why) noexcept;
    bool take_next();
    std::string refusal(uid_t user) const;
    void shut_down();
    void abort_sessions();
    void close_socket() noexcept;

    std::string path_;
    struct {
        dev_t device{0};
        ino_t number{0};
    } file_;  // which the socket file is
    std::map<Session*, Entered> sessions_;
    robot::RateLimit log_lines_{std::chrono::milliseconds(10), std::chrono::seconds(1)};
    bool failing_{false};  // the last attempt to accept has, and that was said
    bool stopping_{false};
    std::atomic<bool> stop_asked_{false};
    net::HandlerMemory stop_memory_, accept_memory_, again_memory_;
    std::thread thread_;
};

}  // namespace chiral::local
