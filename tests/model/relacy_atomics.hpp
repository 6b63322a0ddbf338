// SPDX-License-Identifier: Apache-2.0
// The core's atomics on the model checker Relacy, with the means to break one operation of the core at a time.
//
// What Relacy explores: interleavings, and for each load the stores that it may still see. Every store takes effect in the
// modification order at once; a load that is not ordered after a newer store may read an older one (up to one older in a
// full search, two in a random one). Plain memory is rl::var, which reports every data race by vector clocks.
//
// Sequentially consistent operations: their total order S is the order of execution, and a seq_cst load never reads
// behind the last seq_cst store of its word; it may read behind a weaker store, and a weaker load behind a seq_cst one.
// So a store followed by a load of another word is reordered unless both are seq_cst, as in C++.
// Relacy shows less than C++ allows in these respects:
//  - modification order and S both agree with execution, so S agrees with happens-before: C++20 (P0668) lets S differ from
//    happens-before where a chain begins or ends with a weaker operation. Two seq_cst operations of different threads are
//    ordered by such a chain where a claim is handed over: claim_drop (release) and claim_look (acquire) stand between the
//    publication of one writer and the scan of the next. The argument does not lean on S there. It needs that the successor's
//    scan sees what its predecessor's did, or something newer, and coherence of the hazard's modification order gives that
//    to loads ordered by happens-before, whatever their order in S; elsewhere it uses program order, and reads-from and
//    from-reads between seq_cst operations;
//  - a load never reads from a store that executes later (no load buffering): the core has no relaxed store whose value
//    depends on a relaxed load of another thread's word, but for looks_store (Looks::collect()). Of that word only Looks::at()
//    and the next collect() make anything, and what at() says chooses how a slot is copied into, nothing else. slot.late makes
//    its copies in either order whatever the answer is;
//  - a store of the same thread continues a release sequence, as in C++11, where C++20 wants a read-modify-write. In the
//    core that concerns ring_guard_open alone, whose odd value no reader acts upon;
//  - a failing compare_exchange reads the newest value. Atomic::compare_exchange below adds the older ones.
#pragma once

// The core's headers come first: Relacy turns memory_order_relaxed, new, delete, malloc and assert into macros.
#include <chiral/core/atomics.hpp>
#include <chiral/core/bell.hpp>
#include <chiral/core/camera_sync.hpp>
#include <chiral/core/field_news.hpp>
#include <chiral/core/guest_seats.hpp>
#include <chiral/core/hazard.hpp>
#include <chiral/core/reader_seats.hpp>
#include <chiral/core/sample_ring.hpp>
#include <chiral/core/transaction.hpp>

#include "mutant.hpp"

#include <array>
#include <cstdint>
#include <type_traits>

#include <relacy/relacy.hpp>

#undef memory_order_relaxed
#undef memory_order_consume
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno

namespace chiral::model {

using core::Site;
using core::Step;

/// A deadline that never passes, and one that may pass at any moment.
struct Never {};
struct AtAnyMoment {};

/// Policy for the core's templates. The state is static, as the policy's functions are; begin_execution() resets it.
class ModelAtomics {
public:
    static constexpr int kMaxThreads = 8;

    template <class T>
    class Atomic {
    public:
        Atomic() : value_(T{}) {}

        T load(Site site, std::memory_order order) const {
            arrive(site, {Kind::load, order, order});
            return value_.load(in_relacy(mutated(site, order)), info(site));
        }
        void store(Site site, T desired, std::memory_order order) {
            arrive(site, {Kind::store, order, order});
            value_.store(desired, in_relacy(mutated(site, order)), info(site));
        }
        T exchange(Site site, T desired, std::memory_order order) {
            arrive(site, {Kind::exchange, order, order});
            return value_.exchange(desired, in_relacy(mutated(site, order)), info(site));
        }
        T fetch_add(Site site, T delta, std::memory_order order) {
            arrive(site, {Kind::exchange, order, order});
            const T before = value_.fetch_add(delta, in_relacy(mutated(site, order)), info(site));
            if (site == Site::publish_view_add && bystander_ != nullptr) bystander_->published(before, before + delta);
            return before;
        }
        T fetch_sub(Site site, T delta, std::memory_order order) {
            arrive(site, {Kind::exchange, order, order});
            return value_.fetch_sub(delta, in_relacy(mutated(site, order)), info(site));
        }
        bool compare_exchange(Site site, T& expected, T desired, std::memory_order success, std::memory_order failure) {
            arrive(site, {Kind::compare_exchange, success, failure});
            const rl::memory_order on_success = in_relacy(mutated(site, success));
            const rl::memory_order on_failure = in_relacy(mutated_failure(site, failure));
            rl::context& c = rl::ctx();
            c.sched();
            const rl::preemption_disabler one_step(c);
            const bool succeeds = value_.debug_value() == expected;
            // One that fails is a load, which may also see an older value that differs from `expected`.
            if (!succeeds && rl::rand(2) == 1) {
                const T seen = value_.load(on_failure, info(site));
                if (seen != expected) {
                    expected = seen;
                    return false;
                }
            }
            // Relacy wants a failure order no stronger than the success order. Which of them applies is known here.
            return value_.compare_exchange(rl::bool_t<false>(), expected, desired, succeeds ? on_success : on_failure,
                                           info(site));
        }

        /// By somebody who keeps to no rules.
        void scribble(T value) { value_.store(value, rl::mo_relaxed, rl::debug_info("scribble", "", 0)); }

