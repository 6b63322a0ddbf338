// SPDX-License-Identifier: Apache-2.0
// What a client got as the checker sees things: views into it, except for K and T, which it keeps by columns.
#pragma once

#include "sensor_store.hpp"

#include <chiral/types.hpp>

#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <vector>

namespace chiral::stress {

inline std::chrono::nanoseconds from_seconds(double seconds) {
    return std::chrono::nanoseconds(std::llround(seconds * 1e9));
}

class ObservationLook {
public:
    const Look& of(const Observation& obs) {
        resize(obs.cameras.size());
        for (std::size_t i = 0; i < obs.cameras.size(); ++i) set(i, obs.cameras[i]);
        look_.proprios.resize(obs.proprios.size());
        for (std::size_t i = 0; i < obs.proprios.size(); ++i) {
            const ProprioInfo& from = obs.proprios[i];
            look_.proprios[i] = {from.data, from.sequence, from_seconds(from.timestamp), false};
        }
        return look_;
    }

    /// Of cameras that came one by one, and nothing else.
    const Look& of(const std::vector<CameraInfo>& cameras) {
        resize(cameras.size());
        for (std::size_t i = 0; i < cameras.size(); ++i) set(i, cameras[i]);
        return look_;
    }

private:
    struct Matrices {
        std::array<double, 9> intrinsics;
        std::array<double, 16> extrinsics;
    };

    void resize(std::size_t cameras) {
        look_.cameras.resize(cameras);
        matrices_.resize(cameras);
    }
    void set(std::size_t i, const CameraInfo& from) {
        Matrices& matrices = matrices_[i];
        Eigen::Map<Eigen::Matrix<double, 3, 3, Eigen::RowMajor>>(matrices.intrinsics.data()) = from.intrinsics;
        Eigen::Map<Eigen::Matrix<double, 4, 4, Eigen::RowMajor>>(matrices.extrinsics.data()) = from.extrinsics;
        CameraLook& to = look_.cameras[i];
        to.image = {from.image.data(), from.image.size()};
        to.depth = {};
        if (from.has_depth) to.depth = {from.depth_data.data(), from.depth_data.size()};
        to.intrinsics = matrices.intrinsics;
        to.extrinsics = matrices.extrinsics;
        to.sequence[0] = from.sequence;
        to.captured[0] = from_seconds(from.timestamp);
    }

    std::vector<Matrices> matrices_;
    Look look_;
};

}  // namespace chiral::stress
