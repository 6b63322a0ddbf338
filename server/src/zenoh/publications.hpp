// SPDX-License-Identifier: Apache-2.0
// What a robot tells whoever subscribes, asked or not: observations at a rate, and figures once a second.
//
// On a thread of its own, and for nobody in particular: where a network does not keep up, what does not fit is lost. Nothing is
// made while nobody has subscribed.
//
// Thread rule: constructed and destroyed by one thread.
#pragma once

#include "net/zenoh.hpp"
#include "net/zenoh_keys.hpp"
#include "robot/robot.hpp"

#include <chiral/wire.hpp>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace chiral::zenoh {

class Publications {
public:
    /// Takes one of the seats for observers if there is to be a stream. Throws std::system_error if all are taken.
    Publications(robot::Robot& robot, const net::ZenohSession& session, const net::ZenohKeys& keys);
    /// Waits for what is being sent.
    ~Publications();
    Publications(const Publications&) = delete;

private:
    void work();
    void say_lost(const char* why) noexcept;
    void publish_observation();
    void publish_figures();

    robot::Robot& robot_;
    const net::ZenohSession& session_;
    const net::ZenohKeys keys_;
    const std::optional<net::ZenohPublisher> stream_;
    const std::optional<net::ZenohPublisher> figures_;  // of all, to know whether anybody wants them
    std::map<std::string, net::ZenohPublisher> each_;   // by name
    std::unique_ptr<robot::ObservationSource::Seat> seat_;
    wire::ObservationEncoder encoder_;

    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    bool ending_{false};
    bool sending_{false};  // an observation, whose pixels are lent
    std::thread thread_;
};

}  // namespace chiral::zenoh
