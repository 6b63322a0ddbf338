// SPDX-License-Identifier: Apache-2.0
// How a client's session ends: one row for each cause.
//
// Whoever finds that a session is over names the cause; everything else is read from here: the close code, what becomes of
// the actions that the client had sent, and whether it was the client's mistake.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace chiral::robot {

enum class Cause : std::uint8_t {
    left,               // the client closed the connection in order
    broken,             // the connection broke
    broke_protocol,     // it broke the rules of its transport, which has told it so
    handshake_failed,   // it never was a session
    dead,               // its machine acknowledges nothing
    deaf,               // it takes nothing of an answer
    idle,               // it says nothing, not even in answer to pings
    unfinished,         // it does not end a message that it began
    text_message,       // a message of the wrong kind
    bad_message,        // a message that cannot be decoded
    not_for_observers,  // an observer that wants more than to observe
    flood,              // too many pings and pongs, or packets
    hoarding,           // it asks for more observations than it may hold
    hook_failed,        // an exception left a hook
    unsendable,         // a hook returned an observation that contradicts itself
    control_lost,       // another client has taken over
    stopping,           // the server is being stopped
    dropped,            // no reason to say goodbye, or no way to
    count_
};

/// What becomes of the actions that were sent before the end.
enum class Tail : std::uint8_t {
    dropped,  // at once, by the thread on which the session ended: the lease is revoked
    counts,   // they are still applied, for ServerOptions::departed_action_time
};

struct Ending {
    Cause cause;
    std::uint16_t close_code;  // of RFC 6455, 7.4.1; 0: there is nothing to say, or no way to
    Tail tail;
    bool protocol_error;  // counted as the client's mistake
};

inline constexpr std::uint16_t kGoingAway = 1001, kUnknownData = 1003, kBadPayload = 1007, kPolicyError = 1008,
                               kInternalError = 1011;

inline constexpr std::array<Ending, static_cast<std::size_t>(Cause::count_)> kEndings{{
    {Cause::left, 0, Tail::counts, false},
    {Cause::broken, 0, Tail::dropped, false},
    {Cause::broke_protocol, 0, Tail::dropped, true},
    {Cause::handshake_failed, 0, Tail::dropped, true},
    {Cause::dead, 0, Tail::dropped, false},
    {Cause::deaf, 0, Tail::dropped, false},
    {Cause::idle, kPolicyError, Tail::dropped, false},
    {Cause::unfinished, kPolicyError, Tail::dropped, false},
    {Cause::text_message, kUnknownData, Tail::counts, true},
    {Cause::bad_message, kBadPayload, Tail::counts, true},
    {Cause::not_for_observers, kPolicyError, Tail::counts, true},
    {Cause::flood, kPolicyError, Tail::dropped, true},
    {Cause::hoarding, kPolicyError, Tail::dropped, true},
    {Cause::hook_failed, kInternalError, Tail::dropped, false},
    {Cause::unsendable, kInternalError, Tail::dropped, false},
    {Cause::control_lost, kPolicyError, Tail::dropped, false},
    {Cause::stopping, kGoingAway, Tail::dropped, false},
    {Cause::dropped, 0, Tail::dropped, false},
}};

constexpr const Ending& ending_of(Cause cause) noexcept { return kEndings[static_cast<std::size_t>(cause)]; }

static_assert(
    [] {
        for (std::size_t i = 0; i < kEndings.size(); ++i)
            if (kEndings[i].cause != static_cast<Cause>(i)) return false;
        return true;
    }(),
    "each row stands where its cause is looked up");

}  // namespace chiral::robot
