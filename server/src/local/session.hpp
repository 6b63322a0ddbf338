// SPDX-License-Identifier: Apache-2.0
// Carries a conversation over one local connection: packets, timers, and what the client holds of the arena. What a client may
// say and is told is the conversation's business.
//
// An observation whose pixels lie in the arena is not copied: the answer says where they lie, and the observation, and with it
// the pin on its slots, is kept here until the client gives it back or goes. The client is trusted with nothing: it can read,
// and the most that it can hold is its own loans.
//
// Thread rule: thread of the service, except notify().
#pragma once

#include "local/answer.hpp"
#include "local/direct_seats.hpp"
#include "net/handler_memory.hpp"
#include "net/local_protocol.hpp"
#include "net/packets.hpp"
#include "robot/conversation.hpp"

#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace chiral::local {

class Service;

class Session final : public robot::Carrier {
public:
    Session(net::Descriptor socket, std::string peer, Service& service);

    /// Waits for the client's hello.
    void start();
    /// Says goodbye, where there is a way to.
    void shut_down();
    void abort();

    // Carrier.
    bool may_lend() const noexcept override { return free_loan().has_value(); }
    void send(robot::Reply& reply) override;
    void close(robot::Cause cause, const std::string& reason) override;
    void read_on() override;
    void wake_at(TimePoint time) override;
    void notify(robot::Notice notice) noexcept override;

private:
    std::shared_ptr<Session> self() { return std::static_pointer_cast<Session>(shared_from_this()); }

    void watch();
    void watch_for_hang_up();
    void watch_process();
    void read();
    bool take_packet();
    void on_hello();
    void welcome(bool direct);
    void admit();
    void on_message(net::PacketBytes rest, TimePoint now);
    void give_back(net::PacketBytes which);
    void wish_for_bell(net::PacketBytes wish);
    std::optional<std::uint32_t> free_loan() const noexcept;
    void write();
    void on_written();
    void refuse(const std::string& why);
    void say_goodbye(std::uint16_t code, const std::string& reason) noexcept;
    void violation(const std::string& reason);
    void expect_end(Duration within);
    void finish(robot::Cause cause, const std::string& why);
    void let_go() noexcept;
    std::string who() const;

    Service& service_;
    const std::string peer_;
    asio::posix::stream_descriptor socket_;
    asio::posix::stream_descriptor process_;  // the client's, where the kernel tells
    asio::steady_timer deadline_;             // of what must end: the handshake, the connection
    asio::steady_timer stalled_;              // of what must go on: an answer that is not taken, a message that does not end
    asio::steady_timer wake_;
    enum class Phase { hello, open, closing, finished } phase_{Phase::hello};
    bool watching_{false};  // for something to read
    bool reading_{false};
    bool hung_up_{false};
    bool writing_{false};

    net::PacketReader reader_;
    std::vector<std::uint8_t> parts_;  // of a message that has not ended
    TimePoint parts_since_{};          // when the first of them came
    robot::RateLimit packets_;

    Answer answer_;
    std::array<std::optional<Observation>, net::kMostLoans> loans_;
    std::optional<DirectSeats::Seat> seat_;  // of a client that reads by itself

    struct {
        net::HandlerMemory read, hang_up, process, write, wake, stalled;
        std::array<net::HandlerMemory, static_cast<std::size_t>(robot::Notice::count_)> notice;
    } memory_;

    std::optional<robot::Present> present_;            // once it has been let in
    std::optional<robot::Conversation> conversation_;  // once it has said hello
};

}  // namespace chiral::local
