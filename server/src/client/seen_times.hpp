// SPDX-License-Identifier: Apache-2.0
// The capture times of the observation that the caller saw last: what its next action rests on.
//
// Any thread.
#pragma once

#include <chiral/types.hpp>

#include <cmath>
#include <cstddef>
#include <map>
#include <mutex>
#include <string>

namespace chiral::client {

class SeenTimes {
public:
    void note(const Observation& obs) {
        std::lock_guard lock(mutex_);
        if (!update(obs)) {  // other cameras than before
            times_.clear();
            update(obs);
        }
    }
    /// Of one camera, whatever was seen of the others.
    void note(const CameraInfo& camera) {
        if (!std::isfinite(camera.timestamp)) return;
        std::lock_guard lock(mutex_);
        times_[camera.name] = camera.timestamp;
    }
    void attach_to(Action& action) const {
        std::lock_guard lock(mutex_);
        action.obs_timestamps = times_;
    }
    void clear() {
        std::lock_guard lock(mutex_);
        times_.clear();
    }

private:
    // A camera that was not wanted has nothing that an action could rest on.
    static bool shows(const CameraInfo& camera) noexcept {
        return camera.image_encoding != ImageEncoding::none || camera.has_depth;
    }
    // False if there are others in the map.
    bool update(const Observation& obs) {
        std::size_t cameras = 0;
        for (const CameraInfo& camera : obs.cameras) {
            if (!std::isfinite(camera.timestamp) || !shows(camera)) continue;
            times_[camera.name] = camera.timestamp;
            ++cameras;
        }
        return times_.size() == cameras;
    }

    mutable std::mutex mutex_;
    std::map<std::string, double> times_;
};

}  // namespace chiral::client
