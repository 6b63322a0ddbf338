// SPDX-License-Identifier: Apache-2.0
// Calls the hooks of a PolicyServer: on which thread, under whose lease, and what an exception in one means.
//
// The action thread has what moves the robot (apply_action, step, reset, and who is in control) in order of arrival; the
// request thread what only looks (get_metadata, get_obs); the observers' thread what needs no hook at all. An exception that
// leaves a hook of a client revokes its lease on the spot, on the thread on which it was thrown.
//
// Just before an action reaches its hook, the action thread asks whether the lease still holds, whether the action has waited
// too long, and what the gate says. So nothing that another thread has yet to be told can let an action through. A hook that has
// to wait before it begins asks the first two again, and lets on_action_timeout() pass: see PendingCall.
#pragma once

#include "imaging/transform.hpp"
#include "imaging/want_pool.hpp"
#include "robot/answer_encoder.hpp"
#include "robot/departed.hpp"
#include "robot/hook_thread.hpp"
#include "robot/jobs.hpp"
#include "robot/recycler.hpp"
#include "robot/stat_counters.hpp"
#include "robot/turns.hpp"
#include "robot/watchdog.hpp"

#include <chiral/options.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace chiral {
class PolicyServer;
}

namespace chiral::robot {

class Hooks {
public:
    Hooks(PolicyServer& robot, const ServerOptions& options, StatCounters& stats, std::shared_ptr<ObservationSource> source);

    // ---- threads of conversations ----

    /// Each throws std::bad_alloc, and has then pushed nothing.
    void push(ActionJob&& job) { actions_.push(std::move(job)); }
    void push(RequestJob&& job) { requests_.push(std::move(job)); }
    void push(ObserverJob&& job) { observers_.push(std::move(job)); }
    /// The same, and counts its bytes.
    template <class Queued>
    void push_action(Queued&& job);
    /// The holder has gone: on_disconnect(), in its place among what is queued. Where there is no memory for a place it comes before,
    /// and what this client has left is dropped: it is never lost. Once for each lease. Any thread.
    void departed(const std::shared_ptr<Lease>& lease, const std::string& reason) noexcept;

    bool room_for_actions() const noexcept {
        return actions_.pending() < options_.max_queued_actions &&
               queued_bytes_.load(std::memory_order_seq_cst) < options_.max_queued_action_bytes;
    }
    /// Sends the carrier Notice::room when there is room. False if there is room by now.
    bool wait_for_room(const std::weak_ptr<Carrier>& carrier);
    /// Memory of an action that has been applied, or empty.
    Action used_action() noexcept { return used_actions_.take(); }
    /// Whether the hooks are so far behind that nobody else should be given control.
    bool busy() const noexcept;
    /// Whether so many looks at the sources wait that no stranger should cause another one.
    bool many_looks_wait() const noexcept { return observers_.pending() >= 64; }

    /// What has been made for clients that want something else than the documented observation.
    const imaging::WantPool& pictures() const noexcept { return wants_; }

    // ---- any thread ----

    /// What keeps the server from stopping is named in the log from now on.
    void stopping() noexcept { watchdog_.stopping(); }
    /// Ends the threads after what was pushed before. Not from a hook.
    void join();

private:
    enum class Admission { pass, refused, over };
    class MovingCall;

    template <class, class>
    friend class HookThread;
    void run(ActionJob& job) noexcept;
    void run(RequestJob& job) noexcept;
    void run(ObserverJob& job) noexcept;
    void done(ActionJob&) noexcept;
    void done(RequestJob&) noexcept {}
    void done(ObserverJob&) noexcept {}

    void run(ApplyAction& job) noexcept;
    void run(Step& job) noexcept;
    void run(Reset& job) noexcept;
    void run(Connected& job) noexcept;
    void run(Disconnected& job) noexcept;
    void run(ActionTimeout&) noexcept {}
    void run(Observe& job) noexcept;
    void run(Metadata& job) noexcept;
    void run(ObserverLook& job) noexcept;
    void run(ReportSources& job) noexcept;
    void run(Fulfilled& job) noexcept { job.reply.ready(); }
    void observed(ReplyTicket& ticket) noexcept;
    void make_plain(Observation& observation, imaging::ImageDecoder& decoder);
    void make_sendable(Reply& reply, Lease& lease);
    void run(End&) noexcept {}

    Turns::Turn turn_for(const QueuedAction& job);
    template <class WorthIt>
    Turns::Turn action_turn(WorthIt&& worth_it);
    Turns::Turn request_turn(const ReplyTicket& ticket);
    static bool is_over(const Lease& lease, TimePoint now) noexcept;
    bool is_late(const QueuedAction& job, TimePoint now) const noexcept;
    TimePoint latest(const QueuedAction& job) const noexcept;
    template <class Judge>
    Admission judged(QueuedAction& job, Judge&& judge) noexcept;
    Admission judge(QueuedAction& job, std::string& reason);
    Admission judge_time(QueuedAction& job, TimePoint now, std::string& reason);
    template <class Call>
    Admission execute(QueuedAction& job, const char* hook, std::string& problem, Call&& call) noexcept;
    template <class Words>
    void say(Words&& words) noexcept;
    void say_objection(const char* verdict, std::atomic<std::uint64_t>& counter, const std::string& reason);
    void applied(QueuedAction& job) noexcept;
    void leave(Lease& lease, const std::string& reason) noexcept;
    void leave_before(const Lease& lease) noexcept;
    void call_action_timeout() noexcept;
    void time_out(TimePoint due) noexcept;
    void forget(QueuedAction& job) noexcept;
    template <class Call>
    std::string call(Stage& stage, const char* hook, Lease* lease, Call&& call) noexcept;
    template <class Call>
    bool call_moving(const char* hook, const std::shared_ptr<Lease>& lease, TimePoint latest, std::string& problem,
                     Call&& body) noexcept;

    PolicyServer& robot_;
    const ServerOptions& options_;
    StatCounters& stats_;
    const std::shared_ptr<ObservationSource> source_;

    Recycler<Action> used_actions_;
    std::atomic<std::size_t> queued_bytes_{0};
    std::atomic<bool> waiting_{false};  // somebody, for room
    std::mutex mutex_;
    std::vector<std::weak_ptr<Carrier>> who_waits_;  // guarded by mutex_; several only until who lost control hears of it
    Departed departed_;
    std::string reason_;                 // action thread: of the gate
    std::weak_ptr<Lease> last_applied_;  // action thread: under which the last action was applied

    imaging::WantPool wants_;
    struct {
        imaging::ImageDecoder actions, requests, observers;
    } decoders_;                    // of a thread each
    AnswerEncoder action_encoder_;  // action thread: it tries what the network thread sends
    Stage action_stage_, request_stage_;
    Turns turns_;
    // Last: their threads use what stands above.
    HookThread<RequestJob, Hooks> requests_;
    HookThread<ActionJob, Hooks> actions_;
    HookThread<ObserverJob, Hooks> observers_;
    Watchdog watchdog_;
};

template <class Queued>
void Hooks::push_action(Queued&& job) {
    const std::size_t bytes = job.bytes;
    queued_bytes_.fetch_add(bytes, std::memory_order_seq_cst);
    try {
        actions_.push(ActionJob(std::forward<Queued>(job)));
    } catch (...) {
        queued_bytes_.fetch_sub(bytes, std::memory_order_seq_cst);
        throw;
    }
}

}  // namespace chiral::robot
