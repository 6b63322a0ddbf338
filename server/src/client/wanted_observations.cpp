// SPDX-License-Identifier: Apache-2.0
#include "client/wanted_observations.hpp"

#include "client/requests.hpp"

#include <algorithm>
#include <chrono>

namespace chiral::client {

void WantedObservations::get(Observation& obs) {
    connection_->require_not_asking();  // who does has the lock
    const std::lock_guard lock(mutex_);
    const bool keep = request_.want.only_if_newer;
    if (keep) request_.have = unpacker_.have();
    const TimePoint asked = Clock::now();
    ask_wanted(*connection_, request_, obs, [&] {
        // A server cannot see how long its answers are under way: the system takes them at once.
        request_.took = std::min(std::chrono::duration<double>(Clock::now() - asked).count(), 3600.0);
        unpacker_.unpack(obs, keep);
    });
}

}  // namespace chiral::client
