// SPDX-License-Identifier: Apache-2.0
// Readers whose hazards lie in pages that others can write.
#include "support.hpp"

#include <chiral/core/guest_seats.hpp>

#include <gtest/gtest.h>

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

namespace chiral::test {
namespace {

using Policy = core::StdAtomics;
using Hazard = core::Hazard<Policy>;

constexpr int kSide = 64;  // so large that the engine asks what guests have looked at
constexpr std::size_t kBytes = std::size_t{kSide} * kSide * 3;

/// An engine for guests, with its memory and their pages where a guest finds them.
struct House {
    explicit House(int guests, std::vector<CameraConfig> cameras = {{.name = "wrist", .height = kSide, .width = kSide}})
        : engine(std::move(cameras), {}, options(guests)) {}

    EngineOptions options(int guests) {
        EngineOptions options;
        options.guests = guests;
        options.memory = [this](std::size_t bytes) { return memory = zeroed(bytes); };
        options.guest_memory = [this](std::size_t bytes) { return pages = zeroed(bytes); };
        return options;
    }
    static std::shared_ptr<std::byte> zeroed(std::size_t bytes) {
        void* const made = std::aligned_alloc(4096, bytes);
        std::memset(made, 0, bytes);
        return {static_cast<std::byte*>(made), [](std::byte* at) { std::free(at); }};
    }
    Hazard::Word& hazard(int seat, int pin) {
        std::byte* const page = pages.get() + static_cast<std::size_t>(seat) * engine.guest_page_bytes();
        return reinterpret_cast<Hazard::Word*>(page + engine.guest_camera(0).hazards)[pin];
    }
    core::View pin(int seat, int which, std::uint64_t occupant, std::uint64_t attempt) {
        const auto& view = *reinterpret_cast<const Hazard::Word*>(memory.get() + engine.guest_camera(0).view);
        return Hazard::pin(hazard(seat, which), view, core::guest_epoch(occupant, attempt));
    }
    const std::byte* image(core::View view) const {
        const GuestCamera::Buffer buffer = engine.guest_camera(0).buffers[0];
        return memory.get() + buffer.slots + static_cast<std::size_t>(view.slot(0)) * buffer.stride;
    }
    bool shows(core::View view, std::uint8_t value) const {
        return std::all_of(image(view), image(view) + kBytes, [=](std::byte b) { return b == std::byte{value}; });
    }
    Status publish(std::uint8_t value) {
        const std::vector<std::uint8_t> pixels(kBytes, value);
        return engine.update_image(0, pixels.data(), pixels.size());
    }

