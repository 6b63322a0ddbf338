// SPDX-License-Identifier: Apache-2.0
// Long random sequences of every operation against a plain model of what must be visible, one thread. Frames overlap, are
// scribbled in, discarded and abandoned, updates fail, readers pin and let go; after each step every snapshot that is held
// must still be what it was, and a new one must be what the model says.
#include "support.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace chiral::test {
namespace {

class RandomWalk {
public:
    RandomWalk(std::uint64_t seed, int readers)
        : engine_({camera("walk", 4, 5, 2)}, {{"arm", 3}}, with_readers(readers)), random_(seed) {
        model_.intrinsics = {1, 0, 0, 0, 1, 0, 0, 0, 1};
        model_.extrinsics = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
        model_.image.resize(40);
        model_.depth.resize(20);
        for (int i = 0; i < readers; ++i) readers_.push_back({engine_.make_reader(), {}, {}});
    }

    void step() {
        switch (below(12)) {
            case 0:
            case 1:
            case 2: update(kAllFields[below(4)]); break;
            case 3: fail_to_update(); break;
            case 4:
            case 5: ask(frames_[below(2)], kAllFields[below(4)]); break;
            case 6: discard(frames_[below(2)], kAllFields[below(4)]); break;
            case 7: commit(frames_[below(2)]); break;
            case 8:
                if (below(3) == 0) abandon(frames_[below(2)]);
                break;
            case 9:
            case 10: pin_or_release(readers_[below(readers_.size())]); break;
            case 11: push_proprio(); break;
        }
        for (OpenFrame& open : frames_) scribble(open);
        for (const Looking& reader : readers_)
            if (reader.snapshot) {
                ASSERT_TRUE(contents_of(*reader.snapshot) == reader.pinned) << "a held snapshot changed";
                ASSERT_TRUE(reader.snapshot->intact());
            }
    }

private:
    struct OpenFrame {
        std::optional<Frame> frame;
        std::array<std::uint64_t, 4> number{};  // of the fields it was asked for; 0: not asked
        bool poisoned{false};
    };
    struct Looking {
        Reader reader;
        std::optional<Snapshot> snapshot;
        Contents pinned;
    };

    std::uint64_t below(std::uint64_t end) { return random_() % end; }

