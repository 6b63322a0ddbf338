// SPDX-License-Identifier: Apache-2.0
// What the stress harness writes to and reads from: an engine under test, behind one small interface.
//
// An engine is one file that implements SensorStore and a line in engines.cpp. Writers drive it as sensor drivers would,
// readers look at it and check what they see; neither knows which engine it is.
#pragma once

#include <chiral/engine.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace chiral {
class PolicyServer;
}

namespace chiral::stress {

inline constexpr std::size_t kFields = 4;
inline constexpr std::array<Field, kFields> kFieldOrder{Field::image, Field::depth, Field::intrinsics, Field::extrinsics};

/// How cameras are written.
enum class Writes : std::uint8_t {
    frame,   ///< one frame transaction publishes all fields in one step
    fields,  ///< the documented update_* calls publish one field after the other, in the order of kFieldOrder
};

/// One camera as a reader sees it. Sequences and times that an engine does not keep are 0.
struct CameraLook {
    std::span<const std::uint8_t> image;
    std::span<const std::uint8_t> depth;  ///< elements of the declared type; empty without depth
    std::span<const double> intrinsics;   ///< 9 values, row-major
    std::span<const double> extrinsics;   ///< 16 values, row-major
    std::array<std::uint64_t, kFields> sequence{};
    std::array<std::chrono::nanoseconds, kFields> captured{};
};

struct ProprioLook {
    std::span<const float> values;
    std::uint64_t sequence{0};
    std::chrono::nanoseconds captured{0};
    bool overrun{false};  ///< the engine says that this is an old value, because the writer was too fast
};

/// Everything at one look. The views are valid until StoreReader::release().
struct Look {
    std::vector<CameraLook> cameras;
    std::vector<ProprioLook> proprios;
    std::uint32_t steps{0};  ///< on shared memory; 0: not counted
};

/// The right to look. One thread at a time; no longer than the store.
class StoreReader {
public:
    virtual ~StoreReader() = default;
    virtual const Look& look() = 0;
    /// Ends the look. False if the engine itself saw that something lent was written to meanwhile.
    virtual bool release() = 0;
};

/// Somebody else is writing the camera. The frame is lost; the next one may succeed.
class WriterBusy : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Thread rules: one thread writes a camera, one a stream; any number of readers. What an engine refuses, it throws as
/// std::runtime_error.
class SensorStore {
public:
    virtual ~SensorStore() = default;

    /// A frame is begin(), fill() of every field that the camera has in kFieldOrder, commit(). `data` is what a driver holds:
    /// pixels, depths, or a row-major matrix of doubles.
    virtual void begin(std::size_t camera) = 0;
    virtual void fill(std::size_t camera, Field field, const void* data, TimePoint captured) = 0;
    virtual void commit(std::size_t camera, TimePoint captured) = 0;
    virtual void update_proprio(std::size_t stream, std::span<const float> values, TimePoint captured) = 0;
    /// Steps on shared memory of the calling thread's last update, at most writer_step_bound(). 0: not counted.
    virtual std::uint32_t last_camera_steps(std::size_t) const { return 0; }
    virtual std::uint32_t last_proprio_steps(std::size_t) const { return 0; }

    /// Null if the store cannot be read.
    virtual std::unique_ptr<StoreReader> make_reader() = 0;

    /// Buffers that the updates of one field go to in turn: the canary has as many. 0: not told.
    virtual std::size_t slots_per_field() const { return 0; }

    /// 0: the engine promises no bound.
    virtual std::uint32_t writer_step_bound() const { return 0; }
    virtual std::uint32_t reader_step_bound() const { return 0; }

    /// The engine itself, for faults that the interface above does not allow. Null: none can be injected.
    virtual Engine* engine() { return nullptr; }

    /// The server that owns the engine's buffers, where there is one. Null: a server copies from a reader.
    virtual PolicyServer* server() { return nullptr; }
};

/// Seats for observers where clients from outside are let in: one is taken by the run's own.
inline constexpr int kObservers = 3;

/// What a store is made for.
struct StoreSetup {
    std::vector<CameraConfig> cameras;
    std::vector<ProprioConfig> proprios;
    int readers{1};      ///< StoreReaders that will exist at once; one more if served and server() is null
    bool served{false};  ///< a server will send what the store holds
    Writes writes{Writes::frame};
    std::string local_socket{};                                        ///< of that server; empty: none
    int local_observers{0};                                            ///< seats there, beside the one in control
    int direct_readers{0};                                             ///< of clients there
    std::optional<int> listen{};                                       ///< the port, where clients from outside are let in
    std::chrono::nanoseconds idle_timeout = std::chrono::seconds(20);  ///< a client that takes nothing is dropped after it
};

}  // namespace chiral::stress
