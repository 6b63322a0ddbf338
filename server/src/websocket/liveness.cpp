// SPDX-License-Identifier: Apache-2.0
#include "websocket/liveness.hpp"

#include <algorithm>

namespace chiral::websocket {

using robot::Cause;

std::optional<Liveness::Verdict> Liveness::look(TimePoint now, const Seen& seen) {
    // The process was stopped, or its thread blocked: nobody has written, read or pinged. What a machine acknowledges is up to
    // the kernels all the same.
    if (const Duration gap = now - looked_at_; gap > 2 * limits_.look)
        for (TimePoint* const began : {&taken_at_, &heard_at_, &message_began_}) *began = std::min(*began + gap, now);
    looked_at_ = now;
    const auto& health = seen.health;
    if (health) {
        if (health->unacknowledged == 0 || health->acknowledged_bytes != acknowledged_) {
            acknowledged_ = health->acknowledged_bytes;
            acknowledged_at_ = now;
        } else if (const Duration silent = now - acknowledged_at_; silent >= limits_.dead * 3 / 5) {
            // Three of five looks, so that a link that breaks just after a look is found in time.
            return Verdict{Cause::dead,
                           "its machine has acknowledged nothing for " +
                               std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(silent).count()) + " ms",
                           silent};
        }
    }
    // An answer of which its machine takes nothing, because the client does not read. Where the system does not tell, of
    // which it takes not all.
    const std::uint64_t taken = health ? health->acknowledged_bytes : seen.answered;
    if (!seen.writing || taken != taken_) {
        taken_ = taken;
        taken_at_ = now;
    } else if (now - taken_at_ >= limits_.deaf) {
        return Verdict{Cause::deaf, "takes no answer", {}};
    }
    // Somebody who is not busy answers pings. Behind an answer that is being written they do not get through.
    const std::uint64_t heard = health ? health->received_bytes : messages_read_ + control_bytes_;
    const Duration idle = limits_.idle > Duration::zero() ? limits_.idle : health ? Duration::max() : limits_.deaf;
    if (seen.writing || !seen.reading || heard != heard_) {
        heard_ = heard;
        heard_at_ = now;
    } else if (now - heard_at_ >= idle) {
        return Verdict{Cause::idle, "says nothing, not even in answer to pings", {}};
    }
    // A message that was begun has to end. Its fragments may be empty: then it shows in what was received beside control
    // frames. TLS adds to these; what is not sure to be a message does not count.
    constexpr std::uint64_t uncertain = 1024;
    if (!seen.reading || messages_read_ != messages_known_) {
        messages_known_ = messages_read_;
        bytes_known_ = heard;
        control_bytes_ = 0;
        message_began_ = now;
    }
    const bool begun = seen.in_message || (health && heard - bytes_known_ > control_bytes_ + uncertain);
    if (!begun) message_began_ = now;
    else if (now - message_began_ >= limits_.deaf)
        return Verdict{Cause::unfinished, "does not end a message that it began", {}};
    return std::nullopt;
}

}  // namespace chiral::websocket
