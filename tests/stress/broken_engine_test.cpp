// SPDX-License-Identifier: Apache-2.0
// Engines that break one promise each, on purpose and without a data race, so that the harness is seen to notice.
#include "run.hpp"
#include "verdict.hpp"
#include "word_store.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>

namespace chiral::stress {
namespace {

// Shows an older frame than the newest.
class OlderFrames : public WordStore {
    using WordStore::WordStore;

protected:
    std::size_t before_newest(const Source& source) const {
        const std::size_t newest = WordStore::shown(source);
        const std::size_t before = (newest + kSlots - 1) % kSlots;
        return source.slots[before].sequence.load() == 0 ? newest : before;  // there is none before the first
    }
};

// Always the frame before.
class LateStore : public OlderFrames {
    using OlderFrames::OlderFrames;
    std::size_t shown(const Source& source) const override { return before_newest(source); }
};

// Now this frame, now the one before.
class TurningStore : public OlderFrames {
    using OlderFrames::OlderFrames;
    std::size_t shown(const Source& source) const override {
        return ++shown_ % 2 == 0 ? before_newest(source) : OlderFrames::shown(source);
    }
    mutable std::atomic<std::uint64_t> shown_{0};
};

// Something is the case from the beginning to the end of every look.
class WatchedReader : public StoreReader {
public:
    WatchedReader(std::unique_ptr<StoreReader> reader, std::function<void()> begins, std::function<void()> ends)
        : reader_(std::move(reader)), begins_(std::move(begins)), ends_(std::move(ends)) {}
    const Look& look() override {
        begins_();
        return reader_->look();
    }
    bool release() override {
        ends_();
        return reader_->release();
    }

private:
    std::unique_ptr<StoreReader> reader_;
    std::function<void()> begins_;
    std::function<void()> ends_;
};

// A reader keeps the lock for as long as it looks.
class LockHoldingStore : public WordStore {
    using WordStore::WordStore;
    void commit(std::size_t camera, TimePoint captured) override {
        const std::lock_guard lock(mutex_);
        WordStore::commit(camera, captured);
    }
    std::unique_ptr<StoreReader> make_reader() override {
        return std::make_unique<WatchedReader>(
            WordStore::make_reader(), [this] { mutex_.lock(); }, [this] { mutex_.unlock(); });
    }
    std::mutex mutex_;
};

// Writers spin while a reader looks: they never sleep, so only their cpu time shows it.
class SpinningStore : public WordStore {
    using WordStore::WordStore;
    void commit(std::size_t camera, TimePoint captured) override {
        while (looking_.load(std::memory_order_acquire)) {}
        WordStore::commit(camera, captured);
    }
    std::unique_ptr<StoreReader> make_reader() override {
        return std::make_unique<WatchedReader>(
            WordStore::make_reader(), [this] { looking_ = true; }, [this] { looking_ = false; });
    }
    std::atomic<bool> looking_{false};
};

// Refuses a frame.
class RefusingStore : public WordStore {
    using WordStore::WordStore;
    void commit(std::size_t camera, TimePoint captured) override {
        if (source(camera).number == 4) throw std::runtime_error("camera is full");
        WordStore::commit(camera, captured);
    }
};

// A writer never comes back from a frame, until the test lets it.
std::atomic<bool> let_go{false};
class BlockingStore : public WordStore {
    using WordStore::WordStore;
    void commit(std::size_t camera, TimePoint captured) override {
        if (source(camera).number == 4) let_go.wait(false);
        WordStore::commit(camera, captured);
    }
};

// A stream no longer publishes.
class SilentStreamStore : public WordStore {
    using WordStore::WordStore;
    void update_proprio(std::size_t stream, std::span<const float> values, TimePoint captured) override {
        if (++updates_ > 50) return;
        WordStore::update_proprio(stream, values, captured);
    }
    int updates_{0};
};

Options options_for(const EngineEntry& engine) {
    Options options;
    options.engine = &engine;
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
Options options_for() {
    static constexpr EngineEntry entry{"broken", "on purpose", [](const StoreSetup& setup) -> std::unique_ptr<SensorStore> {
                                           return std::make_unique<Store>(setup);
                                       }};
    return options_for(entry);
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

// What breaks in an engine and what of it the harness must name, and nothing of what is kept.
struct Defect {
    const char* engine;
    const char* named;
    std::vector<const char*> kept;

    friend void PrintTo(const Defect& defect, std::ostream* to) { *to << defect.engine; }
};

class EveryBrokenEngine : public ::testing::TestWithParam<Defect> {};

TEST_P(EveryBrokenEngine, IsFoundAndNamed) {
    const EngineEntry* const engine = find_engine(GetParam().engine);
    ASSERT_TRUE(engine);
    Options options = options_for(*engine);
    options.seconds = 2;
    options.reader_hz = 0;
    options.camera_hz = 30;
    const Verdict verdict = judge(options, run(options));
    ASSERT_FALSE(verdict.pass());
    EXPECT_NE(verdict.failures.front().find(GetParam().named), std::string::npos) << verdict.failures.front();
    for (const char* kept : GetParam().kept) {
#ifdef __SANITIZE_THREAD__
        // The words of these engines are atomics, in each of which ThreadSanitizer takes a lock; the canary's are not.
        if (std::string_view(kept) == "wait for nobody") continue;
#endif
        EXPECT_EQ(broken(verdict).find(kept), std::string::npos) << broken(verdict);
    }
}

INSTANTIATE_TEST_SUITE_P(
    , EveryBrokenEngine,
    ::testing::Values(
        Defect{"publish_early", "(I1)", {"frozen", "wait for nobody"}},
        Defect{"no_recheck", "(I1)", {"frozen", "wait for nobody"}},
        Defect{"shared_slot", "(I1)", {"frozen", "wait for nobody"}},
        Defect{"split_commit", "(I3)", {"frozen", "(I1)", "back in time", "wait for nobody"}},
        Defect{"slow_lock", "camera writers wait for nobody (I4)", {"(I1)", "(I3)", "back in time", "published before it"}},
        Defect{"frozen_source", "no source is frozen: camera 'left'", {"(I1)", "wait for nobody"}}),
    [](const auto& test) { return std::string(test.param.engine); });

TEST(BrokenEngines, AreAllAmongTheCasesAbove) { EXPECT_EQ(broken_engines().size(), 6u); }

TEST(BrokenEngine, AStreamThatNoLongerPublishesIsFrozenAndNamed) {
    const Verdict verdict = stress<SilentStreamStore>();
    EXPECT_TRUE(mentions(verdict, "no source is frozen: proprio 'arm' shows the same content for ever"));
    EXPECT_EQ(broken(verdict).find("(I1)"), std::string::npos) << broken(verdict);
}

TEST(BrokenEngine, OldFramesAreFound) {
    const Verdict verdict = stress<LateStore>();
    EXPECT_NE(broken(verdict).find("a snapshot shows what was published before it"), std::string::npos) << broken(verdict);
    for (const char* kept : {"frozen", "(I1)", "(I3)", "back in time"})
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
    const Verdict verdict = stress<WordStore>();
    for (const char* kept : {"frozen", "(I1)", "(I3)", "back in time", "published before it", "rate"})
        EXPECT_EQ(broken(verdict).find(kept), std::string::npos) << broken(verdict);
}

}  // namespace
}  // namespace chiral::stress
