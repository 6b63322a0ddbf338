// The two threads on which user code runs: one for requests that only look (metadata, get_obs), one for what moves the robot
// (apply_action, step, reset), in order of arrival.
//
// Jobs come from the network thread through a queue; answers go back through Session::reply_ready().
#pragma once

#include "wire.hpp"

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace chiral {

class Session;

/// One thing to do for a client.
struct Job {
    wire::RequestType type{};
    Action action;                     // of apply_action and action
    std::shared_ptr<Session> session;  // who gets the answer; null for apply_action, which has none
    std::size_t reply{0};              // which of the session's replies to fill
    std::weak_ptr<Session> sender;     // of apply_action: who is told when the hook fails
    bool last{false};                  // ends the thread
};

class HookThread {
public:
    /// Calls `run` for each job, in order, and `done` when it no longer counts as pending. Neither may throw.
    HookThread(std::size_t capacity, std::function<void(Job&)> run, std::function<void(Job&)> done)
        : jobs_(capacity), run_(std::move(run)), done_(std::move(done)), thread_([this] { work(); }) {}
    ~HookThread() { join(); }

    /// Network thread only. Allocates only where more than `capacity` jobs wait.
    void push(Job&& job) {
        pending_.fetch_add(1, std::memory_order_seq_cst);
        {
            const std::lock_guard lock(mutex_);
            if (waiting_ == jobs_.size()) grow();
            jobs_[(first_ + waiting_++) % jobs_.size()] = std::move(job);
        }
        ready_.notify_one();
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
    void work() {
        for (;;) {
            Job job = next();
            if (job.last) return;
            run_(job);
            pending_.fetch_sub(1, std::memory_order_seq_cst);
            done_(job);
        }
    }
    Job next() {
        std::unique_lock lock(mutex_);
        ready_.wait(lock, [this] { return waiting_ > 0; });
        Job job = std::move(jobs_[first_]);
        first_ = (first_ + 1) % jobs_.size();
        --waiting_;
        return job;
    }
    void grow() {
        std::vector<Job> larger(2 * jobs_.size());
        for (std::size_t i = 0; i < waiting_; ++i) larger[i] = std::move(jobs_[(first_ + i) % jobs_.size()]);
        jobs_ = std::move(larger);
        first_ = 0;
    }

    // A ring under a lock that is held for one move. A lock-free queue would do, but those at hand order their blocks by
    // fences, which ThreadSanitizer does not understand.
    std::mutex mutex_;
    std::condition_variable ready_;
    std::vector<Job> jobs_;
    std::size_t first_{0}, waiting_{0};
    std::function<void(Job&)> run_;
    std::function<void(Job&)> done_;
    std::atomic<std::size_t> pending_{0};
    std::thread thread_;
};

}  // namespace chiral
