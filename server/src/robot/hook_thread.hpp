// SPDX-License-Identifier: Apache-2.0
// A thread that does jobs of one kind in the order in which they were pushed.
//
// Jobs come through a moodycamel queue. No producer token: the queue recycles the blocks of a token after a relaxed load and
// an acquire fence, which ThreadSanitizer does not understand. The blocks of threads go through a free list that it can
// follow.
#pragma once

#include "net/queue_traits.hpp"
#include "net/thread_name.hpp"

#include <concurrentqueue/blockingconcurrentqueue.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <new>
#include <thread>
#include <utility>

namespace chiral::robot {

/// Owner: has run(Job&), which is also called at the end of the thread, with no job, and done(Job&), which is called when the job no
/// longer counts as pending. Neither may throw.
template <class Job, class Owner>
class HookThread {
public:
    /// Begins. `capacity`: jobs for which there is memory from the start; `name`: as the system shows it, a literal.
    template <std::size_t N>
    HookThread(std::size_t capacity, const char (&name)[N], Owner& owner)
        : jobs_(capacity, 0, kPushers), owner_(owner), thread_([this, &name] {
              net::name_this_thread(name);
              work();
          }) {}
    ~HookThread() { join(); }

    /// Any thread; what one thread pushes keeps its order. Throws std::bad_alloc, and has then pushed nothing.
    void push(Job&& job) {
        pending_.fetch_add(1, std::memory_order_seq_cst);
        if (jobs_.enqueue(std::move(job))) return;
        pending_.fetch_sub(1, std::memory_order_seq_cst);
        throw std::bad_alloc();
    }
    /// Jobs that have been pushed and not finished. seq_cst: pairs with the flag of who waits for room, in Hooks.
    std::size_t pending() const noexcept { return pending_.load(std::memory_order_seq_cst); }

    /// Ends the thread after what was pushed before. Not from a hook. Throws nothing: nobody could end it otherwise.
    void join() {
        if (!thread_.joinable()) return;
        while (!jobs_.enqueue(Job{})) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // no memory now
        thread_.join();
    }
    /// What was pushed behind the end, when nobody pushes any more.
    void do_the_rest() {
        for (Job job; jobs_.try_dequeue(job);)
            if (job.index() != 0) finish(job);
    }

private:
    static constexpr std::size_t kPushers = 2;  // the network thread, and the watchdog or who joins

    void work();
    void finish(Job& job) {
        owner_.run(job);
        pending_.fetch_sub(1, std::memory_order_seq_cst);
        owner_.done(job);
    }

    moodycamel::BlockingConcurrentQueue<Job, net::QueueTraits<Job>> jobs_;
    Owner& owner_;
    std::atomic<std::size_t> pending_{0};
    std::thread thread_;
};

template <class Job, class Owner>
void HookThread<Job, Owner>::work() {
    for (;;) {
        Job job;
        jobs_.wait_dequeue(job);
        if (job.index() != 0) {
            finish(job);
            continue;
        }
        owner_.run(job);  // End: for what has found no place among the jobs
        break;
    }
    do_the_rest();  // the queue keeps the order of one thread, and join() is called by another than push() was
}

}  // namespace chiral::robot
