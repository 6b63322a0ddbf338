// SPDX-License-Identifier: Apache-2.0
// A robot on a Zenoh network: lets clients in, and hands each what comes under its key.
//
// Ours say hello with a key of their own and are answered in words. A documented client says nothing but requests, under a key
// that everybody uses: its first one takes control, if nobody else has it. Whoever else speaks then cannot be told and is not
// heard. Nor can the one that has lost control be told: unless the last one went by itself, only who asks for something begins,
// and no action of one that goes on as before. As long as a second robot is seen under the same prefix nobody is heard there at all: both would move.
//
// Thread rule: network thread, unless it says otherwise. Zenoh's callbacks hand over to it.
#pragma once

#include "net/handler_memory.hpp"
#include "net/zenoh.hpp"
#include "net/zenoh_keys.hpp"
#include "robot/arrival.hpp"
#include "robot/rate_limit.hpp"
#include "robot/robot.hpp"
#include "zenoh/inbox.hpp"
#include "zenoh/presence.hpp"
#include "zenoh/publications.hpp"
#include "zenoh/sender.hpp"

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace chiral::zenoh {

class Session;

class Service {
    struct Door;

public:
    using Timer =
        boost::asio::basic_waitable_timer<std::chrono::steady_clock, boost::asio::wait_traits<std::chrono::steady_clock>,
                                          boost::asio::io_context::executor_type>;

    /// Opens the session, which listens there, or nowhere if `host` is empty; port 0: at one that is free. Throws
    /// std::system_error if that fails. `io` must outlive it.
    Service(robot::Robot& served, boost::asio::io_context& io, const std::string& host, int port);
    /// After the event loop has ended. Waits for what is being sent.
    ~Service();
    Service(const Service&) = delete;

    robot::Robot& robot;           // any thread
    const ServerOptions& options;  // of it
    const ZenohOptions& zenoh;     // of those
    robot::StatCounters& stats;    // of it
    boost::asio::io_context& io;

    int port() const noexcept { return port_; }
    /// What strangers can cause is said a bounded number of times a second.
    void log(const std::string& line) { options.log(line); }

    /// Declares what the network sees.
    void start();
    /// Ends all sessions, and lets the event loop run out of work when they have been told, or after a while. Again, where
    /// something was thrown in the middle of it.
    void shut_down();
    /// Ends all sessions, at once.
    void abort_sessions() noexcept;

    /// For a session: its own.
    /// Lives until it was ended and has sent what it had.
    Sender& sender(net::ZenohPublisher publisher);
    /// Keeps the service from being gone.
    class Lent {
    public:
        explicit Lent(std::shared_ptr<Door> door);
        Lent(Lent&&) noexcept = default;
        ~Lent();

    private:
        std::shared_ptr<Door> door_;
    };
    /// For as long as Zenoh may read what was handed to it. Takes no lock and no memory.
    Lent lend() { return Lent(door_); }
    /// Its session is over; `went`: by what the client did or left undone, and until then it was in control.
    void leave(const std::string& client, bool went);

private:
    // What callbacks reach, which may come a moment too late.
    struct Door {
        explicit Door(Duration longest_turn) : arrivals(longest_turn, Clock::now()) {}
        std::mutex mutex;           // guards what follows
        Service* service{nullptr};  // null when it is gone
        std::map<std::string, std::shared_ptr<Inbox>, std::less<>> inboxes;
        int hellos{0};       // that wait for the network thread
        bool missed{false};  // a token came or went, for which there was no memory
        TokenChanges client_tokens, robot_tokens;
        bool tokens_told{false};  // the network thread will look at them
        net::HandlerMemory telling_tokens;
        std::atomic<bool> unheard_told{false};  // likewise: nobody subscribes to what documented clients are told
        net::HandlerMemory telling_unheard;
        robot::ArrivalClock arrivals;
        std::atomic<int> lent{0};
    };
    template <class Function>
    static auto on_network_thread(const std::shared_ptr<Door>& door, Function&& function);
    template <class Function>
    static void hand_over(const std::shared_ptr<Door>& door, Function&& function);
    template <class Function>
    static void hand_over(const std::shared_ptr<Door>& door, net::HandlerMemory& memory, Function&& function) noexcept;
    static void on_message(const std::shared_ptr<Door>& door, const net::ZenohSample& sample);
    static void on_token(const std::shared_ptr<Door>& door, TokenChanges Door::*tokens, const net::ZenohSample& sample);
    void watch_tokens();
    void look_at_tokens();
    void look_again() noexcept;
    static void on_unheard(const std::shared_ptr<Door>& door) noexcept;
    static void on_hello(const std::shared_ptr<Door>& door, const net::ZenohSample& sample);
    static void put(const std::shared_ptr<Door>& door, std::string_view client, const net::ZenohSample& sample,
                    const net::ZenohNote& note);

    void hello(const std::string& client, const std::string& text);
    void admit(const std::string& client, const net::ZenohHello& hello);
    void refuse(const std::string& client, std::uint16_t code, const std::string& why);
    void arrived(const std::string& client);
    void documented_arrived();
    bool start(Session& session, const std::string& answers_to);
    void client_token(const std::string& client, bool gone);
    void robot_token(const std::string& other, bool gone);
    void sender_ended(Sender* sender);
    void let_loop_end();
    void beat() noexcept;
    void open(const std::string& host, int port);
    void log_stranger(const std::string& line);

    net::ZenohKeys keys_;
    int port_;
    std::shared_ptr<Door> door_;
    std::map<std::string, std::shared_ptr<Session>> sessions_;  // by client; "" is the documented one
    std::map<Sender*, std::unique_ptr<Sender>> senders_;        // until their threads have ended
    SeenClients present_;                                       // clients of ours
    std::set<std::string> others_;                              // robots under the same prefix
    robot::RateLimit stranger_lines_;
    bool stopping_{false};
    std::optional<std::uint64_t> may_act_first_;  // a documented client: while so many clients have begun
    Timer beat_, force_;
    net::HandlerMemory beat_memory_;
    std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work_;

    std::optional<net::ZenohSession> session_;
    std::vector<net::ZenohDeclaration> token_watches_, declarations_;  // of the session
    std::optional<net::ZenohPublisher> to_documented_;
    std::optional<Publications> publications_;
};

}  // namespace chiral::zenoh
