// SPDX-License-Identifier: Apache-2.0
// Serves a store that has no server of its own, as the original server does: every observation is a copy.
#pragma once

#include "sensor_store.hpp"

#include <chiral/server.hpp>

#include <memory>
#include <string>

namespace chiral::stress {

/// Serves on a free port of the loopback, and at the local socket where one is named. Takes one reader of the store, which must outlive the server.
class StoreServer final : public PolicyServer {
public:
    StoreServer(SensorStore& store, std::vector<CameraConfig> cameras, std::vector<ProprioConfig> proprios,
                const std::string& local_socket);

    std::pair<Observation, InfoMap> reset() override { return {get_obs(), {}}; }
    Observation get_obs() override;

private:
    const std::vector<CameraConfig> cameras_;
    const std::vector<ProprioConfig> proprios_;
    const std::unique_ptr<StoreReader> reader_;
};

}  // namespace chiral::stress
