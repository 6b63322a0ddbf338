// SPDX-License-Identifier: Apache-2.0
// SampleRing, FieldNews and Bell in chosen interleavings: readers are overtaken in the middle of a copy, who waits is told
// between any two of their steps.
#include "puppet.hpp"

#include <chiral/core/sample_ring.hpp>
#include <chiral/core/transaction.hpp>

#include <gtest/gtest.h>

namespace chiral::test {
namespace {

auto from(const std::vector<std::uint64_t>& sample) {
    return [&sample](std::size_t i) { return sample[i]; };
}
auto into(std::vector<std::uint64_t>& copy) {
    return [&copy](std::size_t i, std::uint64_t word) { copy[i] = word; };
}

/// A ring of samples, each of which is its sequence in every word.
struct NumberedRing {
    std::size_t capacity;
    std::size_t words;
    core::RingHead<WatchedAtomics> head;
    std::vector<WatchedAtomics::Atomic<std::uint64_t>> cells;
    core::SampleRing<WatchedAtomics> ring;

    NumberedRing(std::size_t capacity_, std::size_t words_)
        : capacity(capacity_), words(words_), cells(capacity_ * (1 + words_)), ring(head, cells.data(), capacity_, words_) {}

    void push(int count = 1) {
        for (int i = 0; i < count; ++i) {
            EXPECT_TRUE(ring.claim());
            const std::vector<std::uint64_t> sample(words, ring.newest() + 1);
            ring.push(from(sample));
            ring.drop_claim();
        }
    }
    /// The number in sample `sequence`, 0 if it has been overwritten. A mixture fails the test.
    std::uint64_t read(std::uint64_t sequence) const {
        std::vector<std::uint64_t> copy(words);
        if (!ring.read(sequence, words, into(copy))) return 0;
        for (const std::uint64_t word : copy) EXPECT_EQ(word, copy[0]) << "torn";
        return copy[0];
    }
};

TEST(ARing, GivesEverySampleThatItStillHoldsAndNoOther) {
    for (const std::size_t capacity : {1u, 2u, 4u, 8u, 256u}) {
        NumberedRing ring(capacity, 3);
        EXPECT_EQ(ring.ring.newest(), 0u);
        for (std::uint64_t n = 1; n <= 3 * capacity; ++n) {
            ring.push();
            ASSERT_EQ(ring.ring.newest(), n);
            const std::uint64_t oldest = ring.ring.oldest(n);
            ASSERT_EQ(n - oldest + 1, std::min<std::uint64_t>(n, capacity));
            for (std::uint64_t s = oldest; s <= n; ++s) ASSERT_EQ(ring.read(s), s);
            if (oldest > 1) {
                ASSERT_EQ(ring.read(oldest - 1), 0u);
            }
            ASSERT_EQ(ring.read(n + 1), 0u) << "not yet written";
        }
    }
}

TEST(ARingReader, OvertakenInTheMiddleOfItsCopyLearnsIt) {
    for (const Site site : {Site::ring_guard_first, Site::ring_word_load, Site::ring_guard_second})
        for (int words_read = 0; words_read < (site == Site::ring_word_load ? 4 : 1); ++words_read)
            for (int pushes = 0; pushes <= 9; ++pushes) {
                NumberedRing ring(4, 4);
                ring.push(6);  // holds 3 to 6
                std::uint64_t got = ~std::uint64_t{0};
                Puppet reader([&] { got = ring.read(4); });
                for (int i = 0; i <= words_read; ++i) ASSERT_TRUE(reader.run_until(site));
                ring.push(pushes);
                reader.finish();
                // Sample 4 is overwritten by 8, the second push.
                ASSERT_EQ(got, pushes < 2 ? 4u : 0u) << "site " << static_cast<int>(site) << ", " << pushes << " pushes";
            }
}

TEST(ARingReader, NeverSeesASampleThatIsBeingWritten) {
    constexpr int kWords = 4;
    for (int written = 0; written <= kWords; ++written) {
        NumberedRing ring(2, kWords);
        ring.push(4);
        Puppet writer([&] { ring.push(); });
        for (int i = 0; i < written; ++i) ASSERT_TRUE(writer.run_until(Site::ring_word_store));
        if (written == kWords) {
            ASSERT_TRUE(writer.run_until(Site::ring_guard_close));
        }
        if (written == 0) {
            ASSERT_TRUE(writer.run_until(Site::ring_guard_open));
        }
        EXPECT_EQ(ring.ring.newest(), 4u);
        EXPECT_EQ(ring.read(4), 4u);
        EXPECT_EQ(ring.read(3), written == 0 ? 3u : 0u) << "its cell is being overwritten";
        EXPECT_EQ(ring.read(5), 0u);
        writer.finish();
        EXPECT_EQ(ring.read(5), 5u);
    }
}

TEST(ARingWriter, ThatDiesAnywhereLeavesTheNewestSampleReadableAndCanBeReplaced) {
    for (const Site site : {Site::ring_guard_open, Site::ring_word_store, Site::ring_guard_close, Site::ring_head_store}) {
        NumberedRing ring(4, 4);
        ring.push(5);
        // Never resumed while anybody looks.
        Puppet dying([&] { ring.push(); });
        ASSERT_TRUE(dying.run_until(site));
        EXPECT_EQ(ring.ring.newest(), 5u);
        EXPECT_EQ(ring.read(5), 5u);
        EXPECT_EQ(ring.read(4), 4u);
        EXPECT_FALSE(ring.ring.claim());
        ring.ring.drop_claim();  // revoked
        for (std::uint64_t n = 6; n < 20; ++n) {
            ring.push();
            ASSERT_EQ(ring.read(n), n);
            ASSERT_EQ(ring.read(n - 1), n - 1);
            ASSERT_EQ(ring.read(n - 4), 0u);
        }
    }
}

TEST(EveryCallOfARing, TakesNoMoreOperationsThanItSays) {
    for (const std::size_t words : {1u, 3u, 100u}) {
        NumberedRing ring(4, words);
        const std::vector<std::uint64_t> sample(words, 1);
        std::vector<std::uint64_t> copy(words);
        EXPECT_EQ(operations_of([&] { ring.ring.push(from(sample)); }), words + 4);
        EXPECT_EQ(operations_of([&] { ring.ring.newest(); }), 1u);
        EXPECT_EQ(operations_of([&] { EXPECT_TRUE(ring.ring.read(1, words, into(copy))); }), words + 2);
        EXPECT_EQ(operations_of([&] { EXPECT_TRUE(ring.ring.read(1, 1, into(copy))); }), 3u);
    }
}

// ---- waiting ----

/// A camera whose image is waited for, and the bell of all sources.
struct Awaitable {
    core::CameraCore<WatchedAtomics> camera;
    core::Bell<WatchedAtomics> all;

