// SPDX-License-Identifier: Apache-2.0
// Whether the other end of a WebSocket is still there: dead, deaf, idle, or alive. No socket and no clock: what was seen goes
// in, a verdict comes out.
//
// A machine that acknowledges nothing is dead. A client on a machine that acknowledges may be busy for as long as it likes, as
// policies are that infer; only if it takes nothing of an answer, or does not end a message that it began, is it given up
// after a long while, and, where that is asked for, if it says nothing at all.
#pragma once

#include "net/tcp_health.hpp"
#include "robot/ending.hpp"

#include <chiral/time.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace chiral::websocket {

class Liveness {
public:
    struct Limits {
        Duration dead;  ///< given up when that long something was not acknowledged, less what two looks are apart
        Duration deaf;
        Duration idle;  ///< zero: never, where the system tells whether the machine acknowledges; as `deaf` elsewhere
        Duration look;  ///< looks are no further apart, unless the server stands still; some fit into the shortest limit
    };
    /// How things stand at a look.
    struct Seen {
        std::optional<net::TcpHealth> health;  ///< nothing where the system does not tell
        bool writing{false};                   ///< an answer
        bool reading{false};                   ///< a read is under way: what comes is taken
        bool in_message{false};                ///< part of a message has been taken
        std::uint64_t answered{0};             ///< answers written so far
    };
    struct Verdict {
        robot::Cause cause;
        std::string reason;
        Duration unacknowledged{};  ///< how long, of one that is dead
    };

    /// `from`: when the connection began to be watched.
    Liveness(Limits limits, TimePoint from) noexcept
        : limits_(limits),
          looked_at_(from),
          acknowledged_at_(from),
          taken_at_(from),
          heard_at_(from),
          message_began_(from) {}

    /// A message has been read to its end.
    void message_read() noexcept { ++messages_read_; }
    /// A ping or pong has come, of so many bytes on the wire.
    void control_frame(std::size_t bytes) noexcept { control_bytes_ += bytes; }

    /// Nothing as long as it is to be kept.
    std::optional<Verdict> look(TimePoint now, const Seen& seen);

private:
    Limits limits_;
    TimePoint looked_at_;
    std::uint64_t acknowledged_{0};  // bytes, by the client's machine
    TimePoint acknowledged_at_;      // when that was last seen to grow, or nothing was left to acknowledge
    std::uint64_t taken_{0};         // the same, while an answer is being written
    TimePoint taken_at_;
    std::uint64_t heard_{0};  // bytes received, or messages where the system does not tell
    TimePoint heard_at_;      // when that was last seen to grow, or the client could not show that it lives
    std::uint64_t messages_read_{0}, control_bytes_{0};
    std::uint64_t messages_known_{0};  // when bytes_known_ had been received
    std::uint64_t bytes_known_{0};
    TimePoint message_began_;  // at the earliest
};

}  // namespace chiral::websocket
