// SPDX-License-Identifier: Apache-2.0
// The threads that work for clients: one for requests that only look (metadata, get_obs), one for what moves the robot
// (apply_action, step, reset, and who is in control), in order of arrival, and one for observers, on which no user code runs.
//
// Jobs come from the network thread through a moodycamel queue; answers go back through Session::reply_ready().
//
// No producer token: the queue recycles the blocks of a token after a relaxed load and an acquire fence, which
// ThreadSanitizer does not understand. The blocks of threads go through a free list that it can follow.
#pragma once

#include <chiral/wire.hpp>

#include <concurrentqueue/blockingconcurrentqueue.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <thread>

namespace chiral {

class Session;

/// The right of one client to move the robot.
struct Lease {
    std::atomic<bool> revoked{false};  // what waits under it is dropped
};

/// One thing to do for a client.
struct Job {
    wire::RequestType type{};
    Action action;                       // of apply_action and action
    std::shared_ptr<Session> session;    // who gets the answer; null for apply_action, which has none
    std::size_t reply{0};                // which of the session's replies to fill
    std::weak_ptr<Session> sender;       // of apply_action: who is told when the hook fails
    std::shared_ptr<const Lease> lease;  // of what moves the robot
    std::string rejected;                // of action: why the gate rejected it; it is answered all the same
    bool moves{false};                   // the robot: an action that the gate has passed
    std::function<void()> task;          // instead of all that, something rare to do
    bool last{false};                    // ends the thread
};

class HookThread {
public:
    /// Calls `run` for each job that has no task, or the task, in order, and `done` when it no longer counts as pending. None
    /// of them may throw.
    HookThread(std::size_t capacity, std::function<void(Job&)> run, std::function<void(Job&)> done)
        : jobs_(capacity, 0, 1), run_(std::move(run)), done_(std::move(done)), thread_([this] { work(); }) {}
    ~HookThread() { join(); }

    /// Network thread only.
    void push(Job&& job) {
        pending_.fetch_add(1, std::memory_order_seq_cst);
        jobs_.enqueue(std::move(job));
    }
    /// Jobs that have been pushed and not finished. seq_cst: pairs with the pause flag in ServerCore::action_done().
    std::size_t pending() const noexcept { return pending_.load(std::memory_order_seq_cst); }

    /// Ends the thread after what was pushed before. Not from a hook.
    void join() {
        if (!thread_.joinable()) return;
        Job last;
        last.last = true;
        push(std::move(last));
        thread_.join();
    }

private:
    struct QueueTraits : moodycamel::ConcurrentQueueDefaultTraits {
        // Sleeping soon is kinder to the robot's other threads than spinning is fast.
        static const int MAX_SEMA_SPINS = 50;
    };

    void work() {
        for (;;) {
            Job job;
            jobs_.wait_dequeue(job);
            if (job.last) break;
            finish(job);
        }
        // The queue keeps the order of one thread, and join() is called by another than push() was.
        for (Job job; jobs_.try_dequeue(job);) finish(job);
    }
    void finish(Job& job) {
        if (job.task) job.task();
        else run_(job);
        pending_.fetch_sub(1, std::memory_order_seq_cst);
        done_(job);
    }

    moodycamel::BlockingConcurrentQueue<Job, QueueTraits> jobs_;
    std::function<void(Job&)> run_;
    std::function<void(Job&)> done_;
    std::atomic<std::size_t> pending_{0};
    std::thread thread_;
};

}  // namespace chiral
