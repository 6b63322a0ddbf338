// SPDX-License-Identifier: Apache-2.0
#include "robot/conversation.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace chiral::robot {
namespace {

Duration each(double per_second) {
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(1.0 / per_second));
}

// What an action holds of the bytes that may be queued: its values, its names, and what a map takes for each.
std::size_t bytes_of(const Action& action) {
    constexpr std::size_t of_a_name = 96;
    std::size_t bytes = sizeof(QueuedAction) + action.data.size() * sizeof(float);
    for (const auto& [name, seconds] : action.obs_timestamps) bytes += of_a_name + name.size();
    return bytes;
}

}  // namespace

Conversation::Conversation(Robot& robot, Carrier& carrier, std::unique_ptr<ObservationSource::Seat> seat)
    : robot_(robot),
      carrier_(carrier),
      observes_(seat != nullptr),
      seat_(std::move(seat)),
      messages_(each(static_cast<double>(robot.options.max_messages_per_second)), std::chrono::milliseconds(100)),
      looks_(each(robot.options.max_observer_hz), Duration::zero()) {}

Conversation::~Conversation() {
    if (lease_ && phase_ != Phase::over) robot_.control.end(lease_, Cause::dropped, "dropped", TimePoint{});
}

bool Conversation::take_control(bool take_over) {
    lease_ = robot_.control.take(carrier_.weak_from_this(), take_over);
    return lease_ != nullptr;
}

void Conversation::begin(const std::string& peer, TimePoint now) {
    if (phase_ != Phase::before) return;
    phase_ = Phase::open;
    if (observes_ || robot_.control.begin(lease_, peer)) return;
    const Lease::Ended ended = lease_->ended();
    over(ended.cause, ended.reason, now);
    carrier_.close(ended.cause, ended.reason);
}

// ---- what comes ----

bool Conversation::wants_message(TimePoint now) {
    held_back_ = true;
    if (phase_ != Phase::open) return false;
    if (asked_ - answered_ == kReplies) return false;  // sent() reads on
    if (!observes_ && !robot_.hooks.room_for_actions() && robot_.hooks.wait_for_room(carrier_.weak_from_this()))
        return false;  // Notice::room reads on
    if (!messages_.allows(now)) {
        wake_by(messages_.allowed_at());
        return false;
    }
    held_back_ = false;
    return true;
}

void Conversation::read_on() {
    if (held_back_ && phase_ == Phase::open) carrier_.read_on();
}

void Conversation::message(wire::Bytes bytes, TimePoint arrived, TimePoint now) {
    if (phase_ != Phase::open) return;
    messages_.spend(now);
    try {
        wire::decode_request(bytes, request_);
    } catch (const wire::DecodeError& error) {
        return carrier_.close(Cause::bad_message, error.what());
    }
    if (observes_ && request_.type != wire::RequestType::metadata && request_.type != wire::RequestType::obs_request)
        return carrier_.close(
            Cause::not_for_observers,
            std::string("an observer may ask for metadata and obs_request, got ") + wire::to_string(request_.type));
    if (request_.want && !fits(request_.want->want)) return;
    if (request_.type == wire::RequestType::apply_action) take_action(arrived);
    else take_request(arrived, now);
}

// Before anything is made of it: a few bytes may ask for any number.
bool Conversation::fits(const Want& want) {
    const std::size_t bytes = imaging::wanted_bytes(robot_.source->engine().cameras(), want);
    const std::size_t most = robot_.options.wants.max_bytes;
    if (bytes > most)
        carrier_.close(Cause::bad_message, "obs_request: want: its pictures take " + std::to_string(bytes) +
                                               " bytes together, at most " + std::to_string(most) + " accepted");
    return bytes <= most;
}

void Conversation::take_action(TimePoint arrived) {
    count(robot_.stats.actions_received);
    lease_->use();
    ApplyAction job;
    job.lease = lease_;
    job.arrived = arrived;
    job.bytes = bytes_of(request_.action);
    request_.action.received_at = to_seconds(arrived);
    job.action = std::exchange(request_.action, robot_.hooks.used_action());
    robot_.hooks.push_action(std::move(job));
}

void Conversation::take_request(TimePoint arrived, TimePoint now) {
    // What moves the robot is done on arrival, so it is refused on arrival.
    if ((request_.type == wire::RequestType::reset || request_.type == wire::RequestType::action) && !may_answer()) return;
    const std::size_t index = asked_ % kReplies;
    Reply& reply = replies_[index];
    reply.type = request_.type;
    reply.state = Reply::State::queued;
    reply.error.clear();
    reply.asked_at = now;
    reply.want = std::move(request_.want);
    ++asked_;
    if (reply.type == wire::RequestType::reset) {
        lease_->use();
        reply.state = Reply::State::running;
        robot_.hooks.push(ActionJob(Reset{lease_, ticket(index)}));
    } else if (reply.type == wire::RequestType::action) {
        count(robot_.stats.actions_received);
        lease_->use();
        reply.state = Reply::State::running;
        Step job;
        job.lease = lease_;
        job.arrived = arrived;
        job.bytes = bytes_of(request_.action);
        job.reply = ticket(index);
        request_.action.received_at = to_seconds(arrived);
        job.action = std::exchange(request_.action, robot_.hooks.used_action());
        robot_.hooks.push_action(std::move(job));
    }
    advance(now);
}

void Conversation::notice(Notice notice, TimePoint now) {
    if (notice == Notice::room) return read_on();
    if (notice == Notice::lease_over) {
        const Lease::Ended ended = lease_->ended();
        if (phase_ != Phase::over) carrier_.close(ended.cause, ended.reason);
        return;
    }
    Reply& reply = replies_[static_cast<std::size_t>(notice)];
    reply.state = Reply::State::ready;
    if (phase_ == Phase::open) return advance(now);
    robot_.source->recycle(std::move(reply.result.obs));
    leave_seat();
}