    void update(int field = 0) {
        core::Transaction<WatchedAtomics> transaction(camera, core::readers_of_all(1));
        EXPECT_TRUE(transaction.open(field));
        EXPECT_EQ(transaction.commit(0, 0, all), core::Commit::published);
    }
    std::uint64_t look() const { return camera.news[0].look(camera.sync, 0); }
    bool wait(std::uint64_t after, TimePoint end = deadline()) {
        return camera.news[0].bell.wait([&] { return look() > after; }, end);
    }
};

TEST(AWaiter, ToldBetweenAnyTwoOfItsStepsIsNotForgotten) {
    for (const Site site : {Site::bell_enter, Site::bell_look, Site::news_first_view, Site::news_load,
                            Site::news_second_view, Site::news_again, Site::bell_leave}) {
        Awaitable source;
        source.update();
        bool passed = false;
        std::uint64_t after = site == Site::bell_leave ? 0 : 1;
        Puppet waiter([&] { passed = source.wait(after); });
        ASSERT_TRUE(waiter.run_until(site));
        source.update();
        waiter.finish();
        EXPECT_TRUE(passed) << "site " << static_cast<int>(site);
    }
}

TEST(AWaiter, ThatHasLookedAndGoesToSleepIsSeenByTheWriter) {
    Awaitable source;
    const std::uint64_t wakes = WatchedAtomics::wake_calls.load();
    source.update();
    EXPECT_EQ(WatchedAtomics::wake_calls.load(), wakes) << "nobody waits: nobody is woken";
    bool passed = false;
    {
        Puppet waiter([&] { passed = source.wait(1); });
        ASSERT_TRUE(waiter.run_until(Site::news_second_view)) << "announced";
        source.update(1);
        EXPECT_EQ(WatchedAtomics::wake_calls.load(), wakes) << "of another field";
        source.update();
        EXPECT_EQ(WatchedAtomics::wake_calls.load(), wakes + 1);
    }
    EXPECT_TRUE(passed);
    source.update();
    EXPECT_EQ(WatchedAtomics::wake_calls.load(), wakes + 1) << "it has left";
}

TEST(AWaiter, TakesAFrameThatComesWithTheDeadline) {
    Awaitable source;
    bool passed = false;
    // The deadline has passed, so it looks, gives up sleeping, and looks once more.
    Puppet waiter([&] { passed = source.wait(0, TimePoint::min()); });
    ASSERT_TRUE(waiter.run_until(Site::news_first_view));
    ASSERT_TRUE(waiter.run_until(Site::news_first_view));
    source.update();
    waiter.finish();
    EXPECT_TRUE(passed);
}

TEST(AWaiter, FindsWhatIsPublishedAndNotYetToldOf) {
    Awaitable source;
    source.update();
    Puppet writer([&] { source.update(); });
    ASSERT_TRUE(writer.run_until(Site::news_store));
    EXPECT_EQ(source.look(), 2u);
    EXPECT_TRUE(source.wait(1, TimePoint::min()));
    EXPECT_FALSE(source.wait(2, TimePoint::min()));
    writer.finish();
    EXPECT_EQ(source.look(), 2u);
}

// Two slots take turns.
TEST(ALook, IsNotDeceivedByASlotThatHasComeRoundAgain) {
    Awaitable source;
    source.update();
    Puppet writer([&] { source.update(); });
    ASSERT_TRUE(writer.run_until(Site::news_store));
    ASSERT_EQ(source.look(), 2u);
    std::uint64_t found = 0;
    Puppet looker([&] { found = source.look(); });
    ASSERT_TRUE(looker.run_until(Site::news_second_view));  // has the note of 1
    writer.finish();
    source.update();  // to the slot of 1
    looker.finish();
    EXPECT_GE(found, 2u) << "2 was there before";
}

TEST(ABell, TakesOneStepMoreIfSomebodyWaits) {
    Awaitable source;
    EXPECT_EQ(operations_of([&] { EXPECT_EQ(source.all.ring(), 1u); }), 1u);
    Puppet waiter([&] { source.all.wait([] { return false; }, TimePoint::min()); });
    ASSERT_TRUE(waiter.run_until(Site::bell_leave));
    EXPECT_EQ(operations_of([&] { EXPECT_EQ(source.all.ring(), core::Bell<WatchedAtomics>::kRingSteps); }), 2u);
}

}  // namespace
}  // namespace chiral::test
