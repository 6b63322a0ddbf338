// SPDX-License-Identifier: Apache-2.0
// A server from its open port to its closed one: the robot that all transports share, the WebSocket port, Zenoh, the network
// thread on which these live, and the local socket, which has a thread of its own.
#pragma once

#include "net/handler_memory.hpp"
#include "robot/robot.hpp"
#include "websocket/listener.hpp"
#include "websocket/service.hpp"
#include "websocket/tls.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/signal_set.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <string>
#include <thread>

namespace chiral::local {
class ArenaFile;
class Service;
}  // namespace chiral::local

namespace chiral::zenoh {
class Service;
}

namespace chiral::server {

class Serving {
public:
    /// Throws std::system_error if the files for TLS cannot be used. `arena`: where the sources lie, for clients on the same
    /// machine; null if none may come.
    Serving(PolicyServer& server, const ServerOptions& options, robot::StatCounters& stats,
            std::shared_ptr<robot::ObservationSource> source, const local::ArenaFile* arena);
    ~Serving();

    /// Opens the port, and the local socket. Throws std::system_error if one of them cannot be had. Whoever connects waits until
    /// start() or loop().
    void open(const std::string& host, int port);
    int port() const;
    /// 0 where there is none.
    int zenoh_port() const;
    /// SIGINT and SIGTERM stop it. Before loop().
    void stop_on_signals();

    /// After open(), and before loop(): local clients are served. Throws std::system_error if there is no thread for them.
    void start();
    /// The network thread: returns when it was stopped and all connections are closed.
    void loop();
    /// Any thread, also a hook's: no further action reaches a hook from now on. Then tells the clients, when the network thread
    /// comes to it.
    void stop() noexcept;
    /// After loop(): returns when no other transport is open and no hook runs any more.
    void join_hooks();

    std::thread network;  // of serve(): whoever waits for it takes it

private:
    void open_websocket(const std::string& host, int port);
    void take(net::Link::Socket socket);
    void shut_down();
    void recover(const std::exception& error) noexcept;

    net::HandlerMemory stop_memory_, resume_memory_;
    robot::Robot robot_;
    const std::unique_ptr<local::Service> local_;  // null for none
    websocket::Service service_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type>
        work_;                                   // until shut_down(), also without a port
    const std::unique_ptr<websocket::Tls> tls_;  // null for none; its thread ends before the event loop that it answers to
    boost::asio::signal_set signals_;
    std::atomic<bool> stopped_{false};
    bool resuming_{false};  // a shutdown that was cut short, by a handler in memory of the network thread's own
    std::unique_ptr<zenoh::Service> zenoh_;  // null for none
    websocket::Listener listener_;
};

}  // namespace chiral::server
