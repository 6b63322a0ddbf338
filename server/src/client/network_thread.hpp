// SPDX-License-Identifier: Apache-2.0
// The thread of a transport that waits in an event loop.
#pragma once

#include "client/transport.hpp"

#include <exception>
#include <string>
#include <thread>
#include <utility>

namespace chiral::client {

/// Calls loop(), then events.ended(). An exception that leaves a handler, mostly for want of memory, ends the connection: it is
/// told, and drop() closes what is open; the operations under way end with the event loop. drop() does not throw.
template <class Loop, class Drop>
std::thread network_thread(Transport::Events& events, Loop loop, Drop drop) {
    return std::thread([&events, loop = std::move(loop), drop = std::move(drop)]() mutable {
        const auto give_up = [&](const char* what) noexcept {
            try {
                events.over(std::string("network thread: ") + what);
            } catch (...) {  // ended() follows and tells enough
            }
            drop();
        };
        try {
            loop();
        } catch (const std::exception& exception) {
            give_up(exception.what());
        } catch (...) {
            give_up("an exception that is no std::exception");
        }
        events.ended();
    });
}

}  // namespace chiral::client