    private:
        friend class ModelAtomics;
        rl::atomic<T> value_;
    };

    // A futex promises: of a wait and a wake_all one is first; if it is the wake, the wait sees what was written before
    // the wake; if it is the wait, the wake ends it. It promises nothing else: to a waiter that was not preceded by a
    // wake the word may look as old as to any relaxed load, and being woken orders no memory. A wait may also end for no
    // reason: here once in an execution, so that executions stay finite.
    template <class Deadline>
    static bool wait(const Atomic<std::uint64_t>& word, std::uint64_t value, Deadline) {
        rl::context& c = rl::ctx();
        c.sched();
        if (early_returns_ > 0 && rl::rand(2) == 1) {
            --early_returns_;
            return true;
        }
        const rl::preemption_disabler one_step(c);
        Futex& futex = futex_of(word);
        rl::timestamp_t* const clock = c.threadx_->acq_rel_order_;
        const rl::thread_id_t threads = c.get_thread_count();
        std::array<rl::timestamp_t, kMaxThreads> before{};
        const rl::thread_id_t self = c.threadx_->index_;
        for (rl::thread_id_t i = 0; i < threads; ++i) {
            before[i] = clock[i];
            if (clock[i] < futex.woken_at[i]) clock[i] = futex.woken_at[i];
        }
        const std::uint64_t seen = word.value_.load(rl::mo_relaxed, rl::debug_info("futex wait", "", 0));
        for (rl::thread_id_t i = 0; i < threads; ++i)
            if (i != self) clock[i] = before[i];
        if (seen != value) return true;
        constexpr bool timed = std::is_same_v<Deadline, AtAnyMoment>;
        return futex.sleepers.park_current(c, timed, false, false, rl::debug_info("futex sleep", "", 0)) !=
               rl::unpark_reason_timeout;
    }
    static void wake_all(const Atomic<std::uint64_t>& word) {
        rl::context& c = rl::ctx();
        c.sched();
        Futex& futex = futex_of(word);
        c.threadx_->own_acq_rel_order_ += 1;
        for (rl::thread_id_t i = 0; i < c.get_thread_count(); ++i)
            if (futex.woken_at[i] < c.threadx_->acq_rel_order_[i]) futex.woken_at[i] = c.threadx_->acq_rel_order_[i];
        futex.sleepers.unpark_all(c, rl::debug_info("futex wake", "", 0));
    }

    static bool performs(Step step) { return mutant.without != step; }

    /// Is told of every publication by the thread that made it, before anything else is scheduled.
    class Bystander {
    public:
        virtual void published(std::uint64_t view_before, std::uint64_t view_after) = 0;

    protected:
        ~Bystander() = default;
    };
    static void watch(Bystander* bystander) { bystander_ = bystander; }

    /// To be called by a model before its threads start. `others`: how many threads a stopped one waits for.
    static void begin_execution(int others = 0) {
        futexes_ = {};
        bystander_ = nullptr;
        stopped_ = rl::waitset<kMaxThreads>();
        stop_at_.fill(Site::count_);
        running_ = others;
        early_returns_ = 1;
    }
    /// The calling thread will stop just before its next operation at `site`, until all others are done: to them it has
    /// stopped for ever. Afterwards it must still be able to go on; one that died ends there.
    static void stop_before(Site site) { stop_at_[rl::thread_index()] = site; }
    /// The calling thread is one of `others` and has nothing more to do.
    static void done() {
        if (--running_ == 0) stopped_.unpark_all(rl::ctx(), rl::debug_info("the others are done", "", 0));
    }

private:
    static rl::debug_info info(Site site) { return rl::debug_info(name_of(site), "", 0); }

    static void arrive(Site site, const Shipped& operation) {
        ++reached[static_cast<std::size_t>(site)];
        shipped[static_cast<std::size_t>(site)] = operation;
        Site& stop = stop_at_[rl::thread_index()];
        if (stop != site) return;
        stop = Site::count_;
        rl::ctx().sched();
        if (running_ > 0) stopped_.park_current(rl::ctx(), false, false, false, rl::debug_info("stopped", "", 0));
    }

    static rl::memory_order in_relacy(std::memory_order order) {
        switch (order) {
            case std::memory_order::relaxed: return rl::mo_relaxed;
            case std::memory_order::consume: return rl::mo_consume;
            case std::memory_order::acquire: return rl::mo_acquire;
            case std::memory_order::release: return rl::mo_release;
            case std::memory_order::acq_rel: return rl::mo_acq_rel;
            case std::memory_order::seq_cst: break;
        }
        return rl::mo_seq_cst;
    }

    struct Futex {
        const void* word{nullptr};
        rl::waitset<kMaxThreads> sleepers;
        std::array<rl::timestamp_t, kMaxThreads> woken_at;
        Futex() { woken_at.fill(0); }
    };
    // No model has more words to sleep on than cameras, and none more than two of those.
    static Futex& futex_of(const Atomic<std::uint64_t>& word) {
        for (Futex& futex : futexes_) {
            if (futex.word == nullptr) futex.word = &word;
            if (futex.word == &word) return futex;
        }
        RL_ASSERT(false && "a model with more than two words to sleep on");
        return futexes_[0];
    }
    inline static std::array<Futex, 2> futexes_;
    inline static rl::waitset<kMaxThreads> stopped_;
    inline static std::array<Site, kMaxThreads> stop_at_;
    inline static Bystander* bystander_ = nullptr;
    inline static int running_ = 0;
    inline static int early_returns_ = 0;
};

}  // namespace chiral::model
