// One connection: the HTTP handshake, and then the client in control.
//
// Messages are read all the time, also while a large observation is being written, so that an action behind it is applied at
// once. Requests are answered in the order in which they came, one answer being written at a time. get_obs() is called when
// its turn to be written has come, so an observation is never older than it must be; reset() and step() are queued for the
// action thread on arrival, so that they keep their place among the actions. Reading stops while kReplies requests are
// unanswered or the action queue is full: the client then feels TCP's back-pressure, and no memory grows.
#pragma once

#include "gather_stream.hpp"
#include "handler_memory.hpp"
#include "server_core.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/websocket/stream.hpp>

#include <array>
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
};

class Session : public std::enable_shared_from_this<Session> {
public:
    // The loop's own executor instead of a type-erased one: posting through it does not allocate.
    using Executor = boost::asio::io_context::executor_type;
    using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp, Executor>;

    Session(Socket socket, ServerCore& core);

    void start();
    /// Closes with "going away", or at once while still in the handshake.
    void shut_down();
    /// Drops the connection.
    void abort();
    /// Reads on after the action queue was full.
    void resume();

    /// Hook threads, for the reply that they were given.
    Reply& reply(std::size_t index) noexcept { return replies_[index]; }
    /// Hook threads: the reply is filled.
    void reply_ready(std::size_t index);
    /// Hook threads: apply_action() of one of its actions threw.
    void action_failed(std::string reason);

    const std::string& peer() const noexcept { return peer_; }

private:
    using Buffers = std::vector<boost::asio::const_buffer>;
    static constexpr std::size_t kReplies = 8;

    void on_handshake(boost::beast::error_code error);
    void answer_http(boost::beast::http::status status, const std::string& text);
    void await_hang_up();
    void on_accept(boost::beast::error_code error);
    void read();
    void watch_idle_client(bool watch);
    void watch_stalled_write();
    void on_read(boost::beast::error_code error);
    void handle_message();
    void take_action();
    void take_request();
    void advance();
    void write(const Reply& reply);
    void on_write(boost::beast::error_code error, std::size_t bytes);
    void malformed(boost::beast::websocket::close_code code, const std::string& reason);
    void close(boost::beast::websocket::close_code code, std::string reason);
    void finish(const std::string& why);
    std::string why_ended(boost::beast::error_code error) const;

    ServerCore& core_;
    boost::beast::websocket::stream<GatherStream> stream_;
    std::string peer_;
    boost::beast::flat_buffer input_;
    std::optional<boost::beast::http::request_parser<boost::beast::http::empty_body>> handshake_;
    std::optional<boost::beast::http::response<boost::beast::http::string_body>> http_answer_;
    using Timer = boost::asio::basic_waitable_timer<std::chrono::steady_clock,
                                                    boost::asio::wait_traits<std::chrono::steady_clock>, Executor>;
    Timer close_deadline_;
    Timer stalled_;  // the answer being written is not taken, and nothing is read meanwhile
    enum class Phase { handshake, open, closing, finished } phase_{Phase::handshake};
    bool in_control_{false};
    bool reading_{false};
    bool writing_{false};

    wire::Request request_;
    std::array<Reply, kReplies> replies_;
    std::size_t asked_{0};     // requests so far; the newest reply is at (asked_ - 1) % kReplies
    std::size_t answered_{0};  // answers written so far

    wire::ObservationEncoder encoder_;
    std::vector<std::uint8_t> metadata_message_;
    Buffers gather_;

    HandlerMemory read_memory_, write_memory_;
    std::array<HandlerMemory, kReplies> reply_memory_;
};

}  // namespace chiral
