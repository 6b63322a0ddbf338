// SPDX-License-Identifier: Apache-2.0
// What the hook threads are asked to do: a type for each.
#pragma once

#include "robot/lease.hpp"
#include "robot/observation_source.hpp"
#include "robot/reply.hpp"

#include <chiral/types.hpp>

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace chiral::robot {

/// Ends the thread.
struct End {};

// ---- action thread ----

/// An action, when it arrived at the earliest, and what it holds of the bytes that may be queued.
struct QueuedAction {
    std::shared_ptr<Lease> lease;
    Action action;
    TimePoint arrived{};
    std::size_t bytes{0};
};
struct ApplyAction : QueuedAction {};
struct Step : QueuedAction {
    ReplyTicket reply;
};
struct Reset {
    std::shared_ptr<Lease> lease;
    ReplyTicket reply;
};
struct Connected {
    std::shared_ptr<Lease> lease;
    std::string peer;
};
struct Disconnected {
    std::shared_ptr<Lease> lease;
    std::string reason;
};
/// Nothing but to look whether on_action_timeout() is due.
struct ActionTimeout {};
using ActionJob = std::variant<End, ApplyAction, Step, Reset, Connected, Disconnected, ActionTimeout>;

// ---- request thread ----

/// Whose hook fails loses its lease; an observer has none.
struct Observe {
    std::shared_ptr<Lease> lease;
    ReplyTicket reply;
};
struct Metadata {
    std::shared_ptr<Lease> lease;
    ReplyTicket reply;
};
using RequestJob = std::variant<End, Observe, Metadata>;

// ---- observers' thread: no user code ----

struct ObserverLook {
    ReplyTicket reply;
    ObservationSource::Seat* seat{nullptr};
};
/// Looks at every pixel: asked for by people and monitors, seldom.
struct ReportSources {
    std::function<void(std::vector<SourceReport>)> deliver;
};
/// What a client wants of an observation has been made, by a thread of low priority. That one is not to wake the conversation
/// itself: it could be preempted while it holds a lock of the network.
struct Fulfilled {
    ReplyTicket reply;
};
using ObserverJob = std::variant<End, ObserverLook, ReportSources, Fulfilled>;

}  // namespace chiral::robot
