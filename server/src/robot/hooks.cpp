// SPDX-License-Identifier: Apache-2.0
#include "robot/hooks.hpp"

#include "imaging/plain.hpp"

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

std::string milliseconds(Duration duration) {
    return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()) + " ms";
}

// Why there is no answer: in a word, if there is no memory for more.
void refuse(Reply& reply, const char* why) noexcept {
    try {
        reply.error = why;
    } catch (const std::exception&) {
        reply.error = "no memory";
    }
}

/// For the pool that makes what is wanted of it.
class WaitingReply final : public imaging::Customer {
public:
    WaitingReply(ReplyTicket ticket, Hooks& hooks) noexcept : ticket_(std::move(ticket)), hooks_(hooks) {}
    bool gone() const noexcept override { return ticket_.unwanted(); }
    void made(std::string problem) noexcept override {
        ticket_->error = std::move(problem);
        try {
            hooks_.push(ObserverJob(Fulfilled{ticket_}));
        } catch (const std::bad_alloc&) {
            ticket_.ready();
        }
    }

private:
    ReplyTicket ticket_;
    Hooks& hooks_;
};

}  // namespace

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

// ---- calling ----

// For the log, from where nothing may be thrown: left out if there is no memory for the words.
template <class Words>
void Hooks::say(Words&& words) noexcept {
    try {
        options_.log(words());
    } catch (const std::exception&) {  // what they are about has been done, and counted
    }
}

// What an exception that leaves a hook means: it is counted, the lease ends here and now, then it is said. Returns its text, or
// nothing.
template <class Call>
std::string Hooks::call(Stage& stage, const char* hook, Lease* lease, Call&& call) noexcept {
    std::string problem;
    const auto failed = [&](const char* how, const char* what) noexcept {
        stage.leave();
        try {
            problem = std::string(hook) + "() failed" + how + what;
        } catch (const std::exception&) {
            problem = "a hook failed";  // fits without memory
        }
        count(stats_.hook_errors);  // before anybody can be told of it
        if (lease) lease->revoke(Cause::hook_failed, problem);
    };
    stage.enter(hook);
    try {
        call();
        stage.leave();
        return problem;
    } catch (const std::exception& error) {
        failed(": ", error.what());
    } catch (...) {
        failed(" with an unknown exception", "");
    }
    say([&] { return problem; });
    return problem;
}

// ---- action thread ----

void Hooks::run(ActionJob& job) noexcept {
    call_action_timeout();  // ahead of whatever is queued
    std::visit([this](auto& alternative) { run(alternative); }, job);
}

