// SPDX-License-Identifier: Apache-2.0
#include "local/direct_seats.hpp"

#include "net/direct_protocol.hpp"
#include "net/packets.hpp"

#include <algorithm>
#include <chrono>
#include <exception>

namespace chiral::local {
namespace {

net::DirectLayout layout_of(const Engine& engine) {
    net::DirectLayout layout;
    layout.bell = engine.guest_page_bytes();
    layout.page_bytes = layout.bell + GuestPages::kBellBytes;
    for (std::size_t i = 0; i < engine.cameras().size(); ++i) {
        const CameraConfig& config = engine.cameras()[i];
        if (config.encoding != FrameEncoding::raw) continue;
        using Nanoseconds = std::chrono::nanoseconds;
        const auto stale = std::chrono::duration_cast<Nanoseconds>(engine.stale_after(i));
        const auto ahead = std::chrono::duration_cast<Nanoseconds>(engine.options().capture_ahead_tolerance);
        layout.cameras.push_back({config.name, config.height, config.width, config.channels, config.two_dimensional,
                                  config.image_dtype, config.depth_dtype, config.depth_unit, stale.count(), ahead.count(),
                                  engine.guest_camera(i)});
    }
    return layout;
}

}  // namespace

DirectSeats::Seat::~Seat() {
    if (seat_ < 0) return;
    if (admitted_) seats_.engine_.retire_guest(seat_);
    seats_.taken_[static_cast<std::size_t>(seat_)] = false;
}

int DirectSeats::Seat::take(std::vector<std::uint8_t>& layout) {
    const auto end = seats_.taken_.begin() + seats_.engine_.options().guests;
    const auto vacant = std::find(seats_.taken_.begin(), end, false);
    if (vacant == end) return -1;
    layout = net::direct_layout(layout_of(seats_.engine_));
    if (layout.size() >= net::kMostPacketBytes) return -1;  // of hundreds of cameras: they are asked for
    page_ = GuestPages::make(seats_.engine_.guest_page_bytes());
    *vacant = true;
    seat_ = static_cast<int>(vacant - seats_.taken_.begin());
    return page_.get();
}

std::uint64_t DirectSeats::Seat::admit() noexcept {
    const net::Descriptor page = std::move(page_);
    try {
        bell_ = seats_.pages_.place(page, seat_, seats_.engine_.guest_page_bytes());
    } catch (const std::exception&) {  // the client's doing, or want of memory: it goes on asking
        seats_.taken_[static_cast<std::size_t>(seat_)] = false;
        seat_ = -1;
        return 0;
    }
    const std::uint64_t occupant = seats_.engine_.admit_guest(seat_);
    admitted_ = true;
    if (occupant != 0) ring_.emplace(bell_.get());  // else it asks, and is told by packets
    return occupant;
}

}  // namespace chiral::local
