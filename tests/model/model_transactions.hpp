// SPDX-License-Identifier: Apache-2.0
// One camera with its claims, written by transactions as Frame writes it, with the assertions that every model of them makes.
//
// Payloads are plain memory, so Relacy reports a slot that is filled while it is read, or by two writers. A bystander notes
// what every publication moved: it must be exactly what the transaction had open, numbered one after the other. The fields
// of a model are the last ones: the news of the first have models of their own.
#pragma once

#include "relacy_model.hpp"

#include <array>
#include <cstdint>

namespace chiral::model {

template <int fields, int readers>
class ModelTransactions : ModelAtomics::Bystander {
public:
    static constexpr int kSlots = readers + 2 + core::kSpareSlots;
    static constexpr int kMaxVersions = 12;
    static_assert(fields < core::kFields);

    /// Backwards, from those that nobody is told of; and the other way round.
    static constexpr int core_field(int field) { return core::kFields - 1 - field; }

    ModelTransactions() {
        for (auto& field : slots_)
            for (auto& payload : field) payload(RL_INFO) = 0;
    }
    void begin_execution(int others = 0) {
        ModelAtomics::begin_execution(others);
        ModelAtomics::watch(this);
    }

    /// A transaction of the calling thread.
    class Writer {
    public:
        explicit Writer(ModelTransactions& camera)
            : camera_(camera), transaction_(*camera.core_, core::readers_of_all(readers)) {}

        /// Opens a field and fills its slot. False if another thread writes it.
        bool open(int field) {
            const int f = core_field(field);
            if (!transaction_.open(f)) return false;
            RL_ASSERT(transaction_.slot(f) < kSlots);
            fill(field);
            return true;
        }
        /// Fills the slot of an open field, as a driver that comes back would.
        void fill(int field) {
            const int f = core_field(field);
            camera_.slots_[field][transaction_.slot(f)](RL_INFO) = static_cast<unsigned>(transaction_.sequence(f));
        }
        void discard(int field) { transaction_.discard(core_field(field)); }
        void abandon() { transaction_.abandon(); }
        core::Commit commit() {
            const rl::thread_id_t self = rl::thread_index();
            camera_.committing_[self] = this;
            const core::Commit outcome = transaction_.commit(0, 0, camera_.bell_);
            camera_.committing_[self] = nullptr;
            RL_ASSERT(transaction_.is_over());
            return outcome;
        }

    private:
        friend class ModelTransactions;
        ModelTransactions& camera_;
        core::Transaction<ModelAtomics> transaction_;
    };

    core::Revocation revoke(int field) { return core_->claims.revoke(core_field(field)); }
    core::Revocation bury(int field) { return core_->claims.bury(core_field(field)); }

    /// A writer's steps up to the one that would publish, from which it never goes on. False if another
    /// thread writes the field.
    bool close_and_die(int field) {
        using Claims = core::FieldClaims<ModelAtomics>;
        const int f = core_field(field);
        Claims::Word claim = core_->claims.look(f);
        if (!Claims::is_free(claim)) return false;
        const core::FreeSlot free = core_->sync.choose_slot(f, readers, core_->claims.quarantined(f));
        if (!core_->claims.take(f, claim, free.slot, claim)) return false;
        slots_[field][free.slot](RL_INFO) = 99;
        RL_ASSERT(core_->claims.close(f, claim));
        return true;
    }

    /// One update of one field. False if another thread writes it.
    bool update(int field) {
        Writer writer(*this);
        if (!writer.open(field)) {
            writer.abandon();
            return false;
        }
        return writer.commit() == core::Commit::published;
    }

    /// Pins, checks and reads; the caller unpins.
    core::View pin_and_read(int r) {
        const std::uint64_t current_before = newest_;
        const core::View view = core_->sync.pin(r);
        const std::uint64_t version = view.version();
        RL_ASSERT(version >= current_before && version <= newest_);
        for (int f = 0; f < fields; ++f) {
            RL_ASSERT(slots_[f][view.slot(core_field(f))](RL_INFO).load() == history_[version][f]);
            RL_ASSERT(core_->stamps[core_field(f)][view.slot(core_field(f))].sequence() == history_[version][f]);
        }
        return view;
    }
    void unpin(int r, core::View view) { core_->sync.unpin(r, view); }
    void read(int r) { unpin(r, pin_and_read(r)); }

    unsigned noted(std::uint64_t version, int field) const { return history_[version][field]; }
    unsigned newest(int field) const { return history_[newest_][field]; }

private:
    void published(std::uint64_t before, std::uint64_t after) override {
        const Writer* writer = committing_[rl::thread_index()];
        RL_ASSERT(writer != nullptr && core::View{before}.version() == newest_ &&
                  core::View{after}.version() == newest_ + 1);
        ++newest_;
        RL_ASSERT(newest_ < kMaxVersions);
        history_[newest_] = history_[newest_ - 1];
        for (int f = 0; f < core::kFields; ++f) {
            const core::Transaction<ModelAtomics>& transaction = writer->transaction_;
            const bool open = transaction.is_open(f);
            RL_ASSERT(core::View{after}.slot(f) == (open ? transaction.slot(f) : core::View{before}.slot(f)));
            if (!open) continue;
            RL_ASSERT(transaction.sequence(f) == history_[newest_][core_field(f)] + 1);
            ++history_[newest_][core_field(f)];
        }
    }

    Aligned<core::CameraCore<ModelAtomics>> core_;
    core::Bell<ModelAtomics> bell_;  // which nobody waits at
    std::array<std::array<rl::var<unsigned>, kSlots>, fields> slots_;
    std::array<std::array<unsigned, fields>, kMaxVersions> history_{};
    std::array<const Writer*, ModelAtomics::kMaxThreads> committing_{};
    std::uint64_t newest_{0};
};

}  // namespace chiral::model
