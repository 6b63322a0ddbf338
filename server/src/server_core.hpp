// What the sessions of one serving server share: the event loop, the hook threads, who is in control, and the counters.
//
// Everything is used on the network thread only, unless it says otherwise.
#pragma once

#include "handler_memory.hpp"
#include "hook_threads.hpp"
#include "observation_source.hpp"

#include <chiral/server.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <atomic>
#include <map>
#include <memory>
#include <string>

namespace chiral {

/// ServerStats, as it is counted. Any thread.
struct StatCounters {
    std::atomic<std::uint64_t> connections{0}, refused{0}, observations{0}, bytes_sent{0}, actions_received{0},
        actions_applied{0}, protocol_errors{0}, hook_errors{0}, update_errors{0};
};

inline void count(std::atomic<std::uint64_t>& counter, std::uint64_t by = 1) noexcept {
    counter.fetch_add(by, std::memory_order_relaxed);
}

class ServerCore {
public:
    ServerCore(const ServerOptions& server_options, StatCounters& counters, std::shared_ptr<ObservationSource> observations,
               std::function<void(Job&)> run_request, std::function<void(Job&)> run_action);

    const ServerOptions& options;
    StatCounters& stats;  // any thread
    std::shared_ptr<ObservationSource> source;
    boost::asio::io_context io{1};

    /// Any thread.
    void log(const std::string& line) const { options.log(line); }

    // ---- sessions ----

    /// Keeps the session alive until it leaves: one that waits for room holds no operation that would.
    void enter(std::shared_ptr<Session> session);
    void leave(Session* session);
    /// Makes a session the one that is served. False while there is another one.
    bool take_control(Session* session);

    /// Closes all sessions, the stubborn ones by force after a while; the event loop then runs out of work.
    void shut_down();
    bool stopping() const noexcept { return stopping_; }
    /// Drops all connections.
    void abort_sessions();

    // ---- actions ----

    bool room_for_actions() const noexcept { return actions.pending() < options.max_queued_actions; }
    /// Asks for Session::resume() of the session in control when there is room. False if there is room by now.
    bool wait_for_room();
    /// Action thread: a job is done.
    void action_done(Job& job);
    /// Memory of an action that has been applied, or empty.
    Action used_action();

private:
    std::map<Session*, std::shared_ptr<Session>> sessions_;
    Session* controller_{nullptr};
    bool stopping_{false};
    boost::asio::steady_timer force_{io};
    std::atomic<bool> reading_paused_{false};
    HandlerMemory resume_memory_;  // one resumption at a time: the next one follows the next pause
    moodycamel::ConcurrentQueue<Action> used_actions_;

public:
    // Last: their threads use what stands above.
    HookThread requests;
    HookThread actions;
};

}  // namespace chiral
