#include "server_core.hpp"

#include "session.hpp"

#include <algorithm>
#include <chrono>

namespace chiral {

// Memory of that many actions is kept for the next ones; more of them are allocated anew.
static constexpr std::size_t kKeptActions = 4096;

ServerCore::ServerCore(const ServerOptions& server_options, StatCounters& counters,
                       std::shared_ptr<ObservationSource> observations, std::function<void(Job&)> run_request,
                       std::function<void(Job&)> run_action)
    : options(server_options),
      stats(counters),
      source(std::move(observations)),
      requests(32, std::move(run_request), [](Job&) {}),
      actions(std::clamp<std::size_t>(server_options.max_queued_actions + 1, 32, kKeptActions), std::move(run_action),
              [this](Job& job) { action_done(job); }) {
    used_actions_.reserve(kKeptActions);
}

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
    if (job.action.data.capacity() > 0) {
        const std::lock_guard lock(used_mutex_);
        if (used_actions_.size() < kKeptActions) used_actions_.push_back(std::move(job.action));
    }
    // Half empty, so that the connection is not stopped and started for every action.
    if (actions.pending() <= options.max_queued_actions / 2 && reading_paused_.exchange(false, std::memory_order_seq_cst))
        boost::asio::post(io.get_executor(), PooledHandler(resume_memory_, [this] {
                              if (controller_) controller_->resume();
                          }));
}

Action ServerCore::used_action() {
    const std::lock_guard lock(used_mutex_);
    if (used_actions_.empty()) return {};
    Action action = std::move(used_actions_.back());
    used_actions_.pop_back();
    return action;
}

}  // namespace chiral
