// SPDX-License-Identifier: Apache-2.0
// The hooks that only look: those of the request thread, and what the observers' thread does.
#include "imaging/plain.hpp"
#include "robot/hook_call.hpp"

#include <chiral/server.hpp>

#include <bit>
#include <exception>
#include <new>
#include <utility>

namespace chiral::robot {
namespace {

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

// ---- request thread ----

Turns::Turn Hooks::request_turn(const ReplyTicket& ticket) {
    return turns_.wait(Turns::Side::requests, [&] { return !ticket.unwanted(); });
}

void Hooks::run(RequestJob& job) noexcept {
    std::visit([this](auto& alternative) { run(alternative); }, job);
}

void Hooks::run(Observe& job) noexcept {
    const Turns::Turn turn = request_turn(job.reply);
    if (job.reply.unwanted()) refuse(*job.reply, "the client has gone");
    else
        job.reply->error = call(request_stage_, "get_obs", job.lease.get(), [&] {
            job.reply->result.obs = robot_.get_obs();
            if (!job.reply->want) make_plain(job.reply->result.obs, decoders_.requests);
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
        if (!reply.want) make_plain(reply.result.obs, decoders_.observers);
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
