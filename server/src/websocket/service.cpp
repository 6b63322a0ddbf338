// SPDX-License-Identifier: Apache-2.0
#include "websocket/service.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <system_error>

namespace chiral::websocket {

Service::Service(robot::Robot& served) : robot(served), options(served.options), stats(served.stats) {}

void Service::enter(std::shared_ptr<Connection> connection) {
    Connection* key = connection.get();
    connections_.emplace(key, Entered{std::move(connection), entered_++});
}

void Service::leave(Connection* connection) {
    connections_.erase(connection);
    if (stopping_ && connections_.empty()) force_.cancel();
}

bool Service::make_room() {
    if (connections_.size() < options.max_connections) return true;
    std::shared_ptr<Connection> oldest;
    std::uint64_t number = entered_;
    for (const auto& [key, entered] : connections_)
        if (entered.number < number && entered.connection->stranger()) {
            oldest = entered.connection;
            number = entered.number;
        }
    if (oldest) oldest->abort();
    return oldest != nullptr;
}

void Service::log_connection(Who who, const std::string& line) {
    constexpr std::uint64_t most = 100;
    LoggedLines& logged = logged_[static_cast<std::size_t>(who)];
    const TimePoint now = Clock::now();
    if (now - logged.second >= std::chrono::seconds(1)) {
        if (logged.count > most)
            log("left out " + std::to_string(logged.count - most) + " lines on connections that came and went");
        logged = {now, 0};
    }
    if (++logged.count <= most) log(line);
}

void Service::shut_down() {
    if (stopping_) return;
    stopping_ = true;
    robot.stop();
    const auto open = connections_;  // they leave while we go through them
    for (const auto& [key, entered] : open) entered.connection->shut_down();
    if (connections_.empty()) return;
    force_.expires_after(std::chrono::seconds(2));
    force_.async_wait([this](boost::system::error_code error) {
        if (!error) abort_connections();
    });
}

void Service::abort_connections() {
    // They leave as they are dropped. Without memory for a list of them: that is when this is called.
    for (std::size_t left = connections_.size(); left > 0 && !connections_.empty(); --left) {
        const std::shared_ptr<Connection> first = connections_.begin()->second.connection;
        first->abort();
        leave(first.get());
    }
}

}  // namespace chiral::websocket
