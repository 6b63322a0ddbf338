// SPDX-License-Identifier: Apache-2.0
// One WebSocket client: the one in control, or an observer.
//
// Messages are read all the time, also while a large observation is being written, so that an action behind it is applied at
// once. Requests are answered in the order in which they came, one answer being written at a time. get_obs() is called when
// its turn to be written has come, so an observation is never older than it must be; reset() and step() are queued for the
// action thread on arrival, so that they keep their place among the actions. Reading stops while kReplies requests are
// unanswered, the action queue is full or messages come too fast: the client then feels TCP's back-pressure, and no memory
// grows.
//
// An observer has a seat: a reader of its own. It asks for metadata and observations only, at a bounded rate, reaches no
// hook but get_metadata(), and what it asks for is made on the observers' thread.
//
// Thread rule: network thread, unless it says otherwise.
#pragma once

#include "net/handler_memory.hpp"
#include "net/link.hpp"
#include "robot/action_gate.hpp"
#include "robot/server_core.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/websocket/stream.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace chiral {

/// One answer from request to written. Handed to a hook thread while `running`, the network thread's otherwise.
struct Reply {
    enum class State { queued, running, ready } state{State::queued};
    wire::RequestType type{};
    StepResult result;  // observation, info, and what a step adds
    InfoMap metadata;
    std::string error;  // what the hook threw, if it did
    TimePoint asked_at{};
};

class Session final : public Connection, public std::enable_shared_from_this<Session> {
public:
    using Upgrade = boost::beast::http::request<boost::beast::http::empty_body>;

    /// With a seat it observes; without one it has been given control.
    Session(net::Link link, std::string peer, ServerCore& core, std::unique_ptr<ObservationSource::Seat> seat);

    /// Answers the handshake. A session that is not started gives its link back.
    void start(const Upgrade& request);
    net::Link give_back() { return std::move(stream_.next_layer()); }

    /// Closes with "going away".
    void shut_down() override;
    void abort() override;
    bool stranger() const override { return phase_ == Phase::finished; }
    /// Another client is in control now.
    void lose_control(const std::string& reason);
    /// Reads on after the action queue was full.
    void resume();

    /// Hook threads: nobody waits for an answer any more.
    bool gone() const noexcept { return gone_.load(std::memory_order_relaxed); }
    /// Hook threads, for the reply that they were given.
    Reply& reply(std::size_t index) noexcept { return replies_[index]; }
    /// Hook threads: the reply is filled.
    void reply_ready(std::size_t index);
    /// Hook threads: apply_action() of one of its actions threw.
    void action_failed(std::string reason);
    /// Observers' thread.
    ObservationSource::Seat& seat() noexcept { return *seat_; }

private:
    using Buffers = std::vector<boost::asio::const_buffer>;
    static constexpr std::size_t kReplies = 8;

    void on_accept(boost::beast::error_code error);
    void beat();
    void on_beat();
    void read();
    std::string lost(TimePoint now);
    bool too_many_messages();
    void on_control_frame(std::size_t bytes);
    void on_read(boost::beast::error_code error);
    void handle_message();
    ActionGate::Verdict judge_action();
    void take_action();
    void take_request();
    void advance();
    void report_gate(ExtraMap& extra);
    void write(Reply& reply);
    void on_write(boost::beast::error_code error, std::size_t bytes);
    void malformed(boost::beast::websocket::close_code code, const std::string& reason);
    /// `orderly`: what the client sent before still counts.
    void close(boost::beast::websocket::close_code code, std::string reason, bool orderly = false);
    /// `in_words`: what was said last is to arrive, so the connection itself ends a little later.
    void finish(const std::string& why, bool orderly, bool in_words = false);
    void hang_up();
    void leave_seat();
    std::string why_ended(boost::beast::error_code error) const;
    std::string who() const;

    ServerCore& core_;
    const bool observes_;
    std::unique_ptr<ObservationSource::Seat> seat_;  // before the replies, which hold what it lends
    std::shared_ptr<Lease> lease_;
    boost::beast::websocket::stream<net::Link, false> stream_;  // no compression: buffers go out as they are
    std::string peer_;
    boost::beast::flat_buffer input_;
    net::Link::Timer close_deadline_;
    net::Link::Timer pause_;  // too many messages
    net::Link::Timer look_;   // an observer waits for its next turn
    net::Link::Timer heartbeat_;
    enum class Phase { handshake, open, closing, finished } phase_{Phase::handshake};
    bool reading_{false};
    bool writing_{false};
    bool pinging_{false};
    bool waiting_to_look_{false};
    std::atomic<bool> gone_{false};

    std::uint64_t acknowledged_{0};  // bytes, by the client's machine
    TimePoint acknowledged_at_{};    // when that was last seen to grow, or nothing was left to acknowledge
    std::uint64_t taken_{0};         // the same, while an answer is being written
    TimePoint taken_at_{};
    std::uint64_t heard_{0};  // bytes received, or messages where the system does not tell
    TimePoint heard_at_{};    // when that was last seen to grow, or the client could not show that it lives
    std::uint64_t messages_read_{0}, control_bytes_{0};
    std::uint64_t messages_known_{0};  // when bytes_known_ had been received
    std::uint64_t bytes_known_{0};
    TimePoint message_began_{};  // at the earliest

    /// So many a second, and a tenth of a second's worth at once.
    struct Allowance {
        TimePoint paid_until{};
        void spend(TimePoint now, Duration each) noexcept { paid_until = std::max(paid_until, now) + each; }
    };
    Allowance messages_, control_frames_;
    const Duration each_message_;
    bool flooding_{false};
    TimePoint next_look_{};

    ActionGate gate_;
    std::string reason_, last_objection_;
    std::int64_t rejected_{0}, clamped_{0};  // since the last observation

    wire::Request request_;
    std::array<Reply, kReplies> replies_;
    std::size_t asked_{0};     // requests so far; the newest reply is at (asked_ - 1) % kReplies
    std::size_t answered_{0};  // answers written so far

    wire::ObservationEncoder encoder_;
    std::vector<std::uint8_t> metadata_message_;
    Buffers gather_;

    net::HandlerMemory read_memory_, write_memory_, beat_memory_, ping_memory_, pause_memory_, look_memory_;
    std::array<net::HandlerMemory, kReplies> reply_memory_;
};

}  // namespace chiral
