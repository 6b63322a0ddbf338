// SPDX-License-Identifier: Apache-2.0
// Carries a conversation over one WebSocket: stream, timers, buffers, and whether the other end is still there. What a client
// may say and is told is the conversation's business.
//
// Thread rule: network thread, except notify().
#pragma once

#include "net/handler_memory.hpp"
#include "net/link.hpp"
#include "robot/answer_encoder.hpp"
#include "robot/arrival.hpp"
#include "robot/conversation.hpp"
#include "websocket/liveness.hpp"
#include "websocket/service.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/websocket/stream.hpp>

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace chiral::websocket {

class Session final : public Connection, public robot::Carrier {
public:
    using Upgrade = boost::beast::http::request<boost::beast::http::empty_body>;

    /// With a seat it observes; without one it has to take control before it is started.
    Session(net::Link link, std::string peer, Service& service, std::unique_ptr<robot::ObservationSource::Seat> seat);

    /// False: another client is in control.
    bool take_control(bool take_over) { return conversation_.take_control(take_over); }
    /// Answers the handshake. A session that is not started gives its link back.
    void start(const Upgrade& request);
    net::Link give_back() { return std::move(stream_.next_layer()); }

    // Connection.
    void shut_down() override;
    void abort() override;
    bool stranger() const override { return phase_ == Phase::closing || phase_ == Phase::finished; }

    // Carrier.
    void send(robot::Reply& reply) override;
    void close(robot::Cause cause, const std::string& reason) override;
    void read_on() override { read(); }
    void wake_at(TimePoint time) override;
    void notify(robot::Notice notice) noexcept override;

private:
    using Buffers = std::vector<boost::asio::const_buffer>;

    std::shared_ptr<Session> self() { return std::static_pointer_cast<Session>(shared_from_this()); }

    void on_accept(boost::beast::error_code error);
    void beat();
    void on_beat();
    void ping();
    void on_control_frame(std::size_t bytes);
    void read();
    void on_read(boost::beast::error_code error);
    TimePoint arrival(TimePoint now);
    std::optional<robot::ArrivalClock::Bytes> counted();  ///< nothing where the system does not tell
    void gather(const robot::Reply& reply);
    void write_fragment();
    void on_write(boost::beast::error_code error, std::size_t bytes);
    /// `in_words`: what was said last is to arrive, so the connection itself ends a little later.
    void finish(robot::Cause cause, const std::string& why, bool in_words = false);
    void hang_up();
    std::string why_ended(boost::beast::error_code error) const;
    std::string who() const;

    Service& service_;
    boost::beast::websocket::stream<net::Link, false> stream_;  // no compression: buffers go out as they are
    const std::string peer_;
    enum class Phase { handshake, open, closing, finished } phase_{Phase::handshake};
    bool reading_{false};
    bool writing_{false};
    bool pinging_{false};
    bool flooding_{false};

    const Duration beat_;
    Liveness liveness_;
    robot::ArrivalClock arrivals_;
    robot::RateLimit control_frames_;
    net::Link::Timer close_deadline_, heartbeat_, wake_;

    boost::beast::flat_buffer input_;
    robot::AnswerEncoder encoder_;
    Buffers gather_;
    net::Unsent unsent_;  // of the answer that is being written

    struct {
        net::HandlerMemory read, write, beat, ping, wake;
        std::array<net::HandlerMemory, static_cast<std::size_t>(robot::Notice::count_)> notice;
    } memory_;

    std::optional<robot::Present> present_;  // once it has been let in
    robot::Conversation conversation_;       // last: it holds what it lends to the buffers
};

}  // namespace chiral::websocket
