// SPDX-License-Identifier: Apache-2.0
#include "robot/hooks.hpp"

#include "robot/hook_call.hpp"

#include <chiral/pending_call.hpp>
#include <chiral/server.hpp>

#include <algorithm>
#include <bit>
#include <chrono>
#include <exception>
#include <new>
#include <utility>

namespace chiral::robot {
namespace {

// For how many actions there is memory from the start; more of them, where the options allow that, are allocated.
std::size_t prepared_actions(const ServerOptions& options) {
    return std::clamp<std::size_t>(options.max_queued_actions, 32, 4096) + 2;
}

// What is larger goes back to the system: seldom sent, it would be held for ever.
constexpr std::size_t kMostKept = 16 * 1024;

// Fits into a string without memory.
constexpr const char* kNoMemory = "no memory";

std::string in_words(std::string_view text) noexcept {
    try {
        return std::string(text);
    } catch (const std::bad_alloc&) {
        return kNoMemory;
    }
}

std::string milliseconds(Duration duration) {
    return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()) + " ms";
}

}  // namespace

/// What a hook that moves the robot may ask while it waits to begin, and what it may keep.
class Hooks::MovingCall final : public PendingCall {
public:
    MovingCall(const std::shared_ptr<Lease>& lease, TimePoint latest) noexcept : lease_(lease), latest_(latest) {}
    bool counts() const noexcept override {
        const TimePoint now = Clock::now();
        return lease_->holds(now) && now <= latest_;
    }
    std::function<void(std::string_view)> ender() const override {
        return [of = std::weak_ptr<Lease>(lease_)](std::string_view reason) {
            if (const auto lease = of.lock()) lease->revoke(Cause::hook_failed, reason);
        };
    }

private:
    const std::shared_ptr<Lease>& lease_;  // the job's
    const TimePoint latest_;               // when it may begin
};

Hooks::Hooks(PolicyServer& robot, const ServerOptions& options, StatCounters& stats,
             std::shared_ptr<ObservationSource> source)
    : robot_(robot),
      options_(options),
      stats_(stats),
      source_(std::move(source)),
      used_actions_(std::min<std::size_t>(prepared_actions(options), 64)),
      wants_(options.wants.threads, options.wants.max_kept_bytes,
             [&engine = source_->engine()](const std::uint8_t* pixels) { return engine.holds(pixels); }),
      turns_(options.hooks_one_at_a_time),
      requests_(32, "chiral-requests", *this),
      actions_(prepared_actions(options), "chiral-actions", *this),
      observers_(32, "chiral-observer", *this),
      watchdog_(
          action_stage_, request_stage_, [this] { actions_.push(ActionTimeout{}); }, options.log) {}

void Hooks::join() {
    requests_.join();
    actions_.join();
    observers_.join();
    wants_.join();
    observers_.do_the_rest();
    watchdog_.join();
}

bool Hooks::busy() const noexcept {
    constexpr std::size_t most_requests = 16, most_beside_actions = 64;
    const std::size_t actions = actions_.pending();
    return requests_.pending() > most_requests ||
           (actions > most_beside_actions && actions - most_beside_actions > options_.max_queued_actions);
}

bool Hooks::wait_for_room(const std::weak_ptr<Carrier>& carrier) {
    const auto gone_or_same = [&](const std::weak_ptr<Carrier>& other) {
        return other.expired() || (!other.owner_before(carrier) && !carrier.owner_before(other));
    };
    {
        const std::lock_guard lock(mutex_);
        std::erase_if(who_waits_, gone_or_same);
        who_waits_.push_back(carrier);
    }
    // The flag and the counts are sequentially consistent: either done() sees the flag, or we see the room.
    waiting_.store(true, std::memory_order_seq_cst);
    if (!room_for_actions()) return true;
    const std::lock_guard lock(mutex_);
    std::erase_if(who_waits_, gone_or_same);
    if (who_waits_.empty()) waiting_.store(false, std::memory_order_seq_cst);
    return false;
}

