// SPDX-License-Identifier: Apache-2.0
// One answer from request to written, and the right to fill it.
#pragma once

#include "imaging/plan.hpp"
#include "robot/carrier.hpp"

#include <chiral/types.hpp>
#include <chiral/wire.hpp>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

namespace chiral::robot {

/// Belongs to the thread that holds its ticket while `running`, to the conversation's otherwise.
struct Reply {
    enum class State : std::uint8_t { queued, running, ready } state{State::queued};
    wire::RequestType type{};
    StepResult result;  // observation, info, and what a step adds
    InfoMap metadata;
    std::string error;  // what the hook threw, if it did
    TimePoint asked_at{};
    std::shared_ptr<const wire::WantRequest> want{};  // of an obs_request that wants something
    imaging::Reduction reduction{};                   // of that
};

/// Given with a job to the thread that does it. Keeps the conversation that waits for the reply.
class ReplyTicket {
public:
    ReplyTicket() = default;
    ReplyTicket(std::shared_ptr<Carrier> carrier, Reply& reply, std::size_t index,
                const std::atomic<bool>& unwanted) noexcept
        : carrier_(std::move(carrier)), reply_(&reply), index_(index), unwanted_(&unwanted) {}

    Reply& operator*() const noexcept { return *reply_; }
    Reply* operator->() const noexcept { return reply_; }
    /// Nobody waits for it any more.
    bool unwanted() const noexcept { return unwanted_->load(std::memory_order_relaxed); }
    /// It is filled. The holder does not touch it again.
    void ready() noexcept { carrier_->notify(static_cast<Notice>(index_)); }

private:
    std::shared_ptr<Carrier> carrier_;
    Reply* reply_{nullptr};
    std::size_t index_{0};
    const std::atomic<bool>* unwanted_{nullptr};
};

}  // namespace chiral::robot
