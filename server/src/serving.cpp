// SPDX-License-Identifier: Apache-2.0
#include "serving.hpp"

#include "local/service.hpp"
#include "net/thread_name.hpp"
#include "websocket/access.hpp"
#include "websocket/front_door.hpp"
#include "zenoh/service.hpp"

#include <boost/asio/post.hpp>

#include <csignal>
#include <utility>

namespace chiral::server {

Serving::Serving(PolicyServer& server, const ServerOptions& options, robot::StatCounters& stats,
                 std::shared_ptr<robot::ObservationSource> source, const local::ArenaFile* arena)
    : robot_(server, options, stats, std::move(source)),
      local_(arena ? std::make_unique<local::Service>(robot_, *arena) : nullptr),
      service_(robot_),
      work_(service_.io.get_executor()),
      tls_(websocket::make_tls(options.access)),
      signals_(service_.io),
      listener_(
          service_.io, [this](net::Link::Socket socket) { take(std::move(socket)); }, options.log) {}

// Where it could not begin on one transport, clients of another may have come: they are in control of nothing, and no thread
// has anything left to tell a service that goes.
Serving::~Serving() {
    robot_.stop();
    listener_.close();
    join_hooks();
    zenoh_.reset();  // runs what is left on the event loop, while all that it may refer to is there
}

void Serving::open(const std::string& host, int port) {
    const auto& zenoh = robot_.options.zenoh;
    const bool only = zenoh && zenoh->only;
    if (zenoh)
        zenoh_ =
            std::make_unique<zenoh::Service>(robot_, service_.io, only ? host : zenoh->listen, only ? port : zenoh->port);
    if (!only && !robot_.options.access.local.only) open_websocket(host, port);
    if (local_) local_->open(robot_.options.local_socket);
    if (zenoh_) zenoh_->start();
}

void Serving::start() {
    if (local_) local_->start();
}

int Serving::port() const { return listener_.is_open() ? listener_.port() : zenoh_port(); }

int Serving::zenoh_port() const { return zenoh_ ? zenoh_->port() : 0; }

void Serving::open_websocket(const std::string& host, int port) {
    listener_.open(host, port);
    for (const auto& endpoint : listener_.endpoints())
        if (const std::string warning = websocket::warning_if_open_to_all(robot_.options.access, endpoint); !warning.empty())
            robot_.options.log(warning);
    listener_.start();
}

void Serving::stop_on_signals() {
    signals_.add(SIGINT);
    signals_.add(SIGTERM);
    signals_.async_wait([this](boost::system::error_code error, int) {
        if (!error) shut_down();
    });
}

void Serving::take(net::Link::Socket socket) {
    if (!service_.make_room()) return robot::count(robot_.stats.refused);  // closed with its socket
    const auto door = std::make_shared<websocket::FrontDoor>(std::move(socket), service_, tls_.get());
    try {
        door->start();
    } catch (const std::exception&) {
        door->abort();  // it may have entered already, and would stay, with nobody to hear it
        throw;
    }
}

void Serving::join_hooks() {
    if (local_) {
        local_->stop();
        local_->join();
    }
    robot_.hooks.join();
}

void Serving::shut_down() {
    stopped_ = true;
    if (local_) local_->stop();
    work_.reset();
    boost::system::error_code ignored;  // nothing to do about a failure on the way out
    listener_.close();
    signals_.cancel(ignored);
    signals_.clear(ignored);  // a second Ctrl-C ends the process at once
    service_.shut_down();
    if (zenoh_) zenoh_->shut_down();
}

void Serving::stop() noexcept {
    robot_.stop();
    if (stopped_.exchange(true)) return;
    boost::asio::post(service_.io.get_executor(), net::PooledHandler(stop_memory_, [this] { shut_down(); }));
}

void Serving::loop() {
    for (;;) {
        try {
            service_.io.run();
            return;
        } catch (const std::exception& error) {
            recover(error);
        }
    }
}

// Only memory can be short here. Nobody knows what the handler that threw left undone: the connections are lost, what was
// queued reaches no hook, and the service goes on.
void Serving::recover(const std::exception& error) noexcept {
    // Each whatever becomes of the others.
    if (zenoh_) zenoh_->abort_sessions();
    try {
        service_.abort_connections();
    } catch (const std::exception&) {  // the rest goes when the next one throws, or with their deadlines
    }
    try {
        robot_.options.log(std::string("error on the network thread, all connections dropped: ") + error.what());
    } catch (const std::exception&) {  // no memory for words either
    }
    // A shutdown that was cut short goes on: what it has done it does not do again.
    if (!stopped_.load() || std::exchange(resuming_, true)) return;
    boost::asio::post(service_.io.get_executor(), net::PooledHandler(resume_memory_, [this] {
                          resuming_ = false;
                          shut_down();
                      }));
}

}  // namespace chiral::server
