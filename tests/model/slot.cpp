// SPDX-License-Identifier: Apache-2.0
// Slot<T>: a transaction of the first field alone, whose bell is waited at. Who was told of a value finds it, or a newer
// one, in the next pin, whole; a writer that was revoked and comes back spoils neither.
#include "relacy_model.hpp"

#include <array>

namespace chiral::model {
namespace {

template <int readers>
class ModelSlot {
public:
    static constexpr int kSlots = readers + 2 + core::kSpareSlots;

    /// `asks`: each fill, as one of many bytes does, asks who has looked. Those steps more make a search many times as long.
    explicit ModelSlot(bool asks = false) : asks_(asks) {
        for (auto& part : values_)
            for (auto& word : part) word(RL_INFO) = 0;
    }

    /// A transaction up to the commit, as Engine::update_slot(). Two words of payload: a value may not be half of each.
    bool open(core::Transaction<ModelAtomics>& transaction) {
        if (!transaction.open(0)) return false;
        fill(transaction);
        return true;
    }
    void fill(core::Transaction<ModelAtomics>& transaction) {
        if (asks_) static_cast<void>(transaction.was_looked_at(0));
        for (std::size_t i = 0; i < 2; ++i)
            values_[transaction.slot(0)][backwards_ ? 1 - i : i](RL_INFO) = static_cast<unsigned>(transaction.sequence(0));
        if (asks_) transaction.collect_looks(0);
    }
    core::Commit commit(core::Transaction<ModelAtomics>& transaction) { return transaction.commit(0, 0, bell_); }
    bool update() {
        core::Transaction<ModelAtomics> transaction = begin();
        if (!open(transaction)) {
            transaction.abandon();
            return false;
        }
        return commit(transaction) == core::Commit::published;
    }
    core::Transaction<ModelAtomics> begin() { return {*core_, core::readers_of_all(readers)}; }
    core::Revocation revoke() { return core_->claims.revoke(0); }

    /// Which of the two copies there are, whatever was_looked_at() answers. Before the threads.
    void choose_copy() { backwards_ = rl::rand(2) == 1; }

    /// Returns the number of the value that was found.
    std::uint64_t read(int r, std::uint64_t at_least) {
        const core::View view = core_->sync.pin(r);
        const std::uint64_t sequence = core_->stamps[0][view.slot(0)].sequence();
        RL_ASSERT(sequence >= at_least);
        for (auto& word : values_[view.slot(0)]) RL_ASSERT(word(RL_INFO).load() == sequence);
        core_->sync.unpin(r, view);
        return sequence;
    }
    void wait(std::uint64_t after) { wait(after, core_->news[0].bell); }
    void wait_for_any(std::uint64_t after) { wait(after, bell_); }

private:
    void wait(std::uint64_t after, core::Bell<ModelAtomics>& bell) {
        RL_ASSERT(bell.wait([&] { return core_->news[0].look(core_->sync, 0) > after; }, Never{}));
    }

    Aligned<core::CameraCore<ModelAtomics>> core_;
    core::Bell<ModelAtomics> bell_;
    const bool asks_;
    bool backwards_{false};
    std::array<std::array<rl::var<unsigned>, 2>, kSlots> values_;
};

/// Updates, and a reader that waits for the first two: the third comes to the slot of the first.
struct Waited : rl::test_suite<Waited, 2> {
    ModelSlot<1> slot;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            for (int i = 0; i < 3; ++i) RL_ASSERT(slot.update());
            return;
        }
        for (std::uint64_t seen = 0; seen < 2; ++seen) {
            slot.wait(seen);
            slot.read(0, seen + 1);
        }
    }
};

/// The same at the bell of all sources, beside a second reader that does not wait.
struct Rung : rl::test_suite<Rung, 3> {
    ModelSlot<2> slot;

    void before() { ModelAtomics::begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            RL_ASSERT(slot.update());
        } else if (index == 1) {
            slot.wait_for_any(0);
            slot.read(0, 1);
        } else {
            slot.read(1, 0);
        }
    }
};

/// A writer that hangs is revoked and comes back; its successor's value is the one that is told of.
struct Late : rl::test_suite<Late, 3> {
    ModelSlot<1> slot{true};

    void before() {
        ModelAtomics::begin_execution();
        slot.choose_copy();
    }
    void thread(unsigned index) {
        if (index == 0) {
            core::Transaction<ModelAtomics> late = slot.begin();
            if (!slot.open(late)) return late.abandon();
            slot.fill(late);  // again: its driver has returned
            slot.commit(late);
        } else if (index == 1) {
            static_cast<void>(slot.revoke());
            static_cast<void>(slot.update());
        } else {
            const std::uint64_t first = slot.read(0, 0);
            slot.read(0, first);
        }
    }
};

const Registered<Waited> waited("slot.waited", "3 updates; 1 reader waits for the first two and pins", {3, 100'000},
                                {7, 20'000'000});
const Registered<Rung> rung("slot.rung", "1 update; 1 reader waits at the bell and pins, 1 only pins", {2, 100'000},
                            {5, 20'000'000});
const Registered<Late> late("slot.late", "a writer that hangs, its revocation and successor; 1 reader pins twice",
                            {2, 100'000}, {4, 20'000'000});

}  // namespace
}  // namespace chiral::model