void Conversation::wake(TimePoint now) {
    wake_at_ = TimePoint::max();
    advance(now);
    read_on();
}

void Conversation::wake_by(TimePoint time) {
    if (wake_at_ <= time) return;
    wake_at_ = time;
    carrier_.wake_at(time);
}

// ---- what is answered ----

ReplyTicket Conversation::ticket(std::size_t index) {
    return ReplyTicket(carrier_.shared_from_this(), replies_[index], index, gone_);
}

void Conversation::advance(TimePoint now) {
    if (sending_ || phase_ != Phase::open || answered_ == asked_) return;
    const std::size_t index = answered_ % kReplies;
    Reply& next = replies_[index];
    if (next.state == Reply::State::queued) ask(next, index, now);
    if (next.state == Reply::State::ready) send(next);
}

// Has the reply made whose turn it is.
void Conversation::ask(Reply& reply, std::size_t index, TimePoint now) {
    if (reply.type == wire::RequestType::metadata) {
        const auto known = observes_ ? robot_.known_metadata() : std::nullopt;
        reply.state = known ? Reply::State::ready : Reply::State::running;
        if (known) reply.metadata = *known;
        else robot_.hooks.push(RequestJob(Metadata{lease_, ticket(index)}));
        return;
    }
    if (observes_ && !looks_.allows(now)) return wake_by(looks_.allowed_at());
    if (!may_answer()) return;
    if (!within_budget(reply, now)) return wake_by(budget_.not_before);
    reply.state = Reply::State::running;
    if (!observes_) return robot_.hooks.push(RequestJob(Observe{lease_, ticket(index)}));
    looks_.spend(now);
    robot_.hooks.push(ObserverJob(ObserverLook{ticket(index), seat_.get()}));
}

// Whether its time has come; then it is known how far it has to be cut down.
bool Conversation::within_budget(Reply& reply, TimePoint now) {
    reply.reduction = {};
    if (!reply.want || !reply.want->want.budget) return true;
    budget_.control.set(*reply.want->want.budget, now);
    if (now < budget_.not_before) return false;
    budget_.not_before = now + budget_.control.period();
    budget_.begun = now;
    budget_.took = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(reply.want->took));
    reply.reduction = budget_.control.reduction();
    reply.reduction.anew = std::exchange(budget_.scale, reply.reduction.scale) != reply.reduction.scale;
    return true;
}

// False: the client holds all the observations that it may, and it is closed, because ours asks for none then.
bool Conversation::may_answer() {
    if (carrier_.may_lend()) return true;
    carrier_.close(Cause::hoarding,
                   "asked for an observation while holding all that may be held, expected one to be given back before");
    return false;
}

void Conversation::send(Reply& reply) {
    if (!reply.error.empty()) return carrier_.close(Cause::hook_failed, reply.error);
    if (reply.type == wire::RequestType::metadata) robot_.remember_metadata(reply.metadata, !observes_);
    else if (lease_ && reply.type == wire::RequestType::obs_request) lease_->report.write_to(reply.result.obs.extra);
    if (reply.want && reply.want->want.budget) budget_.control.write_to(reply.result.obs.extra);
    sending_ = true;
    carrier_.send(reply);
}

void Conversation::unsendable(const std::string& why) {
    sending_ = false;
    count(robot_.stats.hook_errors);
    robot_.options.log("observation cannot be sent: " + why);
    carrier_.close(Cause::unsendable, why);
}

void Conversation::sent(std::size_t bytes, TimePoint now) {
    Reply& reply = replies_[answered_ % kReplies];
    let_go();
    count(robot_.stats.bytes_sent, bytes);
    if (reply.type != wire::RequestType::metadata) count(robot_.stats.observations);
    if (!observes_) robot_.stats.answer_latency.record(now - reply.asked_at);
    if (phase_ != Phase::open) return;
    if (reply.want && reply.want->want.budget)
        budget_.control.answered(bytes, std::max(now - budget_.begun, budget_.took), now);
    ++answered_;
    advance(now);
    read_on();
}

// ---- the end ----

void Conversation::over(Cause cause, const std::string& reason, TimePoint now) {
    if (phase_ == Phase::over) return;
    const bool began = phase_ == Phase::open;
    phase_ = Phase::over;
    gone_.store(true, std::memory_order_relaxed);
    // Counted first: whoever on_disconnect() tells may ask for the figures.
    if (began && ending_of(cause).protocol_error) count(robot_.stats.protocol_errors);
    if (lease_) robot_.control.end(lease_, cause, reason, now);
    // Ends the pins of what will not be sent; what is being written or made ends its own.
    for (std::size_t i = answered_ + (sending_ ? 1 : 0); i < asked_; ++i)
        if (replies_[i % kReplies].state == Reply::State::ready)
            robot_.source->recycle(std::move(replies_[i % kReplies].result.obs));
    leave_seat();
}

void Conversation::let_go() {
    if (!std::exchange(sending_, false)) return;
    Reply& reply = replies_[answered_ % kReplies];
    if (reply.type != wire::RequestType::metadata) robot_.source->recycle(std::move(reply.result.obs));  // ends the pins
    leave_seat();
}

// When it is over, and as soon as nothing that the seat has lent is in use.
void Conversation::leave_seat() {
    if (phase_ != Phase::over || sending_) return;
    const auto in_use = [](const Reply& reply) { return reply.state == Reply::State::running; };
    if (std::none_of(replies_.begin(), replies_.end(), in_use)) seat_.reset();
}

}  // namespace chiral::robot
