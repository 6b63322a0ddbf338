// SPDX-License-Identifier: Apache-2.0
// How an Engine is set up. Every default suits one reader in the same process.
#pragma once

#include <chiral/api.hpp>
#include <chiral/sources.hpp>
#include <chiral/time.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace chiral {

struct EngineOptions {
    /// Readers that may exist at once, 1 to 14. Every field gets readers + 2 slots, or fewer where its source says that not all
    /// look at it (CameraConfig::readers), and one that stands in for a slot that a revoked writer has not given back.
    int readers = 1;
    /// Samples that each proprio stream remembers, 2 to 1048576; rounded up to a power of two, which Engine::options() tells.
    std::size_t proprio_history = 256;
    /// Data of the user's own types beside the four fields of cameras and the streams: slot_config<TactileMap>("tactile").
    std::vector<SlotConfig> slots{};
    /// Ask for the arena to be locked into memory (mlock), or to lie on huge pages. See Engine::arena().
    bool lock_memory = false;
    bool huge_pages = false;
    /// Where the arena is to lie instead of in memory of the engine's own: called once, at construction, with its size in bytes.
    /// Returns that many, zeroed, readable and writable, at the beginning of a page, which stay until the engine lets go of
    /// them; throws if it has none. For an embedder that lets other processes look at the slots; huge_pages is then the
    /// embedder's business. Nobody else may write there.
    std::function<std::shared_ptr<std::byte>(std::size_t)> memory = nullptr;
    /// Readers in other processes that may be there at once beside `readers`, 0 to 4: see admit_guest(). Each takes kGuestPins more slots of
    /// every field of every camera; readers + kGuestPins * guests is at most 14.
    int guests = 0;
    /// Where their pages lie, one behind the other: called once, as `memory`, if there can be any. Pages of an empty seat may be
    /// exchanged for others, zeroed, at the same place.
    std::function<std::shared_ptr<std::byte>(std::size_t)> guest_memory = nullptr;
    /// A source is stale when the older of its capture and its publication is longer ago than this.
    Duration camera_stale_after = std::chrono::milliseconds(200);
    Duration proprio_stale_after = std::chrono::milliseconds(50);
    /// A source is frozen when this many samples that a reader looked at, in a row, brought the same content as the one
    /// before, or the same capture time. Content counts only if the reader does not look at every n-th sample alone, which
    /// would miss what happens in between. 0: never, as for streams, where a gripper at rest repeats its numbers.
    std::uint64_t camera_frozen_after = 10;
    std::uint64_t proprio_frozen_after = 0;
    /// A sample captured this much after it was published is stamped by another clock: SourceStatus::ahead.
    Duration capture_ahead_tolerance = std::chrono::milliseconds(2);
    /// Check at every release that no pinned slot was touched; Snapshot::intact() tells. Costs a few cache lines per camera.
#ifdef NDEBUG
    bool verify_pins = false;
#else
    bool verify_pins = true;
#endif
    /// The clock of default capture times, publish times and ages. Must be monotonic and must not call the system.
    /// Deadlines are on it as well.
    TimePoint (*now)() noexcept = nullptr;  ///< nullptr: std::chrono::steady_clock
};

}  // namespace chiral