    bool is_claimed(Field field) const {
        for (const OpenFrame& open : frames_)
            if (open.frame && open.number[static_cast<std::size_t>(field)] != 0) return true;
        return false;
    }
    void expect(Field field, std::uint64_t number) {
        switch (field) {
            case Field::image: fill(std::span<std::uint8_t>(model_.image), number); break;
            case Field::depth: fill(std::span<float>(model_.depth), static_cast<float>(number)); break;
            case Field::intrinsics: model_.intrinsics.assign(9, static_cast<double>(number)); break;
            case Field::extrinsics: model_.extrinsics.assign(16, static_cast<double>(number)); break;
        }
        ++model_.sequences[static_cast<std::size_t>(field)];
    }
    void update(Field field) {
        const std::uint64_t number = ++numbers_;
        std::array<std::uint8_t, 40> image;
        std::array<float, 20> depth;
        fill(std::span<std::uint8_t>(image), number);
        fill(std::span<float>(depth), static_cast<float>(number));
        Status status;
        switch (field) {
            case Field::image: status = engine_.update_image(0, image.data(), image.size()); break;
            case Field::depth:
                status = engine_.update_depth(0, reinterpret_cast<const std::uint8_t*>(depth.data()), sizeof depth);
                break;
            case Field::intrinsics: status = engine_.update_intrinsics(0, numbered_K(number)); break;
            case Field::extrinsics: status = engine_.update_extrinsics(0, numbered_T(number)); break;
        }
        if (is_claimed(field)) {
            ASSERT_EQ(status.code(), Errc::writer_busy);
            return;
        }
        ASSERT_TRUE(status.ok()) << status.message();
        ASSERT_LE(status.steps(), engine_.writer_step_bound());
        expect(field, number);
        ++model_.version;
        ASSERT_EQ(status.sequence(), model_.sequences[static_cast<std::size_t>(field)]);
    }
    void fail_to_update() {
        const std::array<std::uint8_t, 40> image{};
        ASSERT_FALSE(engine_.update_image(0, image.data(), below(40)).ok());
        ASSERT_FALSE(engine_.update_depth(1, image.data(), 40).ok());
        ASSERT_FALSE(engine_.update_intrinsics(0, numbered_K(1) * std::nan("")).ok());
        ASSERT_FALSE(engine_.update_extrinsics(7, numbered_T(1)).ok());
    }
    void ask(OpenFrame& open, Field field) {
        if (!open.frame) open = {engine_.begin_frame(0), {}, false};
        std::uint64_t& number = open.number[static_cast<std::size_t>(field)];
        const bool held_by_other = number == 0 && is_claimed(field);
        const std::uint64_t next = ++numbers_;
        switch (field) {
            case Field::image: fill(open.frame->image(), next); break;
            case Field::depth: fill(open.frame->depth(), static_cast<float>(next)); break;
            case Field::intrinsics: open.frame->set_intrinsics(numbered_K(next)); break;
            case Field::extrinsics: open.frame->set_extrinsics(numbered_T(next)); break;
        }
        if (held_by_other) open.poisoned = true;
        else number = next;
        ASSERT_EQ(open.frame->status().ok(), !open.poisoned) << open.frame->status().message();
    }
    // What a driver does all the time while it fills a slot: write into it. It must not show anywhere.
    void scribble(OpenFrame& open) {
        if (!open.frame || below(4) != 0) return;
        if (std::uint64_t& number = open.number[0]; number != 0) fill(open.frame->image(), number = ++numbers_);
        if (std::uint64_t& number = open.number[1]; number != 0)
            fill(open.frame->depth(), static_cast<float>(number = ++numbers_));
    }
    void discard(OpenFrame& open, Field field) {
        if (!open.frame) return;
        open.frame->discard(field);
        open.number[static_cast<std::size_t>(field)] = 0;
    }
    void abandon(OpenFrame& open) {
        if (below(2) && open.frame) open.frame->abandon();
        open.frame.reset();
        open.number = {};
    }
    void commit(OpenFrame& open) {
        if (!open.frame) return;
        const Status status = open.frame->commit();
        const bool empty = open.number == std::array<std::uint64_t, 4>{};
        if (open.poisoned) {
            ASSERT_EQ(status.code(), Errc::writer_busy);
        } else if (empty) {
            ASSERT_EQ(status.code(), Errc::nothing_filled);
        } else {
            ASSERT_TRUE(status.ok()) << status.message();
            for (const Field field : kAllFields)
                if (const std::uint64_t number = open.number[static_cast<std::size_t>(field)]; number != 0)
                    expect(field, number);
            ++model_.version;
        }
        open.frame.reset();
        open.number = {};
    }
    void push_proprio() {
        const float value = static_cast<float>(++numbers_);
        const float values[] = {value, value, value};
        const Status status = engine_.update_proprio(0, values, 3);
        ASSERT_TRUE(status.ok());
        proprio_ = {value, value, value};
        ASSERT_EQ(status.sequence(), ++proprio_sequence_);
    }
    void pin_or_release(Looking& looking) {
        if (looking.snapshot) {
            looking.snapshot.reset();
            return;
        }
        looking.snapshot.emplace(looking.reader.snapshot());
        looking.pinned = contents_of(*looking.snapshot);
        CameraContents seen = looking.pinned.cameras[0];
        seen.captured = model_.captured;  // times are not what this is about
        seen.published = model_.published;
        ASSERT_EQ(seen.sequences, model_.sequences);
        ASSERT_TRUE(seen == model_) << "a new snapshot differs from the model";
        ASSERT_EQ(looking.pinned.proprios[0], proprio_);
        ASSERT_EQ(looking.pinned.proprio_sequences[0], proprio_sequence_);
    }

    Engine engine_;
    std::mt19937_64 random_;
    CameraContents model_;
    std::vector<float> proprio_ = {0, 0, 0};
    std::uint64_t proprio_sequence_{0};
    std::uint64_t numbers_{1000};
    std::array<OpenFrame, 2> frames_;
    std::vector<Looking> readers_;
};

TEST(ARandomWalk, ThroughAllOperationsAgreesWithAPlainModel) {
    for (const int readers : {1, 2, 3, 14})
        for (std::uint64_t seed = 1; seed <= 5; ++seed) {
            RandomWalk walk(seed, readers);
            SCOPED_TRACE("readers " + std::to_string(readers) + ", seed " + std::to_string(seed));
            const std::uint64_t steps = load(6'000);
            for (std::uint64_t i = 0; i < steps; ++i) {
                walk.step();
                if (::testing::Test::HasFatalFailure()) FAIL() << "in step " << i;
            }
        }
}

}  // namespace
}  // namespace chiral::test
