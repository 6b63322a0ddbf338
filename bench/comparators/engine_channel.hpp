// SPDX-License-Identifier: Apache-2.0
// The engine of this project: update_image() copies and publishes, a reader pins and copies nothing.
//
// In place, the driver has filled the slot: the update publishes it and writes only the payload's first bytes, which say
// which update it is.
#pragma once

#include "channel.hpp"

#include <chiral/engine.hpp>

#include <algorithm>
#include <optional>
#include <span>

namespace chiral::bench {

/// A camera whose image has this many bytes. Rows are as long as cameras may have them.
inline CameraConfig camera_of(std::size_t bytes) {
    std::size_t rows = 1;
    while (bytes % rows != 0 || bytes / rows > 4096) ++rows;
    CameraConfig config;
    config.name = "camera";
    config.height = static_cast<int>(rows);
    config.width = static_cast<int>(bytes / rows);
    config.channels = 1;
    return config;
}

inline EngineOptions options_for(int readers) {
    EngineOptions options;
    options.readers = std::max(readers, 1);
    return options;
}

template <bool InPlace>
class EngineChannelThat {
public:
    static constexpr const char* name = InPlace ? "engine_in_place" : "engine";
    static constexpr std::size_t kHead = 16;  // written in place: the number of the update and its time
    EngineChannelThat(std::size_t bytes, int readers)
        : bytes_(bytes), engine_({camera_of(bytes)}, {}, options_for(readers)) {}

    void update(const std::byte* data) {
        if constexpr (InPlace) {
            Frame frame = engine_.begin_frame(0);
            std::memcpy(frame.image().data(), data, std::min(kHead, bytes_));
            static_cast<void>(frame.commit());
        } else {
            static_cast<void>(engine_.update_image(0, reinterpret_cast<const std::uint8_t*>(data), bytes_));
        }
    }

    class Reader {
    public:
        explicit Reader(EngineChannelThat& channel) : reader_(channel.engine_.make_reader()) {}
        template <class Pause = NoPause>
        std::span<const std::byte> look(Pause&& pause = {}) {
            snapshot_.emplace(reader_.snapshot());
            pause();
            return std::as_bytes(snapshot_->camera(0).image());
        }
        void release() { snapshot_.reset(); }

    private:
        chiral::Reader reader_;
        std::optional<Snapshot> snapshot_;
    };

private:
    std::size_t bytes_;
    Engine engine_;
};

using EngineChannel = EngineChannelThat<false>;
using EngineInPlace = EngineChannelThat<true>;

}  // namespace chiral::bench
