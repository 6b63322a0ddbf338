// SPDX-License-Identifier: Apache-2.0
// Engines that are broken on purpose: each does one step of WordStore's protocol wrong, so that the harness is seen to notice.
#include "engines.hpp"
#include "word_store.hpp"

#include <chrono>
#include <mutex>
#include <thread>

namespace chiral::stress {
namespace {

// Keeps a window open in which the defect shows.
void linger(std::chrono::microseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) std::this_thread::yield();
}

// What a writer may lose without being called slow.
constexpr std::chrono::microseconds kForgiven{10};

// Stops for a moment in the middle of every image.
class HaltingStore : public WordStore {
public:
    using WordStore::WordStore;
    void fill(std::size_t camera, Field field, const void* data, TimePoint captured) override {
        if (field != Field::image) return WordStore::fill(camera, field, data, captured);
        Source& to = source(camera);
        const std::size_t words = words_of(to, 0);
        write(to, 0, data, 0, words / 2);
        stamp(to, 0, captured);
        half_way(to);
        linger(kForgiven);
        write(to, 0, data, words / 2, words);
    }

protected:
    virtual void half_way(Source&) {}
};

// Makes a slot the newest when half of the image is in it.
class PublishEarlyStore final : public HaltingStore {
    using HaltingStore::HaltingStore;
    void half_way(Source& to) override { publish(to); }
};

// The writer takes no other slot than the one that the readers have.
class SharedSlotStore final : public HaltingStore {
    using HaltingStore::HaltingStore;
    void begin(std::size_t camera) override {
        if (source(camera).number == 0) return HaltingStore::begin(camera);
        ++source(camera).number;
    }
};

// A seqlock, one slot that is overwritten under its readers, whose readers do not look at the sequence again.
class NoRecheckStore final : public WordStore {
public:
    explicit NoRecheckStore(const StoreSetup& setup) : WordStore(setup, 1) {}
    bool unchanged(const Slot&, std::uint64_t) const override { return true; }
    void half_copied() const override { linger(std::chrono::microseconds(100)); }
};

// Publishes every buffer by itself where one commit of the frame was asked for.
class SplitCommitStore final : public WordStore {
public:
    using WordStore::WordStore;
    void begin(std::size_t camera) override { ++source(camera).number; }
    void fill(std::size_t camera, Field field, const void* data, TimePoint captured) override {
        take(source(camera), newest(source(camera)));
        WordStore::fill(camera, field, data, captured);
        publish(source(camera));
        linger(kForgiven);
    }
    void commit(std::size_t, TimePoint) override {}
};

// A reader has the lock for as long as its copy takes, and that is long.
class SlowLockStore final : public WordStore {
public:
    using WordStore::WordStore;
    void commit(std::size_t camera, TimePoint captured) override {
        const std::lock_guard lock(mutex_);
        WordStore::commit(camera, captured);
    }
    void copy(const Source& source, Copy& to) const override {
        const std::lock_guard lock(mutex_);
        WordStore::copy(source, to);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }

private:
    mutable std::mutex mutex_;
};

// From frame 10 on the first camera brings the same pixels again and again, with new numbers and times.
class FrozenSourceStore final : public WordStore {
public:
    using WordStore::WordStore;
    void begin(std::size_t camera) override {
        if (!frozen(camera)) return WordStore::begin(camera);
        ++source(camera).number;
        take(source(camera), newest(source(camera)));
    }
    void fill(std::size_t camera, Field field, const void* data, TimePoint captured) override {
        if (!frozen(camera)) return WordStore::fill(camera, field, data, captured);
        stamp(source(camera), static_cast<std::size_t>(field), captured);
    }

private:
    bool frozen(std::size_t camera) { return camera == 0 && source(camera).number >= 10; }
};

template <class Store>
std::unique_ptr<SensorStore> make(const StoreSetup& setup) {
    return std::make_unique<Store>(setup);
}

}  // namespace

std::span<const EngineEntry> broken_engines() noexcept {
    static constexpr EngineEntry entries[] = {
        {"publish_early", "publishes before its copy has ended: torn (I1)", make<PublishEarlyStore>},
        {"no_recheck", "a seqlock whose readers do not look at the sequence again: torn (I1)", make<NoRecheckStore>},
        {"shared_slot", "writes into the slot that readers have: torn (I1)", make<SharedSlotStore>},
        {"split_commit", "publishes buffer by buffer where a frame was committed: incoherent (I3)", make<SplitCommitStore>},
        {"slow_lock", "readers hold a lock across a slow copy: writers wait (I4)", make<SlowLockStore>},
        {"frozen_source", "the first camera goes on, with the same pixels: frozen", make<FrozenSourceStore>},
    };
    return entries;
}

}  // namespace chiral::stress
