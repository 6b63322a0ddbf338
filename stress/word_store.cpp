// SPDX-License-Identifier: Apache-2.0
#include "word_store.hpp"

#include <algorithm>
#include <cstring>
#include <thread>

namespace chiral::stress {
namespace {

constexpr std::size_t kWord = sizeof(std::uint64_t);

void load(const std::vector<std::atomic<std::uint64_t>>& words, std::size_t first, void* to, std::size_t bytes) noexcept {
    auto* out = static_cast<std::byte*>(to);
    for (std::size_t at = 0; at < bytes; at += kWord) {
        const std::uint64_t word = words[first + at / kWord].load(std::memory_order_acquire);
        std::memcpy(out + at, &word, std::min(kWord, bytes - at));
    }
}

}  // namespace

WordStore::WordStore(const StoreSetup& setup, std::size_t slots)
    : cameras_(setup.cameras.size()), sources_(setup.cameras.size() + setup.proprios.size()) {
    for (std::size_t i = 0; i < sources_.size(); ++i) {
        Source& source = sources_[i];
        if (i < cameras_) {
            const CameraConfig& config = setup.cameras[i];
            source.parts[0].bytes = image_bytes(config);
            source.parts[1].bytes = depth_bytes(config);
            source.parts[2].bytes = sizeof Copy::intrinsics;
            source.parts[3].bytes = sizeof Copy::extrinsics;
        } else {
            source.parts[0].bytes = static_cast<std::size_t>(setup.proprios[i - cameras_].size) * sizeof(float);
        }
        std::size_t words = 0;
        for (std::size_t part = 0; part < kFields; ++part) {
            source.parts[part].first = words;
            words += words_of(source, part);
        }
        source.slots = std::vector<Slot>(slots);
        for (Slot& slot : source.slots) slot.words = std::vector<Word>(words + 2 * kFields);
    }
}

// ---- writing ----

void WordStore::take(Source& source, std::size_t index) {
    source.writing = index;
    Slot& slot = source.slots[index];
    slot.sequence.store(slot.sequence.load(std::memory_order_relaxed) | 1, std::memory_order_relaxed);
}

void WordStore::write(Source& source, std::size_t part, const void* data, std::size_t from, std::size_t to) {
    const auto* bytes = static_cast<const std::byte*>(data);
    std::vector<Word>& words = source.slots[source.writing].words;
    for (std::size_t i = from; i < to; ++i) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes + i * kWord, std::min(kWord, source.parts[part].bytes - i * kWord));
        words[source.parts[part].first + i].store(word, std::memory_order_release);
    }
}

void WordStore::stamp(Source& source, std::size_t part, TimePoint captured) {
    std::vector<Word>& words = source.slots[source.writing].words;
    const std::size_t at = words.size() - 2 * kFields + 2 * part;
    words[at].store(source.number, std::memory_order_release);
    words[at + 1].store(static_cast<std::uint64_t>(captured.time_since_epoch().count()), std::memory_order_release);
}

void WordStore::publish(Source& source) {
    Slot& slot = source.slots[source.writing];
    slot.sequence.store((slot.sequence.load(std::memory_order_relaxed) | 1) + 1, std::memory_order_release);
    source.newest.store(source.writing, std::memory_order_release);
}

void WordStore::begin(std::size_t camera) {
    Source& source = sources_[camera];
    ++source.number;
    take(source, after_newest(source));
}

void WordStore::fill(std::size_t camera, Field field, const void* data, TimePoint captured) {
    Source& source = sources_[camera];
    const auto part = static_cast<std::size_t>(field);
    write(source, part, data, 0, words_of(source, part));
    stamp(source, part, captured);
}

void WordStore::commit(std::size_t camera, TimePoint) { publish(sources_[camera]); }

void WordStore::update_proprio(std::size_t stream, std::span<const float> values, TimePoint captured) {
    Source& source = sources_[cameras_ + stream];
    ++source.number;
    take(source, after_newest(source));
    write(source, 0, values.data(), 0, words_of(source, 0));
    stamp(source, 0, captured);
    publish(source);
}

// ---- reading ----

void WordStore::copy_slot(const Source& source, const Slot& slot, Copy& to) const {
    const auto copy = [&](std::size_t part, void* buffer) {
        auto* const out = static_cast<std::byte*>(buffer);
        const std::size_t half = words_of(source, part) / 2;
        load(slot.words, source.parts[part].first, out, half * kWord);
        if (buffer == to.image.data()) half_copied();
        load(slot.words, source.parts[part].first + half, out + half * kWord, source.parts[part].bytes - half * kWord);
    };
    if (!to.values.empty()) copy(0, to.values.data());
    if (!to.image.empty()) {
        copy(0, to.image.data());
        if (!to.depth.empty()) copy(1, to.depth.data());
        copy(2, to.intrinsics.data());
        copy(3, to.extrinsics.data());
    }
    for (std::size_t part = 0; part < kFields; ++part) {
        const std::size_t at = slot.words.size() - 2 * kFields + 2 * part;
        to.sequence[part] = slot.words[at].load(std::memory_order_acquire);
        to.captured[part] =
            std::chrono::nanoseconds(static_cast<std::int64_t>(slot.words[at + 1].load(std::memory_order_acquire)));
    }
}

void WordStore::copy(const Source& source, Copy& to) const {
    for (;;) {
        const Slot& slot = source.slots[shown(source)];
        const std::uint64_t sequence = slot.sequence.load(std::memory_order_acquire);
        if (sequence % 2 == 0) {
            copy_slot(source, slot, to);
            if (unchanged(slot, sequence)) return;
        }
        std::this_thread::yield();
    }
}

class WordStore::CopyingReader final : public StoreReader {
public:
    explicit CopyingReader(const WordStore& store) : store_(store), copies_(store.sources_.size()) {
        for (std::size_t i = 0; i < copies_.size(); ++i) {
            const Source& source = store.sources_[i];
            if (i < store.cameras_) {
                copies_[i].image.resize(source.parts[0].bytes);
                copies_[i].depth.resize(source.parts[1].bytes);
            } else {
                copies_[i].values.resize(source.parts[0].bytes / sizeof(float));
            }
        }
        look_.cameras.resize(store.cameras_);
        look_.proprios.resize(copies_.size() - store.cameras_);
    }

    const Look& look() override {
        for (std::size_t i = 0; i < copies_.size(); ++i) {
            Copy& copy = copies_[i];
            store_.copy(store_.sources_[i], copy);
            if (i < store_.cameras_)
                look_.cameras[i] = {copy.image, copy.depth, copy.intrinsics, copy.extrinsics, copy.sequence, copy.captured};
            else look_.proprios[i - store_.cameras_] = {copy.values, copy.sequence[0], copy.captured[0], false};
        }
        return look_;
    }
    bool release() override { return true; }

private:
    const WordStore& store_;
    std::vector<Copy> copies_;
    Look look_;
};

std::unique_ptr<StoreReader> WordStore::make_reader() { return std::make_unique<CopyingReader>(*this); }

}  // namespace chiral::stress