void Hooks::done(ActionJob&) noexcept {
    // Half empty, so that the connection is not stopped and started for every action.
    if (actions_.pending() > options_.max_queued_actions / 2 ||
        queued_bytes_.load(std::memory_order_seq_cst) > options_.max_queued_action_bytes / 2 ||
        !waiting_.load(std::memory_order_seq_cst) || !waiting_.exchange(false, std::memory_order_seq_cst))
        return;
    for (;;) {
        std::shared_ptr<Carrier> carrier;
        {
            const std::lock_guard lock(mutex_);
            if (who_waits_.empty()) return;
            carrier = who_waits_.back().lock();
            who_waits_.pop_back();
        }
        if (carrier) carrier->notify(Notice::room);
    }
}

// ---- who has gone ----

void Hooks::departed(const std::shared_ptr<Lease>& lease, const std::string& reason) noexcept {
    try {
        return push(ActionJob(Disconnected{lease, in_words(reason)}));
    } catch (const std::bad_alloc&) {  // no place in the queue
    }
    departed_.add(lease);
    watchdog_.wake();
}

// ---- calling ----

// Calls a hook that moves the robot, which may begin until `latest`. False: it had to wait before it could begin, and has found that
// it should not. While it waits, silence is silence: when the next action is due it does not count for the moment, the robot is
// stopped, and it may go on waiting.
template <class Call>
bool Hooks::call_moving(const char* hook, const std::shared_ptr<Lease>& lease, TimePoint latest, std::string& problem,
                        Call&& body) noexcept {
    const auto begins_by = [&](TimePoint end) {
        const MovingCall pending(lease, end);
        bool begun = true;
        problem = call(action_stage_, hook, lease.get(), [&] {
            try {
                body();
            } catch (const NotCalled&) {
                begun = false;
            }
        });
        return begun;
    };
    const TimePoint due = watchdog_.due();
    if (begins_by(std::min(latest, due))) return true;
    if (Clock::now() <= due) return false;
    watchdog_.disarm();  // once for each silence, whether or not its thread has noticed this one by now
    time_out(due);
    const TimePoint now = Clock::now();
    return !is_over(*lease, now) && now <= latest && begins_by(latest);
}

// ---- action thread ----

void Hooks::run(ActionJob& job) noexcept {
    // Ahead of whatever is queued.
    call_action_timeout();
    departed_.take_each([this](Lease& lease) { leave(lease, kNoMemory); });
    std::visit([this](auto& alternative) { run(alternative); }, job);
}

void Hooks::call_action_timeout() noexcept {
    if (const std::optional<TimePoint> due = watchdog_.take_due()) time_out(*due);
}

void Hooks::time_out(TimePoint due) noexcept {
    const Duration late = Clock::now() - due;
    keep_longest(stats_.longest_timeout_delay_ns, late);
    count(stats_.action_timeouts);
    const std::shared_ptr<Lease> silent = last_applied_.lock();
    call(action_stage_, "on_action_timeout", silent.get(), [&] { robot_.on_action_timeout(); });
    say([&] {
        return "no action came in time: on_action_timeout() was called" +
               (late > options_.action_timeout ? ", " + milliseconds(late) + " late" : std::string());
    });
}

// ---- turns ----

bool Hooks::is_over(const Lease& lease, TimePoint now) noexcept { return !lease.holds(now) || lease.left; }

// When it may still begin.
TimePoint Hooks::latest(const QueuedAction& job) const noexcept {
    return options_.max_action_delay > Duration::zero() ? job.arrived + options_.max_action_delay : TimePoint::max();
}

bool Hooks::is_late(const QueuedAction& job, TimePoint now) const noexcept { return now > latest(job); }

// While a hook of the request thread keeps it waiting, silence is silence.
template <class WorthIt>
Turns::Turn Hooks::action_turn(WorthIt&& worth_it) {
    return turns_.wait(Turns::Side::actions, [&] {
        call_action_timeout();
        return worth_it(Clock::now());
    });
}

// What is over or too late stays so: it is not admitted afterwards, and needs no turn.
Turns::Turn Hooks::turn_for(const QueuedAction& job) {
    return action_turn([&](TimePoint now) { return !is_over(*job.lease, now) && !is_late(job, now); });
}

// ---- actions ----

