// SPDX-License-Identifier: Apache-2.0
// All comparators, in the order in which tables and plots show them.
#pragma once

#include "bare_memcpy.hpp"
#include "engine_channel.hpp"
#include "locked_channel.hpp"
#include "queue_channel.hpp"
#include "seqlock.hpp"
#include "shared_ptr_swap.hpp"
#include "triple_buffer.hpp"

namespace chiral::bench {

template <class... Channels>
struct ChannelList {
    /// Calls visit.template operator()<Channel>() for each.
    template <class Visit>
    static void for_each(Visit&& visit) {
        (visit.template operator()<Channels>(), ...);
    }
};

using AllChannels =
    ChannelList<BareMemcpy, EngineChannel, EngineInPlace, MutexChannel, InheritingMutexChannel, SharedMutexChannel,
                SharedPtrSwap, TripleBuffer, Seqlock, BoostQueueChannel, MoodycamelChannel, BareMemcpyOne>;

}  // namespace chiral::bench
