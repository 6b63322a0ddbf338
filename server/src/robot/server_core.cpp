// SPDX-License-Identifier: Apache-2.0
#include "robot/server_core.hpp"

#include "websocket/session.hpp"

#include <algorithm>
#include <chrono>

namespace chiral {

// For how many actions there is memory from the start; more of them, where the options allow that, are allocated.
static std::size_t prepared_actions(const ServerOptions& options) {
    return std::clamp<std::size_t>(options.max_queued_actions, 32, 4096) + 2;
}

ServerCore::ServerCore(const ServerOptions& server_options, StatCounters& counters,
                       std::shared_ptr<ObservationSource> observations, HookCalls& hooks)
    : options(server_options),
      stats(counters),
      source(std::move(observations)),
      hooks_(hooks),
      used_actions_(prepared_actions(server_options), 0, 1),  // one thread returns them, with no token
      action_age_(io.get_executor()),
      requests(
          32, [&hooks](Job& job) { hooks.run_request(job); }, [](Job&) {}),
      actions(
          prepared_actions(server_options),
          [this, &hooks](Job& job) {
              hooks.run_action(job);
              // While the job still counts as pending: whoever takes its place finds its memory.
              if (job.action.data.capacity() > 0) used_actions_.try_enqueue(std::move(job.action));
          },
          [this](Job& job) { action_done(job); }),
      observers(
          32, [&hooks](Job& job) { hooks.run_observer(job); }, [](Job&) {}) {}

void ServerCore::enter(std::shared_ptr<Connection> connection) {
    Connection* key = connection.get();
    connections_.emplace(key, Entered{std::move(connection), entered_++});
}

void ServerCore::leave(Connection* connection) {
    connections_.erase(connection);
    if (stopping_ && connections_.empty()) force_.cancel();
}

bool ServerCore::make_room() {
    if (connections_.size() < options.max_connections) return true;
    std::shared_ptr<Connection> oldest;
    std::uint64_t number = entered_;
    for (const auto& [key, entered] : connections_)
        if (entered.number < number && entered.connection->stranger()) {
            oldest = entered.connection;
            number = entered.number;
        }
    if (oldest) oldest->abort();
    return oldest != nullptr;
}

bool ServerCore::busy() const noexcept {
    constexpr std::size_t most_requests = 16, most_beside_actions = 64;
    return requests.pending() > most_requests || actions.pending() > options.max_queued_actions + most_beside_actions;
}

void ServerCore::log_connection(Who who, const std::string& line) {
    constexpr std::uint64_t most = 100;
    LoggedLines& logged = logged_[static_cast<std::size_t>(who)];
    const TimePoint now = Clock::now();
    if (now - logged.second >= std::chrono::seconds(1)) {
        if (logged.count > most)
            log("left out " + std::to_string(logged.count - most) + " lines on connections that came and went");
        logged = {now, 0};
    }
    if (++logged.count <= most) log(line);
}

void ServerCore::shut_down() {
    if (stopping_) return;
    stopping_ = true;
    revoke_former_leases();
    const auto open = connections_;  // they leave while we go through them
    for (const auto& [key, entered] : open) entered.connection->shut_down();
    if (connections_.empty()) return;
    force_.expires_after(std::chrono::seconds(2));
    force_.async_wait([this](boost::system::error_code error) {
        if (!error) abort_connections();
    });
}

void ServerCore::abort_connections() {
    const auto open = connections_;
    for (const auto& [key, entered] : open) entered.connection->abort();
}

// ---- control ----

bool ServerCore::take_control(Session* session, bool take_over) {
    if (take_over) revoke_former_leases();
    if (controller_ && controller_ != session) {
        if (!take_over) return false;
        controller_->lose_control("another client has taken over");
    }
    controller_ = session;
    return true;
}

std::shared_ptr<Lease> ServerCore::begin_lease(const std::string& peer) {
    lease_ = std::make_shared<Lease>();
    Job job;
    job.task = [this, peer] { hooks_.connected(peer); };
    actions.push(std::move(job));
    return lease_;
}

void ServerCore::end_lease(Session* session, const std::string& reason, bool orderly) {
    if (controller_ != session) return;
    controller_ = nullptr;
    if (!lease_) return;  // it never got as far as that
    if (!orderly) lease_->revoked.store(true, std::memory_order_release);
    std::erase_if(former_leases_, [](const std::weak_ptr<Lease>& lease) { return lease.expired(); });
    if (orderly) former_leases_.push_back(lease_);
    lease_.reset();
    watching_action_age_ = false;
    action_age_.cancel();
    Job job;
    job.task = [this, reason] { hooks_.disconnected(reason); };
    actions.push(std::move(job));
}

void ServerCore::revoke_former_leases() {
    for (const std::weak_ptr<Lease>& former : former_leases_)
        if (const auto lease = former.lock()) lease->revoked.store(true, std::memory_order_release);
}

void ServerCore::action_arrived(TimePoint now) {
    last_action_ = now;
    if (watching_action_age_ || options.action_timeout <= Duration::zero()) return;
    watching_action_age_ = true;
    watch_action_age(now + options.action_timeout);
}

// One timer that is late by design, instead of one that every action sets anew.
void ServerCore::watch_action_age(TimePoint deadline) {
    action_age_.expires_at(deadline);
    action_age_.async_wait(net::PooledHandler(watch_memory_, [this, lease = lease_](boost::system::error_code error) {
        if (error || lease != lease_) return;
        const TimePoint now = Clock::now();
        const TimePoint due = last_action_ + options.action_timeout;
        if (now < due) return watch_action_age(due);
        // Actions wait for the robot, in the queue or because it is full: it is not the client who is late.
        if (reading_paused_.load(std::memory_order_relaxed) || waiting_moves_.load(std::memory_order_relaxed) > 0)
            return watch_action_age(now + options.action_timeout);
        watching_action_age_ = false;
        Job job;
        job.task = [this, due] {
            keep_longest(stats.longest_timeout_delay_ns, Clock::now() - due);
            count(stats.action_timeouts);
            hooks_.action_timeout();
        };
        actions.push(std::move(job));
    }));
}

// ---- actions ----

void ServerCore::queue_action(Job&& job) {
    if (job.moves) waiting_moves_.fetch_add(1, std::memory_order_relaxed);
    actions.push(std::move(job));
}

bool ServerCore::wait_for_room() {
    // The flag and the count are sequentially consistent: either action_done() sees the flag, or we see the room.
    reading_paused_.store(true, std::memory_order_seq_cst);
    if (!room_for_actions()) return true;
    reading_paused_.store(false, std::memory_order_seq_cst);
    return false;
}

void ServerCore::action_done(Job& job) {
    if (job.moves) waiting_moves_.fetch_sub(1, std::memory_order_relaxed);
    // Half empty, so that the connection is not stopped and started for every action.
    if (actions.pending() <= options.max_queued_actions / 2 && reading_paused_.exchange(false, std::memory_order_seq_cst))
        boost::asio::post(io.get_executor(), net::PooledHandler(resume_memory_, [this] {
                              if (controller_) controller_->resume();
                          }));
}

Action ServerCore::used_action() {
    Action action;
    used_actions_.try_dequeue(action);
    return action;
}

}  // namespace chiral
