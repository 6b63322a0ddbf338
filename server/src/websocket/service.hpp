// SPDX-License-Identifier: Apache-2.0
// What the connections of one port share: the event loop, who is connected, and how much of that is logged.
//
// Thread rule: network thread, unless it says otherwise.
#pragma once

#include "net/link.hpp"
#include "robot/robot.hpp"

#include <boost/asio/io_context.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace chiral::websocket {

/// One connection, whatever it has become.
class Connection {
public:
    virtual ~Connection() = default;
    /// Says goodbye, where there is a way to.
    virtual void shut_down() = 0;
    /// Drops the connection.
    virtual void abort() = 0;
    /// Whether it is nobody yet, or nobody any more: neither in control nor an observer.
    virtual bool stranger() const = 0;
};

class Service {
public:
    explicit Service(robot::Robot& served);

    robot::Robot& robot;           // any thread
    const ServerOptions& options;  // of it
    robot::StatCounters& stats;    // of it
    boost::asio::io_context io{1};

    /// Any thread.
    void log(const std::string& line) const { options.log(line); }
    /// What anybody who reaches the port can cause: a bounded number of lines a second, apart for those who were let in.
    enum class Who { stranger, let_in };
    void log_connection(Who who, const std::string& line);

    /// Keeps the connection alive until it leaves: one that waits for room holds no operation that would.
    void enter(std::shared_ptr<Connection> connection);
    void leave(Connection* connection);
    /// Drops the oldest connection of a stranger if there are too many. False: there is none.
    bool make_room();

    /// Closes all connections, the stubborn ones by force after a while; the event loop then runs out of work.
    void shut_down();
    bool stopping() const noexcept { return stopping_; }
    /// Drops all connections.
    void abort_connections();

private:
    struct Entered {
        std::shared_ptr<Connection> connection;
        std::uint64_t number;
    };
    std::map<Connection*, Entered> connections_;
    std::uint64_t entered_{0};
    struct LoggedLines {
        TimePoint second{};
        std::uint64_t count{0};
    };
    std::array<LoggedLines, 2> logged_;  // of each Who
    bool stopping_{false};
    net::Link::Timer force_{io.get_executor()};
};

}  // namespace chiral::websocket
