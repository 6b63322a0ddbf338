#include "server_core.hpp"

#include "session.hpp"

#include <algorithm>
#include <chrono>

namespace chiral {

// For how many actions there is memory from the start; more of them, where the options allow that, are allocated.
static std::size_t prepared_actions(const ServerOptions& options) {
    return std::clamp<std::size_t>(options.max_queued_actions, 32, 4096) + 2;
}

ServerCore::ServerCore(const ServerOptions& server_options, StatCounters& counters,
                       std::shared_ptr<ObservationSource> observations, std::function<void(Job&)> run_request,
                       std::function<void(Job&)> run_action)
    : options(server_options),
      stats(counters),
      source(std::move(observations)),
      used_actions_(prepared_actions(server_options), 0, 1),  // one thread returns them, with no token
      requests(32, std::move(run_request), [](Job&) {}),
      actions(prepared_actions(server_options), std::move(run_action), [this](Job& job) { action_done(job); }) {}

void ServerCore::enter(std::shared_ptr<Session> session) {
    Session* key = session.get();
    sessions_.emplace(key, std::move(session));
}

void ServerCore::leave(Session* session) {
    if (controller_ == session) controller_ = nullptr;
    sessions_.erase(session);
    if (stopping_ && sessions_.empty()) force_.cancel();
}

bool ServerCore::take_control(Session* session) {
    if (controller_ && controller_ != session) return false;
    controller_ = session;
    return true;
}

void ServerCore::shut_down() {
    if (stopping_) return;
    stopping_ = true;
    const auto open = sessions_;  // they leave while we go through them
    for (const auto& [key, session] : open) session->shut_down();
    if (sessions_.empty()) return;
    force_.expires_after(std::chrono::seconds(2));
    force_.async_wait([this](boost::system::error_code error) {
        if (!error) abort_sessions();
    });
}

void ServerCore::abort_sessions() {
    const auto open = sessions_;
    for (const auto& [key, session] : open) session->abort();
}

bool ServerCore::wait_for_room() {
    // The flag and the count are sequentially consistent: either action_done() sees the flag, or we see the room.
    reading_paused_.store(true, std::memory_order_seq_cst);
    if (!room_for_actions()) return true;
    reading_paused_.store(false, std::memory_order_seq_cst);
    return false;
}

void ServerCore::action_done(Job& job) {
    if (job.action.data.capacity() > 0) used_actions_.try_enqueue(std::move(job.action));
    // Half empty, so that the connection is not stopped and started for every action.
    if (actions.pending() <= options.max_queued_actions / 2 && reading_paused_.exchange(false, std::memory_order_seq_cst))
        boost::asio::post(io.get_executor(), PooledHandler(resume_memory_, [this] {
                              if (controller_) controller_->resume();
                          }));
}

Action ServerCore::used_action() {
    Action action;
    used_actions_.try_dequeue(action);
    return action;
}

}  // namespace chiral
