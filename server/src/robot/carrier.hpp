// SPDX-License-Identifier: Apache-2.0
// What a conversation asks of whatever carries it: a WebSocket, a local socket beside shared memory.
#pragma once

#include "robot/ending.hpp"

#include <chiral/time.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace chiral::robot {

struct Reply;

/// Requests of one client that may be unanswered. Then it is not read until one is.
inline constexpr std::size_t kReplies = 8;

/// What other threads have to say to a conversation. Each is under way at most once at a time: a carrier can post it from
/// memory of its own.
enum class Notice : std::uint8_t {
    reply_ready = 0,        // and the number of the reply, 0 to kReplies - 1
    lease_over = kReplies,  // the lease was revoked: see Lease::ended()
    room,                   // for actions
    count_
};

class Carrier : public std::enable_shared_from_this<Carrier> {
public:
    virtual ~Carrier() = default;

    // From inside a call of the conversation, on its thread.

    /// Whether the client may be given another observation: false while it holds all that it may of a transport that lends them.
    virtual bool may_lend() const noexcept { return true; }
    /// Writes a reply, of which it calls Conversation::sent() or over() when it has. One at a time.
    virtual void send(Reply& reply) = 0;
    /// Ends the session as kEndings says, and calls Conversation::over().
    virtual void close(Cause cause, const std::string& reason) = 0;
    /// Conversation::wants_message() has said no; it is to be asked again.
    virtual void read_on() = 0;
    /// Calls Conversation::wake() then. A later call with an earlier time replaces an earlier one.
    virtual void wake_at(TimePoint time) = 0;

    // From any thread, also while the conversation's own is blocked.

    /// Has the conversation's thread call Conversation::notice(). Holds what it needs until then.
    virtual void notify(Notice notice) noexcept = 0;
};

}  // namespace chiral::robot