void Hooks::call_action_timeout() noexcept {
    const std::optional<TimePoint> due = watchdog_.take_due();
    if (!due) return;
    const Duration late = Clock::now() - *due;
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

bool Hooks::is_late(const QueuedAction& job, TimePoint now) const noexcept {
    return options_.max_action_delay > Duration::zero() && now - job.arrived > options_.max_action_delay;
}

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

Turns::Turn Hooks::request_turn(const ReplyTicket& ticket) {
    return turns_.wait(Turns::Side::requests, [&] { return !ticket.unwanted(); });
}

// ---- actions ----

Hooks::Admission Hooks::admit(QueuedAction& job, std::string& reason) noexcept {
    try {
        return judge(job, reason);
    } catch (const std::exception& error) {  // no memory to name a reason: nothing is let through unjudged
        job.lease->revoke(Cause::hook_failed, error.what());
        count(stats_.actions_dropped);
        return Admission::over;
    }
}

Hooks::Admission Hooks::judge(QueuedAction& job, std::string& reason) {
    const TimePoint now = Clock::now();
    if (is_over(*job.lease, now)) {
        count(stats_.actions_dropped);
        return Admission::over;
    }
    const Duration waited = now - job.arrived;
    if (is_late(job, now)) {
        reason = "action has waited for " + milliseconds(waited) + ", expected at most " +
                 milliseconds(options_.max_action_delay);
        job.lease->report.late(reason);
        say_objection("came too late", stats_.actions_late, reason);
        return Admission::refused;
    }
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
    stats_.action_latency.record(waited);
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

// Gives back what it holds of the queue. While it still counts as pending: whoever takes its place finds its memory.
void Hooks::forget(QueuedAction& job) noexcept {
    queued_bytes_.fetch_sub(job.bytes, std::memory_order_seq_cst);
    Action action = std::move(job.action);
    if (job.bytes <= kMostKept && action.data.capacity() * sizeof(float) <= kMostKept) used_actions_.give(std::move(action));
}

void Hooks::run(ApplyAction& job) noexcept {
    const Turns::Turn turn = turn_for(job);
    if (admit(job, reason_) == Admission::pass) {
        call(action_stage_, "apply_action", job.lease.get(), [&] { robot_.apply_action(job.action); });
        applied(job);
    }
    forget(job);
}

void Hooks::run(Step& job) noexcept {
    const Turns::Turn turn = turn_for(job);
    Reply& reply = *job.reply;
    switch (admit(job, reason_)) {
        case Admission::over: refuse(reply, "the client is no longer in control"); break;
        case Admission::refused:
            reply.error = call(action_stage_, "make_obs", job.lease.get(), [&] {
                reply.result = StepResult{};
                reply.result.obs = source_->make(0.0);
                reply.result.info.emplace("chiral.action_rejected", reason_);
                make_plain(reply.result.obs, action_decoder_);
            });
            break;
        case Admission::pass:
            reply.error = call(action_stage_, "step", job.lease.get(), [&] {
                reply.result = robot_.step(job.action);
                make_plain(reply.result.obs, action_decoder_);
            });
            applied(job);
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
    watchdog_.disarm();  // the robot moves by itself now, until the first action of the episode
    reply.error = call(action_stage_, "reset", job.lease.get(), [&] {
        auto [observation, info] = robot_.reset();
        reply.result.obs = std::move(observation);
        reply.result.info = std::move(info);
        make_plain(reply.result.obs, action_decoder_);
    });
    if (reply.error.empty()) job.lease->gate.forget();  // not before: behind a reset that failed no jump is allowed
    job.reply.ready();
}

// Whoever has gone before its turn came, and has nothing left to be done, was never met.
void Hooks::run(Connected& job) noexcept {
    leave_before(*job.lease);
    if (job.lease->left || !job.lease->worth_meeting(Clock::now())) return;
    job.lease->met = true;
    call(action_stage_, "on_connect", job.lease.get(), [&] { robot_.on_connect(job.peer); });
}

void Hooks::run(Disconnected& job) noexcept { leave(*job.lease, job.reason); }

// Through other transports the ends of its predecessors may be queued behind this, and so may what they had left to do.
void Hooks::leave_before(const Lease& lease) noexcept {
    if (const std::shared_ptr<Lease> before = lease.before.lock()) leave(*before, "another client has come");
}

void Hooks::leave(Lease& lease, const std::string& reason) noexcept {
    if (std::exchange(lease.left, true)) return;
    leave_before(lease);
    if (!lease.met) return;
    watchdog_.disarm();  // the hook says that nobody is in control
    call(action_stage_, "on_disconnect", nullptr, [&] { robot_.on_disconnect(reason); });
}

// ---- request thread ----

void Hooks::run(RequestJob& job) noexcept {
    std::visit([this](auto& alternative) { run(alternative); }, job);
}

void Hooks::run(Observe& job) noexcept {
    const Turns::Turn turn = request_turn(job.reply);
    if (job.reply.unwanted()) refuse(*job.reply, "the client has gone");
    else
        job.reply->error = call(request_stage_, "get_obs", job.lease.get(), [&] {
            job.reply->result.obs = robot_.get_obs();
            if (!job.reply->want) make_plain(job.reply->result.obs, request_decoder_);
        });
    observed(job.reply);
}

// Of cameras that deliver encoded images: a client that says nothing of encodings expects pixels.
void Hooks::make_plain(Observation& observation, imaging::ImageDecoder& decoder) {
    for (CameraInfo& camera : observation.cameras) {
        const std::string problem = imaging::make_plain(camera, decoder);
        if (problem.empty()) continue;
        const std::uint64_t errors = stats_.update_errors.fetch_add(1, std::memory_order_relaxed) + 1;
        if (std::has_single_bit(errors))
            options_.log("camera '" + camera.name + "': an encoded image cannot be shown: " + problem + " (update error " +
                         std::to_string(errors) + ")");
    }
}

// The reply is ready, or will be when others have made of the observation what is wanted.
void Hooks::observed(ReplyTicket& ticket) noexcept {
    Reply& reply = *ticket;
    if (!reply.want || !reply.error.empty()) return ticket.ready();
    try {
        wants_.fulfil(reply.result.obs, reply.want, reply.reduction, std::make_unique<WaitingReply>(ticket, *this));
    } catch (const std::exception& error) {  // no memory, or no threads
        refuse(reply, error.what());
        ticket.ready();
    }
}

void Hooks::run(Metadata& job) noexcept {
    const Turns::Turn turn = request_turn(job.reply);
    if (job.reply.unwanted()) refuse(*job.reply, "the client has gone");
    else
        job.reply->error = call(request_stage_, "get_metadata", job.lease.get(), [&] {
            job.reply->metadata = robot_.get_metadata();
            wire::describe_sources(source_->engine().cameras(), source_->engine().proprios(), job.reply->metadata);
        });
    job.reply.ready();
}

// ---- observers' thread ----

void Hooks::run(ObserverJob& job) noexcept {
    std::visit([this](auto& alternative) { run(alternative); }, job);
}

void Hooks::run(ObserverLook& job) noexcept {
    Reply& reply = *job.reply;
    reply.error.clear();
    try {
        reply.result.obs = job.seat->observe();
        if (!reply.want) make_plain(reply.result.obs, observer_decoder_);
    } catch (const std::exception& error) {
        refuse(reply, error.what());
        say([&] { return "observation for an observer failed: " + reply.error; });
    }
    observed(job.reply);
}

void Hooks::run(ReportSources& job) noexcept {
    try {
        job.deliver(source_->report());
    } catch (const std::exception& error) {
        say([&] { return std::string("no figures: ") + error.what(); });
    }
}

}  // namespace chiral::robot
