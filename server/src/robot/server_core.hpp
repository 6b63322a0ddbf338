// SPDX-License-Identifier: Apache-2.0
// What the connections of one serving server share: the event loop, the threads that work for them, who is in control, and
// the counters.
//
// Everything is used on the network thread only, unless it says otherwise.
#pragma once

#include "net/handler_memory.hpp"
#include "net/link.hpp"
#include "robot/hook_threads.hpp"
#include "robot/latency_histogram.hpp"
#include "robot/observation_source.hpp"

#include <chiral/server.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace chiral {

/// ServerStats, as it is counted. Any thread.
struct StatCounters {
    std::atomic<std::uint64_t> connections{0}, refused{0}, observers{0}, observations{0}, bytes_sent{0}, actions_received{0},
        actions_applied{0}, actions_rejected{0}, actions_clamped{0}, actions_dropped{0}, action_timeouts{0}, half_open{0},
        protocol_errors{0}, hook_errors{0}, update_errors{0};
    std::atomic<std::int64_t> longest_half_open_ns{0}, longest_timeout_delay_ns{0}, round_trip_us{0};
    std::atomic<int> clients{0}, observing{0};  // at present
    LatencyHistogram action_latency;            // from arrival to the call of the hook
    LatencyHistogram answer_latency;            // from request to the end of the answer's write
};

inline void count(std::atomic<std::uint64_t>& counter, std::uint64_t by = 1) noexcept {
    counter.fetch_add(by, std::memory_order_relaxed);
}
inline void keep_longest(std::atomic<std::int64_t>& longest, Duration duration) noexcept {
    std::int64_t known = longest.load(std::memory_order_relaxed);
    while (known < duration.count() && !longest.compare_exchange_weak(known, duration.count(), std::memory_order_relaxed)) {}
}

/// One connection, whatever it has become.
class Connection {
public:
    virtual ~Connection() = default;
    /// Says goodbye, where there is a way to.
    virtual void shut_down() = 0;
    /// Drops the connection.
    virtual void abort() = 0;
    /// Whether it is nobody yet, or nobody any more: neither in control nor an observer.
    virtual bool stranger() const = 0;
};

/// What the server's owner does when asked.
class HookCalls {
public:
    virtual void run_request(Job& job) noexcept = 0;                    // request thread
    virtual void run_action(Job& job) noexcept = 0;                     // action thread
    virtual void run_observer(Job& job) noexcept = 0;                   // observer thread
    virtual void connected(const std::string& peer) noexcept = 0;       // action thread
    virtual void disconnected(const std::string& reason) noexcept = 0;  // action thread
    virtual void action_timeout() noexcept = 0;                         // action thread

protected:
    ~HookCalls() = default;
};

class ServerCore {
public:
    ServerCore(const ServerOptions& server_options, StatCounters& counters, std::shared_ptr<ObservationSource> observations,
               HookCalls& hooks);

    const ServerOptions& options;
    StatCounters& stats;  // any thread
    std::shared_ptr<ObservationSource> source;
    boost::asio::io_context io{1};

    /// Any thread.
    void log(const std::string& line) const { options.log(line); }
    /// What anybody who reaches the port can cause: a bounded number of lines a second, apart for those who were let in.
    enum class Who { stranger, let_in };
    void log_connection(Who who, const std::string& line);

    // ---- connections ----

    /// Keeps the connection alive until it leaves: one that waits for room holds no operation that would.
    void enter(std::shared_ptr<Connection> connection);
    void leave(Connection* connection);
    /// Drops the oldest connection of a stranger if there are too many. False: there is none.
    bool make_room();
    /// Whether the hooks are so far behind that nobody else should be given control.
    bool busy() const noexcept;

    /// Closes all connections, the stubborn ones by force after a while; the event loop then runs out of work.
    void shut_down();
    bool stopping() const noexcept { return stopping_; }
    /// Drops all connections.
    void abort_connections();

    // ---- control ----

    /// Makes a session the one in control: false while there is another one, unless it is to take over.
    bool take_control(Session* session, bool take_over);
    /// The session in control is open: on_connect().
    std::shared_ptr<Lease> begin_lease(const std::string& peer);
    /// It is no longer in control, if it was: on_disconnect(), after what it sent where `orderly`, instead of it where not.
    void end_lease(Session* session, const std::string& reason, bool orderly);
    /// An action has come from the session in control.
    void action_arrived(TimePoint now);

    // ---- actions ----

    /// For the action thread. `moves`: an action that the gate has passed.
    void queue_action(Job&& job);
    bool room_for_actions() const noexcept { return actions.pending() < options.max_queued_actions; }
    /// Asks for Session::resume() of the session in control when there is room. False if there is room by now.
    bool wait_for_room();
    /// Action thread: a job is done.
    void action_done(Job& job);
    /// Memory of an action that has been applied, or empty.
    Action used_action();

    /// What get_metadata() said when it was last asked; observers are not to ask it again and again.
    std::optional<InfoMap> known_metadata;

private:
    void watch_action_age(TimePoint deadline);
    void revoke_former_leases();

    HookCalls& hooks_;
    struct Entered {
        std::shared_ptr<Connection> connection;
        std::uint64_t number;
    };
    std::map<Connection*, Entered> connections_;
    std::uint64_t entered_{0};
    Session* controller_{nullptr};
    std::shared_ptr<Lease> lease_;
    std::vector<std::weak_ptr<Lease>>
        former_leases_;  // of clients that have gone in order: what they sent may still be waiting
    struct LoggedLines {
        TimePoint second{};
        std::uint64_t count{0};
    };
    std::array<LoggedLines, 2> logged_;  // of each Who
    bool stopping_{false};
    boost::asio::steady_timer force_{io};
    std::atomic<bool> reading_paused_{false};
    std::atomic<std::size_t> waiting_moves_{0};  // actions that the gate has passed, in the queue or in the hook
    net::HandlerMemory resume_memory_;           // one resumption at a time: the next one follows the next pause
    moodycamel::ConcurrentQueue<Action> used_actions_;

    net::Link::Timer action_age_;
    TimePoint last_action_{};
    bool watching_action_age_{false};
    net::HandlerMemory watch_memory_;

public:
    // Last: their threads use what stands above.
    HookThread requests;
    HookThread actions;
    HookThread observers;
};

}  // namespace chiral
