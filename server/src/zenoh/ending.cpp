// SPDX-License-Identifier: Apache-2.0
// How a service ends, and its sessions with it.
#include "zenoh/service.hpp"
#include "zenoh/session.hpp"

#include <chrono>
#include <memory>

namespace chiral::zenoh {

using robot::Cause;

void Service::shut_down() {
    stopping_ = true;
    // They leave as they are closed.
    for (std::size_t left = sessions_.size(); left > 0 && !sessions_.empty(); --left)
        std::shared_ptr(sessions_.begin()->second)->close(Cause::stopping, "the server is stopping");
    if (senders_.empty()) return let_loop_end();
    force_.expires_after(std::chrono::seconds(2));
    force_.async_wait([this](boost::system::error_code error) {
        if (!error) let_loop_end();
    });
}

void Service::let_loop_end() {
    force_.cancel();
    beat_.cancel();
    work_.reset();
}

void Service::abort_sessions() noexcept {
    // They leave as they are dropped. Without memory for a list of them: that may be when this is called.
    for (std::size_t left = sessions_.size(); left > 0 && !sessions_.empty(); --left)
        std::shared_ptr(sessions_.begin()->second)->abort();
}

}  // namespace chiral::zenoh