template <class Judge>
Hooks::Admission Hooks::judged(QueuedAction& job, Judge&& judge) noexcept {
    try {
        return judge();
    } catch (const std::exception& error) {  // no memory to name a reason: nothing is let through unjudged
        job.lease->revoke(Cause::hook_failed, error.what());
        count(stats_.actions_dropped);
        return Admission::over;
    }
}

Hooks::Admission Hooks::judge_time(QueuedAction& job, TimePoint now, std::string& reason) {
    if (is_over(*job.lease, now)) {
        count(stats_.actions_dropped);
        return Admission::over;
    }
    if (is_late(job, now)) {
        reason = "action has waited for " + milliseconds(now - job.arrived) + ", expected at most " +
                 milliseconds(options_.max_action_delay);
        job.lease->report.late(reason);
        say_objection("came too late", stats_.actions_late, reason);
        return Admission::refused;
    }
    return Admission::pass;
}

Hooks::Admission Hooks::judge(QueuedAction& job, std::string& reason) {
    const TimePoint now = Clock::now();
    if (const Admission in_time = judge_time(job, now, reason); in_time != Admission::pass) return in_time;
    const ActionGate::Verdict verdict = job.lease->gate.check(job.action, now, reason);
    if (verdict == ActionGate::Verdict::rejected) {
        job.lease->report.rejected(reason);
        say_objection("rejected", stats_.actions_rejected, reason);
        return Admission::refused;
    }
    if (verdict == ActionGate::Verdict::clamped) {
        job.lease->report.clamped(reason);
        say_objection("clamped", stats_.actions_clamped, reason);
    }
    // Last of all: what ended it meanwhile counts.
    if (!job.lease->holds(now)) {
        count(stats_.actions_dropped);
        return Admission::over;
    }
    stats_.action_latency.record(now - job.arrived);
    return Admission::pass;
}

void Hooks::say_objection(const char* verdict, std::atomic<std::uint64_t>& counter, const std::string& reason) {
    stats_.last_objection.set(reason);
    const std::uint64_t so_far = counter.fetch_add(1, std::memory_order_relaxed) + 1;
    // The 1st, 2nd, 4th, 8th, ...: a policy that errs does so at its full rate.
    if (std::has_single_bit(so_far))
        options_.log(std::string("action ") + verdict + ": " + reason + " (" + std::to_string(so_far) + " so far)");
}

void Hooks::applied(QueuedAction& job) noexcept {
    count(stats_.actions_applied);
    last_applied_ = job.lease;
    if (options_.action_timeout <= Duration::zero()) return;
    job.lease->rate.sent(job.arrived, options_.action_timeout);
    const Duration covered = time_covered(job.action.N, options_.control_rate_hz, options_.gate.max_chunk);
    const Duration silence =
        std::max(options_.action_timeout + covered, job.lease->rate.allowed_silence(options_.action_timeout));
    watchdog_.applied(Clock::now() + silence);
}

// Calls the hook if the action is admitted, and says so: what it had to wait for inside of the hook counts like the queue.
template <class Call>
Hooks::Admission Hooks::execute(QueuedAction& job, const char* hook, std::string& problem, Call&& call) noexcept {
    const Admission admission = judged(job, [&] { return judge(job, reason_); });
    if (admission != Admission::pass) return admission;
    if (call_moving(hook, job.lease, latest(job), problem, call)) {
        applied(job);
        return Admission::pass;
    }
    job.lease->gate.take_back();
    return judged(job, [&] {
        const Admission now = judge_time(job, Clock::now(), reason_);
        if (now != Admission::pass) return now;
        count(stats_.actions_dropped);  // the hook says so itself
        return Admission::over;
    });
}

// Gives back what it holds of the queue. While it still counts as pending: whoever takes its place finds its memory.
void Hooks::forget(QueuedAction& job) noexcept {
    queued_bytes_.fetch_sub(job.bytes, std::memory_order_seq_cst);
    Action action = std::move(job.action);
    if (job.bytes <= kMostKept && action.data.capacity() * sizeof(float) <= kMostKept) used_actions_.give(std::move(action));
}

