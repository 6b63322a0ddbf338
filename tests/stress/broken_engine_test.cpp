// Engines that break one promise each, on purpose and without a data race, so that the harness is seen to notice.
#include "run.hpp"
#include "verdict.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>

namespace chiral::stress {
namespace {

struct Frame {
    std::vector<std::uint8_t> image;
    std::vector<float> depth;
    std::array<double, 9> intrinsics{};
    std::array<double, 16> extrinsics{};
    std::uint64_t number{0};
};

struct Sample {
    std::vector<float> values;
};

// A correct engine, which publishes whole frames under one lock. The defects are in what derives from it.
class HonestStore : public SensorStore {
public:
    explicit HonestStore(const StoreSetup& setup)
        : staged(setup.cameras.size()),
          frames(setup.cameras.size()),
          older(setup.cameras.size()),
          samples(setup.proprios.size()) {
        for (std::size_t i = 0; i < staged.size(); ++i) {
            const auto pixels = static_cast<std::size_t>(setup.cameras[i].height * setup.cameras[i].width);
            staged[i].image.resize(pixels * 3);
            staged[i].depth.resize(setup.cameras[i].has_depth ? pixels : 0);
        }
    }

    void begin(std::size_t) override {}
    void fill(std::size_t camera, Field field, const void* data, TimePoint) override {
        Frame& to = staged[camera];
        switch (field) {
            case Field::image: std::memcpy(to.image.data(), data, to.image.size()); break;
            case Field::depth: std::memcpy(to.depth.data(), data, to.depth.size() * sizeof(float)); break;
            case Field::intrinsics: std::memcpy(to.intrinsics.data(), data, sizeof to.intrinsics); break;
            case Field::extrinsics: std::memcpy(to.extrinsics.data(), data, sizeof to.extrinsics); break;
        }
    }
    void commit(std::size_t camera, TimePoint) override {
        ++staged[camera].number;
        const std::lock_guard lock(mutex);
        older[camera] = frames[camera];
        frames[camera] = staged[camera];
    }
    void update_proprio(std::size_t stream, std::span<const float> values, TimePoint) override {
        const std::lock_guard lock(mutex);
        samples[stream].values.assign(values.begin(), values.end());
    }
    std::unique_ptr<StoreReader> make_reader() override;

    // Called with the lock held.
    virtual Frame show(std::size_t camera) { return frames[camera]; }

