// SPDX-License-Identifier: Apache-2.0
// What has been published: the least that a reader who starts to look now must see. Forked processes see it, too.
#pragma once

#include "shared.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace chiral::stress {

/// Numbers of the newest frame and sample per source.
struct Floor {
    std::vector<std::uint64_t> cameras;
    std::vector<std::uint64_t> proprios;
};

class Progress {
public:
    Progress(std::size_t cameras, std::size_t proprios) : cameras_(cameras), proprios_(proprios) {}

    // Release, paired with the acquire in read(): whoever reads the number is after the publication of that frame, so an
    // engine that then shows an older one is wrong.
    void camera_published(std::size_t i, std::uint64_t number) noexcept {
        cameras_[i].number.store(number, std::memory_order_release);
    }
    void proprio_published(std::size_t i, std::uint64_t number) noexcept {
        proprios_[i].number.store(number, std::memory_order_release);
    }

    std::uint64_t camera(std::size_t i) const noexcept { return cameras_[i].number.load(std::memory_order_acquire); }
    std::uint64_t proprio(std::size_t i) const noexcept { return proprios_[i].number.load(std::memory_order_acquire); }
    std::size_t cameras() const noexcept { return cameras_.size(); }
    std::size_t proprios() const noexcept { return proprios_.size(); }

    void read(Floor& floor) const {
        floor.cameras.resize(cameras_.size());
        floor.proprios.resize(proprios_.size());
        for (std::size_t i = 0; i < cameras_.size(); ++i) floor.cameras[i] = camera(i);
        for (std::size_t i = 0; i < proprios_.size(); ++i) floor.proprios[i] = proprio(i);
    }

    /// True once every source has published something.
    bool all_started() const noexcept {
        for (std::size_t i = 0; i < cameras_.size(); ++i)
            if (camera(i) == 0) return false;
        for (std::size_t i = 0; i < proprios_.size(); ++i)
            if (proprio(i) == 0) return false;
        return true;
    }

private:
    struct alignas(64) Count {
        std::atomic<std::uint64_t> number{0};
    };
    Shared<Count> cameras_;
    Shared<Count> proprios_;
};

}  // namespace chiral::stress
