// SPDX-License-Identifier: Apache-2.0
// What an Engine is made of: the layout of its arena, and the state of a reader.
//
// The arena holds everything that threads share and no pointer, so that it could be mapped elsewhere. Offsets are computed
// from the declarations alone:
//
//     seats | bell | per camera: sync, claims, news, stamps, seats | per proprio: head, bell | images, depths, K, T | rings |
//     spare slots
//
// A slot of the user's own type (Slot<T>) is a camera that has an image only: all that is said of cameras here goes for them,
// and they stand behind the cameras.
//
// A field has two slots more than it has readers, and a spare one for when a writer is revoked that may come back. No memory is spent on the
// spare slots before that: they lie at the end and are prefaulted by the first revocation.
#pragma once

#include "arena.hpp"
#include "freshness.hpp"
#include "proprio_samples.hpp"
#include "streamed_copy.hpp"

#include <chiral/core/bell.hpp>
#include <chiral/core/reader_seats.hpp>
#include <chiral/core/sample_ring.hpp>
#include <chiral/core/transaction.hpp>
#include <chiral/engine.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace chiral::detail {

using Policy = core::StdAtomics;
using core::kFields;
inline constexpr int kImage = static_cast<int>(Field::image);
inline constexpr int kDepth = static_cast<int>(Field::depth);

