// SPDX-License-Identifier: Apache-2.0
// The port: listens on every address that a host name has, and hands over each connection that comes.
//
// It never goes deaf. Waiting for the next connection needs no memory; a connection that cannot be taken, for want of memory
// or because taking it throws, is closed, and the next one is waited for. Where the system has no descriptors or memory left
// it tries again a little later.
//
// Thread rule: that of the event loop, or before it runs.
#pragma once

#include "net/handler_memory.hpp"
#include "net/link.hpp"

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace chiral::websocket {

class Listener {
public:
    using Endpoint = boost::asio::ip::tcp::endpoint;
    using Take = std::function<void(net::Link::Socket)>;
    using LogLine = std::function<void(const std::string&)>;

    /// `take` gets every connection; what it throws is logged, and the connection is closed. `log` must not throw.
    Listener(boost::asio::io_context& io, Take take, LogLine log);
    ~Listener();

    /// Listens on all addresses of a host; port 0: on one that is free at all of them. An address that this machine does not
    /// have (no IPv6) is left out if there are others. Throws std::system_error.
    void open(const std::string& host, int port);
    /// The same for addresses: their ports do not matter.
    void open(const std::vector<Endpoint>& addresses, int port);
    /// What it listens on.
    std::vector<Endpoint> endpoints() const;
    int port() const;
    bool is_open() const noexcept { return !doors_.empty() && !closed_; }

    /// Begins to take connections.
    void start();
    void close() noexcept;

private:
    struct Door;

    bool bind_all(const std::vector<Endpoint>& addresses, int port, boost::system::error_code& error);
    void wait(Door& door) noexcept;
    void pause(Door& door) noexcept;
    void on_ready(Door& door) noexcept;
    void say_failing(Door& door, const char* why) noexcept;
    bool take_next(Door& door);

    boost::asio::io_context& io_;
    Take take_;
    LogLine log_;
    std::vector<std::unique_ptr<Door>> doors_;
    bool closed_{false};
};

}  // namespace chiral::websocket
