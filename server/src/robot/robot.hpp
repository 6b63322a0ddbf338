// SPDX-License-Identifier: Apache-2.0
// The robot as clients meet it, whatever they came through: its sources, its hooks, and who is in control. One for as long as
// a server serves; all transports share it. Any thread.
#pragma once

#include "robot/control.hpp"
#include "robot/hooks.hpp"
#include "robot/observation_source.hpp"
#include "robot/stat_counters.hpp"

#include <chiral/options.hpp>

#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace chiral::robot {

class Robot {
public:
    Robot(PolicyServer& server, const ServerOptions& server_options, StatCounters& counters,
          std::shared_ptr<ObservationSource> observations)
        : options(server_options),
          stats(counters),
          source(std::move(observations)),
          hooks(server, options, stats, source),
          control(options, source->engine().cameras(), hooks) {}

    const ServerOptions& options;
    StatCounters& stats;
    const std::shared_ptr<ObservationSource> source;
    Hooks hooks;
    Control control;

    /// No further action reaches a hook, from now on, whatever the other threads are doing.
    void stop() noexcept {
        control.stop();
        hooks.stopping();
    }

    /// What get_metadata() said when it was last asked; observers are not to ask it again and again.
    std::optional<InfoMap> known_metadata() const {
        const std::lock_guard lock(mutex_);
        return known_metadata_;
    }
    void remember_metadata(const InfoMap& metadata, bool of_client_in_control) {
        const std::lock_guard lock(mutex_);
        if (of_client_in_control || !known_metadata_) known_metadata_ = metadata;
    }

private:
    mutable std::mutex mutex_;
    std::optional<InfoMap> known_metadata_;  // guarded by mutex_
};

}  // namespace chiral::robot