inline std::int64_t nanoseconds(TimePoint time) noexcept {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

/// The words of one camera that threads share.
using CameraBlock = core::CameraCore<Policy>;
using SlotStamp = core::SlotStamp<Policy>;

struct ProprioBlock {
    alignas(core::kCacheLine) core::RingHead<Policy> head;
    core::Bell<Policy> bell;
};

/// Where the slots of one camera lie, and how long they are. A field without slots has bytes 0.
struct CameraLayout {
    std::size_t block{0};
    std::size_t seats{0};
    std::size_t copies{0};                      // a CopyChoice for each field that can be large
    core::FieldReaders readers{};               // those of the depth map are the first of the camera's
    std::array<std::size_t, kFields> slots{};   // offset of slot 0
    std::array<std::size_t, kFields> spare{};   // offset of the slot after the last of those
    std::array<std::size_t, kFields> stride{};  // from slot to slot
    std::array<std::size_t, kFields> bytes{};   // payload of one slot
    std::array<std::size_t, kFields> room{};    // that, and the size of an encoded image
    std::size_t guest_pins{0};                  // slots for what guests have pinned
    bool encoded{false};                        // images of any length

    /// Without the spare one.
    std::size_t count(int field) const noexcept { return readers[static_cast<std::size_t>(field)] + guest_pins + 2; }
};

/// A guest's page has a line for each camera, so that writers of one do not slow those of another down.
inline std::size_t guest_line(std::size_t camera) noexcept { return camera * core::kCacheLine; }
std::size_t guest_page_bytes(std::size_t cameras) noexcept;

struct ProprioLayout {
    std::size_t block{0};
    std::size_t cells{0};
    std::size_t words{0};  // per sample: captured, published, values
};

/// Behind the room for an encoded image lies how much of it is used: payload like the rest of the slot.
inline std::size_t bytes_with_size(std::size_t most) noexcept { return (most + 7) / 8 * 8 + sizeof(std::uint64_t); }
inline std::size_t encoded_size(const std::byte* slot, std::size_t most) noexcept {
    std::uint64_t size = 0;
    std::memcpy(&size, slot + bytes_with_size(most) - sizeof size, sizeof size);
    return static_cast<std::size_t>(size);
}
inline void set_encoded_size(std::byte* slot, std::size_t most, std::uint64_t size) noexcept {
    std::memcpy(slot + bytes_with_size(most) - sizeof size, &size, sizeof size);
}

inline constexpr std::size_t kMaxProprioSize = 4096;                     // copied word by word, so no stream for an image
inline constexpr std::size_t kMaxProprioHistory = std::size_t{1} << 20;  // keeps sizes and step bounds in range

struct EngineLayout {
    std::size_t seats{0};
    std::size_t bell{0};
    std::vector<CameraLayout> cameras;  // and behind them the slots
    std::vector<ProprioLayout> proprios;
    std::size_t bytes{0};        // to be prefaulted
    std::size_t spare_bytes{0};  // after those

    EngineLayout(const std::vector<CameraConfig>& cameras, const std::vector<ProprioConfig>& proprios,
                 const EngineOptions& options);
};

/// Eigen stores by columns, slots and the wire by rows.
template <class Matrix>
void store_row_major(const Matrix& matrix, void* slot) noexcept {
    double values[Matrix::SizeAtCompileTime];
    for (int r = 0; r < matrix.rows(); ++r)
        for (int c = 0; c < matrix.cols(); ++c) values[r * matrix.cols() + c] = matrix(r, c);
    std::memcpy(slot, values, sizeof values);
}

struct EngineState {
    EngineState(std::vector<CameraConfig> cameras, std::vector<ProprioConfig> proprios, EngineOptions options);

    core::ReaderSeats<Policy>& seats() const noexcept { return at<core::ReaderSeats<Policy>>(layout.seats); }
    core::Bell<Policy>& bell() const noexcept { return at<core::Bell<Policy>>(layout.bell); }
    std::size_t source_of_slot(std::size_t slot) const noexcept { return cameras.size() + slot; }
    CameraBlock& camera(std::size_t i) const noexcept { return at<CameraBlock>(layout.cameras[i].block); }
    core::ReaderSeats<Policy>& seats_of(std::size_t camera) const noexcept {
        return at<core::ReaderSeats<Policy>>(layout.cameras[camera].seats);
    }
    const core::FieldReaders& readers(std::size_t camera) const noexcept { return layout.cameras[camera].readers; }
    /// Null if there can be none: what a transaction of that camera wants to know.
    const core::GuestHazards<Policy>* guests(std::size_t camera) const noexcept {
        if (!guest_memory_) return nullptr;  // one look, for those who have none
        return camera < guest_hazards_.size() ? &guest_hazards_[camera] : nullptr;
    }
    std::byte* slot(std::size_t camera, int field, int slot) const noexcept {
        const CameraLayout& c = layout.cameras[camera];
        const auto number = static_cast<std::size_t>(slot);
        if (number >= c.count(field)) return arena.base() + c.spare[field];
        return arena.base() + c.slots[field] + number * c.stride[field];
    }
    core::SampleRing<Policy> ring(std::size_t i) const noexcept {
        const ProprioLayout& p = layout.proprios[i];
        return {at<ProprioBlock>(p.block).head, &at<Policy::Atomic<std::uint64_t>>(p.cells), options.proprio_history,
                p.words};
    }
    core::Bell<Policy>& proprio_bell(std::size_t i) const noexcept {
        return at<ProprioBlock>(layout.proprios[i].block).bell;
    }
    /// Of one of the fields that can be large.
    CopyChoice& copy_choice(std::size_t camera, int field) const noexcept {
        return at<CopyChoice>(layout.cameras[camera].copies + sizeof(CopyChoice) * static_cast<std::size_t>(field));
    }
    TimePoint now() const noexcept { return options.now ? options.now() : Clock::now(); }

    Limits camera_limits(std::size_t camera) const noexcept {
        const CameraConfig& config = cameras[camera];
        return {stale_after(config, options.camera_stale_after), config.frozen_after.value_or(options.camera_frozen_after),
                options.capture_ahead_tolerance};
    }
    Limits proprio_limits(std::size_t proprio) const noexcept {
        const ProprioConfig& config = proprios[proprio];
        return {stale_after(config, options.proprio_stale_after), config.frozen_after.value_or(options.proprio_frozen_after),
                options.capture_ahead_tolerance};
    }
    Limits slot_limits(std::size_t slot) const noexcept {
        const SlotConfig& config = options.slots[slot];
        return {config.stale_after.value_or(options.proprio_stale_after), config.frozen_after,
                options.capture_ahead_tolerance};
    }

    Status unknown_camera(std::size_t camera) const noexcept {
        return {Errc::unknown_camera, "", "camera", camera, cameras.size()};
    }
    Status unknown_proprio(std::size_t proprio) const noexcept {
        return {Errc::unknown_proprio, "", "proprio", proprio, proprios.size()};
    }
    Status unknown_slot(std::size_t slot) const noexcept {
        return {Errc::unknown_slot, "", "slot", slot, options.slots.size()};
    }
    Status camera_error(Errc code, std::size_t camera, Field field, std::size_t got, std::size_t expected,
                        const char* detail = "") const noexcept {
        return {code, cameras[camera].name.c_str(), to_string(field), got, expected, detail};
    }

    /// See Engine::revoke_writer.
    core::Revocation revoke(std::size_t camera, int field, WriterFate fate) noexcept;

    const std::vector<CameraConfig> cameras;
    const std::vector<ProprioConfig> proprios;
    const EngineOptions options;
    const EngineLayout layout;
    const Arena arena;
    core::GuestSeats<Policy> guest_seats;

private:
    void lay_out_guests();

    std::shared_ptr<std::byte> guest_memory_;
    std::vector<core::GuestHazards<Policy>> guest_hazards_;  // by camera; empty if there can be no guests
    std::mutex revoking_;                                    // one at a time prepares a spare slot and makes use of it
    std::vector<std::array<bool, kFields>> spares_ready_;    // prefaulted; guarded by revoking_

    // A source that is slower than the limit would never be fresh.
    template <class Config>
    static Duration stale_after(const Config& config, Duration limit) noexcept {
        if (config.stale_after || config.expected_hz <= 0) return config.stale_after.value_or(limit);
        return std::max(limit, std::chrono::duration_cast<Duration>(std::chrono::duration<double>(3 / config.expected_hz)));
    }

    template <class T>
    T& at(std::size_t offset) const noexcept {
        return *std::launder(reinterpret_cast<T*>(arena.base() + offset));
    }
};

/// Index of the first element in row-major order that is NaN or infinite, or -1.
template <class Matrix>
int first_not_finite(const Matrix& matrix) noexcept {
    for (int r = 0; r < matrix.rows(); ++r)
        for (int c = 0; c < matrix.cols(); ++c)
            if (!std::isfinite(matrix(r, c))) return static_cast<int>(r * matrix.cols() + c);
    return -1;
}

/// What a reader keeps of one camera between and during its snapshots.
struct CameraPin {
    int seat{-1};                       // -1: it does not look at the camera
    std::array<bool, kFields> looks{};  // at which of its fields
    core::View view;
    std::array<std::uint64_t, kFields> guards{};  // as pinned; kept only with verify_pins
    std::uint64_t last_sequence{0};               // of the image in the last snapshot
    std::uint64_t missed{0};
    Freshness freshness;
};

struct ProprioCopy {
    bool looks{true};
    std::vector<float> values;
    std::vector<float> scratch;                   // read into first: an overrun must leave `values` as they were
    std::vector<std::byte> exact, exact_scratch;  // of a stream of another type than float32, which `values` are made of
    ProprioSample sample;
    std::uint64_t last_sequence{0};
    std::uint64_t missed{0};
    Freshness freshness;
};

struct ReaderState {
    EngineState* engine;
    int seat{-1};
    bool live{false};            // a snapshot holds the pins
    std::uint64_t snapshots{0};  // taken so far
    TimePoint time{};
    TimePoint reference{};
    std::uint32_t steps{0};
    std::vector<CameraPin> cameras;
    std::vector<ProprioCopy> proprios;

    explicit ReaderState(EngineState& engine);
    ~ReaderState();
    /// What it looks at. Throws std::invalid_argument for names of nothing.
    void choose(const ReaderScope& scope);
    /// Takes a seat in the engine, and at each source that it looks at. Throws std::runtime_error if one has none left; what was
    /// taken goes back with the reader.
    void sit_down();
    bool intact() const noexcept;
    /// Since the older of capture and publication.
    Duration age(const Stamp&) const noexcept;
    void unpin() noexcept;
    const SlotStamp& stamp(std::size_t camera, int field) const noexcept {
        return engine->camera(camera).stamps[field][cameras[camera].view.slot(field)];
    }
};

}  // namespace chiral::detail
