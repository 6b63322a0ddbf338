// SPDX-License-Identifier: Apache-2.0
#include "private_store.hpp"

#include <cstring>

namespace chiral::stress {
namespace {

struct Rotation {
    std::vector<std::vector<std::byte>> buffers;
    std::size_t next{0};

    void resize(std::size_t count, std::size_t bytes) { buffers.assign(count, std::vector<std::byte>(bytes)); }
    void copy_in(const void* data) noexcept {
        std::vector<std::byte>& to = buffers[next];
        next = (next + 1) % buffers.size();
        std::memcpy(to.data(), data, to.size());
    }
};

class PrivateStore final : public SensorStore {
public:
    PrivateStore(const StoreSetup& setup, std::size_t slots)
        : cameras_(setup.cameras.size()), proprios_(setup.proprios.size()) {
        for (std::size_t i = 0; i < cameras_.size(); ++i) {
            const CameraConfig& config = setup.cameras[i];
            cameras_[i].fields[0].resize(slots, image_bytes(config));
            cameras_[i].fields[1].resize(slots, depth_bytes(config));
            cameras_[i].fields[2].resize(slots, 9 * sizeof(double));
            cameras_[i].fields[3].resize(slots, 16 * sizeof(double));
        }
        for (std::size_t i = 0; i < proprios_.size(); ++i)
            proprios_[i].samples.resize(256, static_cast<std::size_t>(setup.proprios[i].size) * sizeof(float));
    }

    void begin(std::size_t) override {}
    void fill(std::size_t camera, Field field, const void* data, TimePoint) override {
        cameras_[camera].fields[static_cast<std::size_t>(field)].copy_in(data);
    }
    void commit(std::size_t, TimePoint) override {}
    void update_proprio(std::size_t stream, std::span<const float> values, TimePoint) override {
        proprios_[stream].samples.copy_in(values.data());
    }
    std::unique_ptr<StoreReader> make_reader() override { return nullptr; }

private:
    struct alignas(64) Camera {
        std::array<Rotation, kFields> fields;
    };
    struct alignas(64) Proprio {
        Rotation samples;
    };
    std::vector<Camera> cameras_;
    std::vector<Proprio> proprios_;
};

}  // namespace

std::unique_ptr<SensorStore> make_private_store(const StoreSetup& setup, std::size_t slots) {
    return std::make_unique<PrivateStore>(setup, slots);
}

}  // namespace chiral::stress