void Hooks::run(ApplyAction& job) noexcept {
    const Turns::Turn turn = turn_for(job);
    std::string problem;  // has been said
    execute(job, "apply_action", problem, [&] { robot_.apply_action(job.action); });
    forget(job);
}

// Of what moved the robot. What cannot be sent has failed here, ahead of the actions behind it: the network thread would say so only
// when they have run.
void Hooks::make_sendable(Reply& reply, Lease& lease) {
    make_plain(reply.result.obs, decoders_.actions);
    lease.report.write_to(reply.result.obs.extra);
    action_encoder_.encode(reply);
}

void Hooks::run(Step& job) noexcept {
    const Turns::Turn turn = turn_for(job);
    Reply& reply = *job.reply;
    const Admission admission = execute(job, "step", reply.error, [&] {
        reply.result = robot_.step(job.action);
        make_sendable(reply, *job.lease);
    });
    switch (admission) {
        case Admission::over: refuse(reply, "the client is no longer in control"); break;
        case Admission::refused:
            reply.error = call(action_stage_, "make_obs", job.lease.get(), [&] {
                reply.result = StepResult{};
                reply.result.obs = source_->make(0.0);
                reply.result.info.emplace("chiral.action_rejected", reason_);
                make_sendable(reply, *job.lease);
            });
            break;
        case Admission::pass: break;
    }
    forget(job);
    job.reply.ready();
}

void Hooks::run(Reset& job) noexcept {
    const Turns::Turn turn = action_turn([&](TimePoint now) { return !is_over(*job.lease, now); });
    Reply& reply = *job.reply;
    if (is_over(*job.lease, Clock::now())) {
        refuse(reply, "the client is no longer in control");
        return job.reply.ready();
    }
    const bool called = call_moving("reset", job.lease, TimePoint::max(), reply.error, [&] {
        auto [observation, info] = robot_.reset();
        reply.result.obs = std::move(observation);
        reply.result.info = std::move(info);
        make_sendable(reply, *job.lease);
    });
    if (!called) {
        refuse(reply, "the client is no longer in control");
        return job.reply.ready();
    }
    const TimePoint now = Clock::now();
    if (reply.error.empty()) {
        job.lease->gate.forget();  // not before: behind a reset that failed no jump is allowed
        watchdog_.was_reset(now + job.lease->rate.allowed_silence(options_.action_timeout));
    } else if (options_.action_timeout > Duration::zero()) {
        watchdog_.applied(now + options_.action_timeout);  // nobody knows whether it stands
    }
    job.reply.ready();
}

// Whoever has gone before its turn came, and has nothing left to be done, was never met.
void Hooks::run(Connected& job) noexcept {
    leave_before(*job.lease);
    if (job.lease->left || !job.lease->worth_meeting(Clock::now())) return;
    job.lease->met = true;
    const MovingCall pending(job.lease, TimePoint::max());
    call(action_stage_, "on_connect", job.lease.get(), [&] {
        try {
            robot_.on_connect(job.peer);
        } catch (const NotCalled&) {  // its client has gone meanwhile: no failure
        }
    });
}

void Hooks::run(Disconnected& job) noexcept { leave(*job.lease, job.reason); }

// Through other transports the ends of its predecessors may be queued behind this, and so may what they had left to do.
void Hooks::leave_before(const Lease& lease) noexcept {
    if (const std::shared_ptr<Lease> before = lease.before.lock()) leave(*before, in_words("another client has come"));
}

void Hooks::leave(Lease& lease, const std::string& reason) noexcept {
    if (std::exchange(lease.left, true)) return;
    leave_before(lease);
    if (!lease.met) return;
    watchdog_.disarm();  // the hook says that nobody is in control
    const std::string problem = call(action_stage_, "on_disconnect", nullptr, [&] { robot_.on_disconnect(reason); });
    if (problem.empty()) return;
    // At once: nothing else will stop the robot, and where the server stops this thread has no later.
    count(stats_.action_timeouts);
    call(action_stage_, "on_action_timeout", nullptr, [&] { robot_.on_action_timeout(); });
    say([] { return std::string("on_disconnect() failed: on_action_timeout() was called"); });
}

}  // namespace chiral::robot
