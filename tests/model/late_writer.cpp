// SPDX-License-Identifier: Apache-2.0
// Writers that were taken for lost and revoked, while they are alive: they come back at any moment, fill, discard, open
// again and commit. They are told that they were revoked, publish nothing, and nobody shares a slot with them.
#include "model_transactions.hpp"

#include <optional>

namespace chiral::model {
namespace {

using core::Commit;
using core::Revocation;

/// What can be said of a writer and the one attempt to revoke it.
struct Verdict {
    Revocation revocation{Revocation::nobody};
    bool opened{false};
    Commit commit{Commit::nothing_open};

    void check() const {
        if (revocation == Revocation::done) RL_ASSERT(commit == Commit::revoked || !opened);
        if (opened && revocation != Revocation::done) RL_ASSERT(commit == Commit::published);
    }
};

/// A writer that comes back, somebody who revokes it and writes in its place, and a reader.
struct Revoked : rl::test_suite<Revoked, 3> {
    using Camera = ModelTransactions<1, 1>;
    Camera camera;
    Verdict verdict;

    void before() { camera.begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            Camera::Writer late(camera);
            verdict.opened = late.open(0);
            if (!verdict.opened) return late.abandon();
            late.fill(0);
            verdict.commit = late.commit();
        } else if (index == 1) {
            verdict.revocation = camera.revoke(0);
            for (int i = 0; i < 2; ++i) camera.update(0);
        } else {
            camera.read(0);
        }
    }
    void after() {
        if (verdict.revocation != Revocation::nobody) verdict.check();
        RL_ASSERT(camera.update(0));  // whatever happened, the field is free
        RL_ASSERT(camera.newest(0) >= 1);
    }
};

/// A late writer that has two fields open, of which one is revoked and written by another thread.
struct OneOfTwoFields : rl::test_suite<OneOfTwoFields, 3> {
    using Camera = ModelTransactions<2, 1>;
    Camera camera;
    Commit commit{Commit::nothing_open};
    Revocation revocation{Revocation::nobody};

    void before() { camera.begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            Camera::Writer late(camera);
            if (late.open(0) && late.open(1)) commit = late.commit();
            else late.abandon();
        } else if (index == 1) {
            revocation = camera.revoke(1);
            camera.update(1);
        } else {
            const core::View view = camera.pin_and_read(0);
            RL_ASSERT(camera.noted(view.version(), 0) <= camera.noted(view.version(), 1));
            camera.unpin(0, view);
        }
    }
    void after() {
        if (revocation == Revocation::done) RL_ASSERT(commit == Commit::revoked);
        RL_ASSERT(camera.newest(0) == (commit == Commit::published ? 1u : 0u));
        RL_ASSERT(camera.update(0) && camera.update(1));
    }
};

/// A late writer that discards its field and opens it again, beside its revocation and a successor.
struct Reopened : rl::test_suite<Reopened, 3> {
    using Camera = ModelTransactions<1, 1>;
    Camera camera;

    void before() { camera.begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            Camera::Writer late(camera);
            late.open(0);
            late.discard(0);
            late.open(0);
            late.commit();
        } else if (index == 1) {
            camera.revoke(0);
        } else {
            for (int i = 0; i < 2; ++i) camera.update(0);
        }
    }
    void after() { RL_ASSERT(camera.update(0)); }
};

/// Two writers of one field, and one thread that revokes twice and then writes itself. There is one spare slot, so one of
/// the two may be out at a time.
struct TwoLate : rl::test_suite<TwoLate, 4> {
    using Camera = ModelTransactions<1, 1>;
    Camera camera;

    void before() { camera.begin_execution(); }
    void thread(unsigned index) {
        if (index == 0) {
            camera.revoke(0);
            camera.revoke(0);
            camera.update(0);
            return;
        }
        if (index == 3) return camera.read(0);
        Camera::Writer late(camera);
        if (!late.open(0)) return late.abandon();
        late.fill(0);
        late.commit();
    }
    void after() {
        for (int i = 0; i < 3; ++i) RL_ASSERT(camera.update(0));
        // Both have come back, so that a slot is left to stand in for that of the next one.
        Camera::Writer last(camera);
        RL_ASSERT(last.open(0) && camera.revoke(0) == Revocation::done);
        Camera::Writer successor(camera);
        RL_ASSERT(successor.open(0) && camera.revoke(0) == Revocation::no_spare);
        RL_ASSERT(last.commit() == Commit::revoked && camera.revoke(0) == Revocation::done);
        RL_ASSERT(successor.commit() == Commit::revoked);
    }
};

/// The second revocation of a field, while the writer of the first one comes back: what that filled must be known to whoever
/// gets its slot, though the quarantine names another one by then.
struct SecondRevocation : rl::test_suite<SecondRevocation, 3> {
    using Camera = ModelTransactions<1, 1>;
    Camera camera;
    std::optional<Camera::Writer> first, second;

    void before() {
        camera.begin_execution();
        first.emplace(camera);
        RL_ASSERT(first->open(0) && camera.revoke(0) == Revocation::done);
        second.emplace(camera);
        RL_ASSERT(second->open(0));
    }
    void thread(unsigned index) {
        if (index == 0) {
            first->fill(0);
            RL_ASSERT(first->commit() == Commit::revoked);
        } else if (index == 1) {
            camera.revoke(0);
            camera.update(0);
        } else {
            second->fill(0);
            second->commit();
        }
    }
};

const Registered<SecondRevocation> second("late_writer.second_revocation",
                                          "a writer comes back while the next is revoked; another updates", {3, 300'000},
                                          {4, 20'000'000});
const Registered<Revoked> revoked("late_writer.revoked",
                                  "a writer is revoked anywhere and comes back, another updates twice; 1 reader pins",
                                  {2, 300'000}, {3, 20'000'000});
const Registered<OneOfTwoFields> one_of_two("late_writer.one_of_two_fields",
                                            "of 2 open fields one is revoked and updated; 1 reader pins", {2, 300'000},
                                            {3, 20'000'000});
const Registered<Reopened> reopened("late_writer.reopened",
                                    "a writer discards and opens again, is revoked; another updates twice", {2, 300'000},
                                    {3, 20'000'000});
const Registered<TwoLate> two_late("late_writer.two_late",
                                   "2 writers of one field, another revokes twice and writes; 1 reader pins", {2, 300'000},
                                   {3, 20'000'000});

}  // namespace
}  // namespace chiral::model
