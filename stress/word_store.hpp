// SPDX-License-Identifier: Apache-2.0
// A store of relaxed words: correct, plain, and every step of its protocol can be replaced. The engines that are broken on
// purpose derive from it and do one step wrong each.
//
// A source is a ring of slots, each of which holds a whole frame. The writer takes the slot after the newest, makes its
// sequence odd, copies into it, makes the sequence even, and makes it the newest. A reader copies the newest slot, and again
// if the sequence was odd before its copy or has changed after it.
//
// All that is shared is atomic, so that no defect is a data race: what goes wrong is for the harness to find.
#pragma once

#include "sensor_store.hpp"

#include <atomic>
#include <cstdint>
#include <vector>

namespace chiral::stress {

class WordStore : public SensorStore {
public:
    static constexpr std::size_t kSlots = 4;

    explicit WordStore(const StoreSetup& setup, std::size_t slots = kSlots);

    void begin(std::size_t camera) override;
    void fill(std::size_t camera, Field field, const void* data, TimePoint captured) override;
    void commit(std::size_t camera, TimePoint captured) override;
    void update_proprio(std::size_t stream, std::span<const float> values, TimePoint captured) override;
    std::unique_ptr<StoreReader> make_reader() override;

protected:
    // Stored with release and loaded with acquire. Whoever loads a word of a later frame is then after the store that made
    // its slot's sequence odd, and sees that: a fence, which ThreadSanitizer does not follow, is not needed.
    using Word = std::atomic<std::uint64_t>;

    struct Slot {
        std::vector<Word> words;
        Word sequence{0};
    };
    /// Where a field lies in a slot.
    struct Part {
        std::size_t first{0};
        std::size_t bytes{0};
    };
    struct alignas(64) Source {
        std::array<Part, kFields>
            parts{};  ///< of a proprio stream, the first only. After them, two words for each: its stamp
        std::vector<Slot> slots;
        std::atomic<std::size_t> newest{0};
        std::size_t writing{0};  ///< the writer's, as the number of the frame that it writes
        std::uint64_t number{0};
    };
    /// What a reader has copied out of a slot.
    struct Copy {
        std::vector<std::uint8_t> image;
        std::vector<std::uint8_t> depth;
        std::array<double, 9> intrinsics{};
        std::array<double, 16> extrinsics{};
        std::vector<float> values;
        std::array<std::uint64_t, kFields> sequence{};
        std::array<std::chrono::nanoseconds, kFields> captured{};
    };

    // The writer's steps.
    static std::size_t newest(const Source& source) noexcept { return source.newest.load(std::memory_order_relaxed); }
    static std::size_t after_newest(const Source& source) noexcept { return (newest(source) + 1) % source.slots.size(); }
    void take(Source& source, std::size_t slot);
    void write(Source& source, std::size_t part, const void* data, std::size_t from, std::size_t to);  ///< words
    void stamp(Source& source, std::size_t part, TimePoint captured);
    void publish(Source& source);

    // The reader's.
    virtual std::size_t shown(const Source& source) const { return source.newest.load(std::memory_order_acquire); }
    virtual void copy(const Source& source, Copy& to) const;
    virtual bool unchanged(const Slot& slot, std::uint64_t sequence) const {
        return slot.sequence.load(std::memory_order_relaxed) == sequence;
    }

    /// Called in the middle of copying an image.
    virtual void half_copied() const {}

    Source& source(std::size_t camera) noexcept { return sources_[camera]; }
    static std::size_t words_of(const Source& source, std::size_t part) noexcept {
        return (source.parts[part].bytes + 7) / 8;
    }

private:
    class CopyingReader;
    void copy_slot(const Source& source, const Slot& slot, Copy& to) const;

    const std::size_t cameras_;
    std::vector<Source> sources_;  // cameras, then proprio streams
};

}  // namespace chiral::stress
