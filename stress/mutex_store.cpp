// SPDX-License-Identifier: Apache-2.0
// The documented design, as the baseline: one std::mutex per camera over its four buffers, one per proprio stream. Every
// field is updated by a call of its own; a reader locks a camera, copies its buffers into new memory, unlocks, and goes on
// to the next. It has no frame transaction: between two updates of one frame a reader sees the first of them.
#include "engines.hpp"

#include <cstring>
#include <mutex>

namespace chiral::stress {
namespace {

struct CameraBuffers {
    std::vector<std::uint8_t> image;
    std::vector<std::uint8_t> depth;
    std::array<double, 9> intrinsics{};
    std::array<double, 16> extrinsics{};
    std::array<std::uint64_t, kFields> sequence{};
    std::array<std::chrono::nanoseconds, kFields> captured{};
};

struct ProprioBuffer {
    std::vector<float> values;
    std::uint64_t sequence{0};
    std::chrono::nanoseconds captured{0};
};

template <class Buffers>
struct alignas(64) Locked {
    std::mutex mutex;
    Buffers buffers;
};

struct Shared {
    std::vector<Locked<CameraBuffers>> cameras;
    std::vector<Locked<ProprioBuffer>> proprios;
};

class MutexReader final : public StoreReader {
public:
    explicit MutexReader(Shared& shared) : shared_(shared) {
        look_.cameras.resize(shared.cameras.size());
        look_.proprios.resize(shared.proprios.size());
        cameras_.reserve(shared.cameras.size());  // the look points into them
        proprios_.reserve(shared.proprios.size());
    }

    const Look& look() override {
        for (std::size_t i = 0; i < look_.cameras.size(); ++i) {
            {
                const std::lock_guard lock(shared_.cameras[i].mutex);
                cameras_.push_back(shared_.cameras[i].buffers);
            }
            const CameraBuffers& copy = cameras_.back();
            look_.cameras[i] = {copy.image, copy.depth, copy.intrinsics, copy.extrinsics, copy.sequence, copy.captured};
        }
        for (std::size_t i = 0; i < look_.proprios.size(); ++i) {
            {
                const std::lock_guard lock(shared_.proprios[i].mutex);
                proprios_.push_back(shared_.proprios[i].buffers);
            }
            const ProprioBuffer& copy = proprios_.back();
            look_.proprios[i] = {copy.values, copy.sequence, copy.captured, false};
        }
        return look_;
    }

    bool release() override {
        cameras_.clear();
        proprios_.clear();
        return true;
    }

private:
    Shared& shared_;
    std::vector<CameraBuffers> cameras_;
    std::vector<ProprioBuffer> proprios_;
    Look look_;
};

class MutexStore final : public SensorStore {
public:
    explicit MutexStore(const StoreSetup& setup)
        : shared_{std::vector<Locked<CameraBuffers>>(setup.cameras.size()),
                  std::vector<Locked<ProprioBuffer>>(setup.proprios.size())} {
        for (std::size_t i = 0; i < setup.cameras.size(); ++i) {
            const CameraConfig& config = setup.cameras[i];
            shared_.cameras[i].buffers.image.resize(image_bytes(config));
            shared_.cameras[i].buffers.depth.resize(depth_bytes(config));
        }
        for (std::size_t i = 0; i < setup.proprios.size(); ++i)
            shared_.proprios[i].buffers.values.resize(static_cast<std::size_t>(setup.proprios[i].size));
    }

    void begin(std::size_t) override {}

    void fill(std::size_t camera, Field field, const void* data, TimePoint captured) override {
        Locked<CameraBuffers>& locked = shared_.cameras[camera];
        const std::lock_guard lock(locked.mutex);
        CameraBuffers& to = locked.buffers;
        switch (field) {
            case Field::image: std::memcpy(to.image.data(), data, to.image.size()); break;
            case Field::depth: std::memcpy(to.depth.data(), data, to.depth.size()); break;
            case Field::intrinsics: std::memcpy(to.intrinsics.data(), data, sizeof to.intrinsics); break;
            case Field::extrinsics: std::memcpy(to.extrinsics.data(), data, sizeof to.extrinsics); break;
        }
        const auto f = static_cast<std::size_t>(field);
        ++to.sequence[f];
        to.captured[f] = captured.time_since_epoch();
    }

    void commit(std::size_t, TimePoint) override {}

    void update_proprio(std::size_t stream, std::span<const float> values, TimePoint captured) override {
        Locked<ProprioBuffer>& locked = shared_.proprios[stream];
        const std::lock_guard lock(locked.mutex);
        std::memcpy(locked.buffers.values.data(), values.data(), values.size_bytes());
        ++locked.buffers.sequence;
        locked.buffers.captured = captured.time_since_epoch();
    }

    std::unique_ptr<StoreReader> make_reader() override { return std::make_unique<MutexReader>(shared_); }

private:
    Shared shared_;
};

}  // namespace

std::unique_ptr<SensorStore> make_mutex_store(const StoreSetup& setup) { return std::make_unique<MutexStore>(setup); }

}  // namespace chiral::stress