    std::shared_ptr<std::byte> memory, pages;
    Engine engine;
};

TEST(AGuest, WhoHasLeftLeavesAPlaceThatNoWriterLooksAt) {
    House house(2);
    const std::size_t page = house.engine.guest_page_bytes();
    ASSERT_GT(house.engine.admit_guest(0), 0u);
    // As it is while another page takes its place, or when there is no memory for that.
    ASSERT_EQ(mprotect(house.pages.get() + page, page, PROT_NONE), 0);
    for (std::uint8_t value = 1; value < 9; ++value) EXPECT_TRUE(house.publish(value).ok());
    house.engine.retire_guest(0);
    ASSERT_EQ(mprotect(house.pages.get(), page, PROT_NONE), 0);
    for (std::uint8_t value = 1; value < 9; ++value) EXPECT_TRUE(house.publish(value).ok());
    ASSERT_EQ(mprotect(house.pages.get(), 2 * page, PROT_READ | PROT_WRITE), 0);  // for whoever frees it
}

TEST(AGuest, KeepsWhatItHasPinnedAndNothingAfterItHasGone) {
    House house(1);
    ASSERT_TRUE(house.publish(1).ok());
    const std::uint64_t occupant = house.engine.admit_guest(0);
    ASSERT_GT(occupant, 0u);
    const core::View first = house.pin(0, 0, occupant, 1);
    ASSERT_TRUE(house.publish(2).ok());
    const core::View second = house.pin(0, 1, occupant, 1);
    for (std::uint8_t value = 3; value < 50; ++value) {
        ASSERT_TRUE(house.publish(value).ok());
        ASSERT_TRUE(house.shows(first, 1));
        ASSERT_TRUE(house.shows(second, 2));
    }
    house.engine.retire_guest(0);
    for (std::uint8_t value = 50; value < 60; ++value) ASSERT_TRUE(house.publish(value).ok());
    EXPECT_FALSE(house.shows(first, 1));
    EXPECT_FALSE(house.shows(second, 2));
}

TEST(AGuest, HasANumberThatNoOtherHas) {
    House house(2);
    std::uint64_t last = 0;
    for (int i = 0; i < 10; ++i) {
        const std::uint64_t occupant = house.engine.admit_guest(i % 2);
        EXPECT_GT(occupant, last);
        last = occupant;
        house.engine.retire_guest(i % 2);
    }
}

TEST(AGuest, IsHelpedOnlyUnderItsOwnNumber) {
    House house(1);
    const std::uint64_t occupant = house.engine.admit_guest(0);
    const std::uint64_t other = Hazard::pending(core::guest_epoch(occupant + 1, 1));
    const std::uint64_t own = Hazard::pending(core::guest_epoch(occupant, 1));
    const auto left_of = [&](std::uint64_t word) {
        house.hazard(0, 0).store(core::Site::count_, word, std::memory_order_relaxed);
        EXPECT_TRUE(house.publish(1).ok());
        return house.hazard(0, 0).load(core::Site::count_, std::memory_order_relaxed);
    };
    EXPECT_EQ(left_of(other), other);
    EXPECT_NE(left_of(own), own);
}

TEST(AGuest, ThatWritesAnythingHarmsNobody) {
    House house(2);
    ASSERT_TRUE(house.publish(1).ok());
    const std::uint64_t hostile = house.engine.admit_guest(0), good = house.engine.admit_guest(1);
    std::atomic<bool> done{false};
    std::thread scribbler([&] {
        std::mt19937_64 random(1);
        while (!done) {
            const std::uint64_t number = random();
            const std::uint64_t words[] = {number,
                                           number << 2 | 2,
                                           number << 2,
                                           0,
                                           Hazard::pending(core::guest_epoch(hostile, number & 7)),
                                           Hazard::pending(core::guest_epoch(good, number & 7))};
            house.hazard(0, static_cast<int>(number >> 40 & 1))
                .store(core::Site::count_, words[(number >> 41) % std::size(words)], std::memory_order_relaxed);
        }
    });
    std::thread sensor([&] {
        for (int i = 0; !done; ++i) {
            const Status status = house.publish(static_cast<std::uint8_t>(i));
            EXPECT_TRUE(status.ok());
            EXPECT_LE(status.steps(), house.engine.writer_step_bound());
        }
    });
    Reader reader = house.engine.make_reader();
    for (std::uint64_t i = 1; i <= 3000; ++i) {
        const core::View view = house.pin(1, 0, good, i);
        EXPECT_TRUE(house.shows(view, std::to_integer<std::uint8_t>(*house.image(view))));
        Hazard::unpin(house.hazard(1, 0), view);
        const Snapshot snapshot = reader.snapshot();
        const std::span<const std::uint8_t> image = snapshot.camera(0).image();
        EXPECT_TRUE(std::all_of(image.begin(), image.end(), [&](std::uint8_t p) { return p == image[0]; }));
    }
    done = true;
    scribbler.join();
    sensor.join();
}

TEST(AGuest, IsDeclaredWithinBounds) {
    const auto refused = [](const EngineOptions& options) {
        try {
            const Engine engine({{.name = "wrist", .height = kSide, .width = kSide}}, {}, options);
            return std::string();
        } catch (const std::invalid_argument& error) {
            return std::string(error.what());
        }
    };
    EngineOptions options;
    options.guests = 5;
    EXPECT_NE(refused(options).find("guests is 5, expected 0 to 4"), std::string::npos);
    options.guests = 1;
    EXPECT_NE(refused(options).find("no guest_memory is given"), std::string::npos);
    options.guest_memory = [](std::size_t bytes) { return House::zeroed(bytes); };
    options.readers = 13;
    EXPECT_NE(refused(options).find("are 15, expected at most 14"), std::string::npos);
    options.readers = 12;
    EXPECT_EQ(refused(options), "");
}

}  // namespace
}  // namespace chiral::test
