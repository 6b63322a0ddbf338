// SPDX-License-Identifier: Apache-2.0
// Observations that are handed out as shared pointers and come back to be filled again, so that a stream of them
// allocates nothing once their buffers have their size.
//
// Asking a shared_ptr whether it is the last (use_count() == 1) would not do: that is a relaxed load, so what the last
// user still read could race with what the pool writes next. Here the memory of the shared_ptr's control block lies in
// the slot, and giving it back is what frees the slot; that comes after everything that any user did, weak pointers
// included.
//
// So this is no Recycler (robot/), whose values are given back by hand: here the last user gives back, whoever that is.
//
// Thread rule: take() belongs to one thread at a time, the pointers to anyone; they may outlive the pool.
#pragma once

#include <chiral/types.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

namespace chiral::client {

class ObservationPool {
public:
    /// An observation to be filled, with whatever it held before. Beyond `kept` that are in use at once, each is allocated,
    /// and freed by its last user.
    std::shared_ptr<Observation> take() {
        for (const std::shared_ptr<Slot>& slot : slots_)
            if (!slot->in_use.load(std::memory_order_acquire)) return lend(slot);
        const auto slot = std::make_shared<Slot>();
        if (slots_.size() < kept) slots_.push_back(slot);
        return lend(slot);
    }

    /// Those that nobody uses give back what they have borrowed.
    void let_go_of_loans() noexcept {
        for (const std::shared_ptr<Slot>& slot : slots_) {
            if (slot->in_use.load(std::memory_order_acquire)) continue;
            for (CameraInfo& camera : slot->observation.cameras) {
                camera.image.clear();
                camera.depth_data.clear();
            }
        }
    }

    static constexpr std::size_t kept = 8;

private:
    struct Slot {
        Observation observation;
        // Set by take(). Cleared with release when the last user has gone, which take() acquires before it lends the slot
        // again. Without the pair ThreadSanitizer reports the user's reads against the next decoding
        // (StreamedObservationsAreReused).
        std::atomic<bool> in_use{false};
        alignas(std::max_align_t) std::byte control_block[128];
    };

    // Gives out the slot's own memory for the one control block of the one shared_ptr that take() makes.
    template <class T>
    struct ControlBlockAllocator {
        using value_type = T;
        explicit ControlBlockAllocator(std::shared_ptr<Slot> lent) : slot(std::move(lent)) {}
        template <class U>
        ControlBlockAllocator(const ControlBlockAllocator<U>& other) : slot(other.slot) {}

        T* allocate(std::size_t count) {
            static_assert(alignof(T) <= alignof(std::max_align_t));
            if (count * sizeof(T) > sizeof slot->control_block) return std::allocator<T>().allocate(count);
            return reinterpret_cast<T*>(slot->control_block);
        }
        void deallocate(T* block, std::size_t count) noexcept {
            if (count * sizeof(T) > sizeof slot->control_block) std::allocator<T>().deallocate(block, count);
            slot->in_use.store(false, std::memory_order_release);  // pairs with the load in take()
        }
        friend bool operator==(const ControlBlockAllocator& a, const ControlBlockAllocator& b) { return a.slot == b.slot; }

        std::shared_ptr<Slot> slot;  // keeps the slot alive for users who outlive the pool
    };

    static std::shared_ptr<Observation> lend(const std::shared_ptr<Slot>& slot) {
        slot->in_use.store(true, std::memory_order_relaxed);  // only take() sets and reads it before lending
        return {&slot->observation, [](Observation*) noexcept {}, ControlBlockAllocator<Observation>(slot)};
    }

    std::vector<std::shared_ptr<Slot>> slots_;
};

}  // namespace chiral::client
