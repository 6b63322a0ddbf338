// SPDX-License-Identifier: Apache-2.0
#include "client/wanted_observations.hpp"

#include "client/requests.hpp"

namespace chiral::client {

void WantedObservations::get(Observation& obs) {
    const std::lock_guard lock(mutex_);
    const bool keep = request_.want.only_if_newer;
    if (keep) request_.have = unpacker_.have();
    ask_wanted(*connection_, request_, obs, [&] { unpacker_.unpack(obs, keep); });
}

}  // namespace chiral::client
