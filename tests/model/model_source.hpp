// SPDX-License-Identifier: Apache-2.0
// The image of a camera that is waited for. Pins have models of their own: here nobody pins, and payload n is a word of its own,
// written before publication n.
#pragma once

#include "relacy_model.hpp"

#include <array>
#include <cstdint>

namespace chiral::model {

class ModelSource {
public:
    void update(unsigned number) { update(number, bell_); }
    void update(unsigned number, core::Bell<ModelAtomics>& bell) {
        core::Transaction<ModelAtomics> transaction(*core_, core::readers_of_all(0));
        RL_ASSERT(transaction.open(0) && transaction.sequence(0) == number);
        payload_[number](RL_INFO) = number;
        RL_ASSERT(transaction.commit(0, 0, bell) == core::Commit::published);
    }

    /// An update up to the publication, after which its writer never goes on.
    void publish_and_die(unsigned number) {
        core::FieldClaims<ModelAtomics>& claims = core_->claims;
        core::FieldClaims<ModelAtomics>::Word claim = claims.look(0);
        const core::FreeSlot free = core_->sync.choose_slot(0, 0);
        RL_ASSERT(claims.take(0, claim, free.slot, claim));
        payload_[number](RL_INFO) = number;
        core_->stamps[0][free.slot].guard.store(Site::guard_close, 2 * number, std::memory_order_relaxed);
        RL_ASSERT(claims.close(0, claim));
        core::ViewDelta delta;
        delta.move(0, free.current, free.slot);
        core_->sync.publish(delta);
    }
    void bury() { RL_ASSERT(core_->claims.bury(0) == core::Revocation::done); }

    /// As Engine::wait().
    template <class Deadline>
    bool wait(std::uint64_t after, Deadline deadline) {
        if (look() > after) return true;
        return core_->news[0].bell.wait([&] { return look() > after; }, deadline);
    }
    /// As Engine::newest(). All that is published by then is visible.
    std::uint64_t look() {
        const std::uint64_t newest = core_->news[0].look(core_->sync, 0);
        for (unsigned n = 1; n <= newest; ++n) check(n);
        return newest;
    }

    void check(unsigned number) { RL_ASSERT(payload_[number](RL_INFO).load() == number); }

private:
    Aligned<core::CameraCore<ModelAtomics>> core_;
    core::Bell<ModelAtomics> bell_;
    std::array<rl::var<unsigned>, 4> payload_;
};

}  // namespace chiral::model
