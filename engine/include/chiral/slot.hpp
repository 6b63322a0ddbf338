// SPDX-License-Identifier: Apache-2.0
// Data of the user's own type among the sensors: a tactile map, a force reading, the state of a robot.
//
//     struct Touch { float pressure[16][16]; };
//     chiral::EngineOptions options;
//     options.slots = {chiral::slot_config<Touch>("touch")};
//     chiral::Engine engine(cameras, proprios, options);
//     chiral::Slot<Touch> touch(engine, "touch");
//
//     touch.update(reading, captured);                          // sensor thread
//     const chiral::Snapshot snapshot = reader.snapshot();      // reading thread
//     const Touch& seen = touch.in(snapshot);                   // unchanged until `snapshot` is gone
//
// Guarantees: those of a camera's image, by the same means: wait-free on both sides, never torn, pinned with the rest of a
// snapshot, revocable; the whole value or nothing. It is all zero bytes before the first update.
//
// Thread rules: one thread at a time updates a slot (a second one is told writer_busy). A Slot<T> is a name for the slot, small,
// and may be copied to any thread; the engine outlives it.
#pragma once

#include <chiral/engine.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace chiral {

/// Values are copied byte by byte, and none of them is constructed or destroyed.
template <class T>
concept SlotValue = std::is_trivially_copyable_v<T> && std::is_object_v<T> && alignof(T) <= 64;

/// Declares a slot for values of type T, for EngineOptions::slots. `shape` and `dtype`, where given, let observations carry it.
template <SlotValue T>
SlotConfig slot_config(std::string name, DType dtype = DType::uint8, std::vector<int> shape = {}) {
    SlotConfig config;
    config.name = std::move(name);
    config.bytes = sizeof(T);
    config.type = &typeid(T);
    config.dtype = dtype;
    config.shape = std::move(shape);
    return config;
}

template <SlotValue T>
class Slot {
public:
    /// Throws std::invalid_argument if there is no such slot, or it is of another type.
    Slot(Engine& engine, const std::string& name) : engine_(&engine) {
        const auto& slots = engine.slots();
        while (index_ < slots.size() && slots[index_].name != name) ++index_;
        if (index_ == slots.size()) throw std::invalid_argument("chiral::Slot: there is no slot '" + name + "'");
        const SlotConfig& config = slots[index_];
        if (config.type ? *config.type != typeid(T) : config.bytes != sizeof(T))
            throw std::invalid_argument("chiral::Slot: slot '" + name + "' was declared for values of another type, of " +
                                        std::to_string(config.bytes) + " bytes");
    }

    /// Copies and publishes. Captured now, or when the caller says.
    [[nodiscard]] Status update(const T& value) noexcept { return engine_->update_slot(index_, &value, sizeof value); }
    [[nodiscard]] Status update(const T& value, TimePoint captured) noexcept {
        return engine_->update_slot(index_, &value, sizeof value, captured);
    }

    /// The value in a snapshot of the same engine. Throws std::logic_error if its reader does not look at this slot.
    const T& in(const Snapshot& snapshot) const {
        const std::span<const std::byte> bytes = snapshot.slot(index_).bytes();
        if (bytes.empty())
            throw std::logic_error("chiral::Slot: the reader does not look at slot '" + engine_->slots()[index_].name + "'");
        return *reinterpret_cast<const T*>(bytes.data());
    }
    const T& in(Snapshot&&) const = delete;  // gone at the end of the expression
    /// Number, times and status of the value in a snapshot.
    SlotView view(const Snapshot& snapshot) const noexcept { return snapshot.slot(index_); }
    SlotView view(Snapshot&&) const = delete;

    std::size_t index() const noexcept { return index_; }
    /// For Engine::wait() and wait_any().
    Source source() const noexcept { return {Source::Kind::slot, index_}; }

private:
    Engine* engine_;
    std::size_t index_{0};
};

}  // namespace chiral