    std::mutex mutex;
    std::vector<Frame> staged;
    std::vector<Frame> frames;
    std::vector<Frame> older;
    std::vector<Sample> samples;
};

class HonestReader : public StoreReader {
public:
    explicit HonestReader(HonestStore& store) : store_(store) {}
    const Look& look() override {
        const std::lock_guard lock(store_.mutex);
        copy();
        return look_;
    }
    bool release() override { return true; }

protected:
    void copy() {
        frames_.clear();
        for (std::size_t i = 0; i < store_.frames.size(); ++i) frames_.push_back(store_.show(i));
        samples_ = store_.samples;
        look_.cameras.clear();
        for (const Frame& f : frames_) look_.cameras.push_back({f.image, f.depth, f.intrinsics, f.extrinsics, {}, {}});
        look_.proprios.clear();
        for (const Sample& sample : samples_) look_.proprios.push_back({sample.values, 0, {}, false});
    }
    HonestStore& store_;

private:
    std::vector<Frame> frames_;
    std::vector<Sample> samples_;
    Look look_;
    friend class LockHoldingReader;
    friend class SpinLockHoldingReader;
};

std::unique_ptr<StoreReader> HonestStore::make_reader() { return std::make_unique<HonestReader>(*this); }

// From frame 3 on, the last quarter of an image is of the frame before.
class TearingStore : public HonestStore {
    using HonestStore::HonestStore;
    Frame show(std::size_t camera) override {
        Frame frame = frames[camera];
        if (frame.number > 3) {
            const auto tear = static_cast<std::ptrdiff_t>(frame.image.size() * 3 / 4);
            std::copy(older[camera].image.begin() + tear, older[camera].image.end(), frame.image.begin() + tear);
        }
        return frame;
    }
};

// The depth of the frame before.
class MixingStore : public HonestStore {
    using HonestStore::HonestStore;
    Frame show(std::size_t camera) override {
        Frame frame = frames[camera];
        if (frame.number > 3) frame.depth = older[camera].depth;
        return frame;
    }
};

// Always the frame before.
class LateStore : public HonestStore {
    using HonestStore::HonestStore;
    Frame show(std::size_t camera) override { return frames[camera].number > 3 ? older[camera] : frames[camera]; }
};

// Now this frame, now the one before.
class TurningStore : public HonestStore {
    using HonestStore::HonestStore;
    Frame show(std::size_t camera) override {
        return frames[camera].number > 3 && ++shown_ % 2 == 0 ? older[camera] : frames[camera];
    }
    std::uint64_t shown_{0};
};

// A reader keeps the lock for as long as it looks.
class LockHoldingReader : public HonestReader {
    using HonestReader::HonestReader;
    const Look& look() override {
        store_.mutex.lock();
        copy();
        return look_;
    }
    bool release() override {
        store_.mutex.unlock();
        return true;
    }
};

class LockHoldingStore : public HonestStore {
    using HonestStore::HonestStore;
    std::unique_ptr<StoreReader> make_reader() override { return std::make_unique<LockHoldingReader>(*this); }
};

// Writers spin while a reader looks: they never sleep, so only their cpu time shows it.
class SpinningStore : public HonestStore {
public:
    using HonestStore::HonestStore;
    void commit(std::size_t camera, TimePoint captured) override {
        while (looking.load(std::memory_order_acquire)) {
        }
        HonestStore::commit(camera, captured);
    }
    std::unique_ptr<StoreReader> make_reader() override;
    std::atomic<bool> looking{false};
};

class SpinLockHoldingReader : public HonestReader {
public:
    explicit SpinLockHoldingReader(SpinningStore& store) : HonestReader(store), spinning_(store) {}
    const Look& look() override {
        spinning_.looking = true;
        return HonestReader::look();
    }
    bool release() override {
        spinning_.looking = false;
        return true;
    }

private:
    SpinningStore& spinning_;
};

std::unique_ptr<StoreReader> SpinningStore::make_reader() { return std::make_unique<SpinLockHoldingReader>(*this); }

// Refuses a frame.
class RefusingStore : public HonestStore {
    using HonestStore::HonestStore;
    void commit(std::size_t camera, TimePoint captured) override {
        if (staged[camera].number == 3) throw std::runtime_error("camera is full");
        HonestStore::commit(camera, captured);
    }
};

// A writer never comes back from a frame, until the test lets it.
std::atomic<bool> let_go{false};
class BlockingStore : public HonestStore {
    using HonestStore::HonestStore;
    void commit(std::size_t camera, TimePoint captured) override {
        if (staged[camera].number == 3) let_go.wait(false);
        HonestStore::commit(camera, captured);
    }
};

template <class Store>
Options options_for() {
    static constexpr EngineEntry entry{"broken", "on purpose",
                                       [](const StoreSetup& setup) -> std::unique_ptr<SensorStore> {
                                           return std::make_unique<Store>(setup);
                                       }};
    Options options;
    options.engine = &entry;
    options.seconds = 1;
    for (const char* name : {"left", "right"}) {
        CameraConfig& camera = options.cameras.emplace_back();
        camera.name = name;
        camera.width = 64;
        camera.height = 48;
        camera.has_depth = true;
    }
    options.proprios = {{"arm", 7}};
    options.camera_hz = 60;
    options.reader_hz = 1000;
    return options;
}

template <class Store>
Verdict stress(const std::function<void(Options&)>& change = {}) {
    Options options = options_for<Store>();
    if (change) change(options);
    return judge(options, run(options));
}

// The names of the broken promises.
std::string broken(const Verdict& verdict) {
    std::string names;
    for (const Promise& promise : verdict.promises)
        if (!promise.kept) names += promise.promise + "; ";
    return names;
}

bool mentions(const Verdict& verdict, const std::string& what) {
    for (const std::string& failure : verdict.failures)
        if (failure.find(what) != std::string::npos) return true;
    return false;
}

TEST(BrokenEngine, TearingIsFound) {
    Verdict verdict = stress<TearingStore>();
    // A copy is torn only where reader and writer meet in it: a busy machine may need a few runs.
    for (int again = 0; again < 5 && broken(verdict).find("(I1)") == std::string::npos; ++again) verdict = stress<TearingStore>();
    EXPECT_NE(broken(verdict).find("(I1)"), std::string::npos) << broken(verdict);
    EXPECT_TRUE(mentions(verdict, "but at byte 6912 of 9216 frame"));
}

TEST(BrokenEngine, MixingIsFound) {
    const Verdict verdict = stress<MixingStore>();
    EXPECT_NE(broken(verdict).find("(I3)"), std::string::npos) << broken(verdict);
    EXPECT_EQ(broken(verdict).find("(I1)"), std::string::npos) << broken(verdict);
}

TEST(BrokenEngine, OldFramesAreFound) {
    const Verdict verdict = stress<LateStore>();
    EXPECT_NE(broken(verdict).find("a snapshot shows what was published before it"), std::string::npos) << broken(verdict);
    for (const char* kept : {"(I1)", "(I3)", "back in time"})
        EXPECT_EQ(broken(verdict).find(kept), std::string::npos) << broken(verdict);
}

TEST(BrokenEngine, GoingBackIsFound) {
    const Verdict verdict = stress<TurningStore>();
    EXPECT_NE(broken(verdict).find("no reader goes back in time"), std::string::npos) << broken(verdict);
}

TEST(BrokenEngine, ALockThatReadersHoldIsFound) {
    const Verdict verdict = stress<LockHoldingStore>([](Options& options) { options.reader_hz = 0; });
    EXPECT_NE(broken(verdict).find("camera writers wait for nobody (I4)"), std::string::npos) << broken(verdict);
    EXPECT_EQ(broken(verdict).find("(I1)"), std::string::npos) << broken(verdict);
}

TEST(BrokenEngine, SpinningIsFoundThoughNobodySleeps) {
    const Verdict verdict = stress<SpinningStore>([](Options& options) {
        options.seconds = 3;
        options.hold_ms = 400;
    });
    EXPECT_NE(broken(verdict).find("camera updates do not spin (cpu time)"), std::string::npos) << broken(verdict);
}

TEST(BrokenEngine, ARefusedUpdateIsFound) {
    const Verdict verdict = stress<RefusingStore>();
    EXPECT_TRUE(mentions(verdict, "writer of camera 'left': camera is full"));
}

TEST(BrokenEngine, AWriterThatNeverComesBackIsNamedAndTheRunEnds) {
    Options options = options_for<BlockingStore>();
    options.stop_timeout = std::chrono::seconds(1);
    const RunResult result = run(options);
    const Verdict verdict = judge(options, result);
    EXPECT_EQ(broken(verdict), "every thread comes back from the engine; ");
    EXPECT_TRUE(mentions(verdict, "writer of camera 'left' is stuck"));
    let_go = true;
    let_go.notify_all();
}

TEST(BrokenEngine, TheOneTheyDeriveFromLosesNothing) {
    const Verdict verdict = stress<HonestStore>();
    for (const char* kept : {"(I1)", "(I3)", "back in time", "published before it", "rate"})
        EXPECT_EQ(broken(verdict).find(kept), std::string::npos) << broken(verdict);
}

}  // namespace
}  // namespace chiral::stress
