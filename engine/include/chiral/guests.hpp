// SPDX-License-Identifier: Apache-2.0
// Readers in other processes: they map the engine's memory read-only, and keep what they pin in a page of their own, which the
// engine's process maps as well. See core/guest_seats.hpp for why a guest that writes anything there harms itself alone.
#pragma once

#include <chiral/api.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace chiral {

/// Views of one camera that a guest may have pinned at once: so many slots of each of its fields.
inline constexpr int kGuestPins = 2;
inline constexpr int kMostGuests = 4;

/// Where a guest finds one camera: bytes from the beginning of the engine's memory, but for the hazards.
struct GuestCamera {
    struct Buffer {
        std::uint64_t slots{0};   ///< of slot 0
        std::uint64_t stride{0};  ///< from one slot to the next
        std::uint64_t count{0};   ///< of slots; slot number `count` lies at `spare`
        std::uint64_t spare{0};
        std::uint64_t bytes{0};  ///< of a slot that are payload; 0: the camera has no such buffer
        /// Per slot, kStampStride bytes apart: u64 2 * sequence, i64 captured, i64 published, nanoseconds.
        std::uint64_t stamps{0};
    };
    std::uint64_t view{0};            ///< of the word that says what is current: core::View
    std::uint64_t hazards{0};         ///< of kGuestPins words, from the beginning of the guest's page
    std::array<Buffer, 4> buffers{};  ///< in the order of Field
};
inline constexpr std::size_t kStampStride = 64;

}  // namespace chiral
