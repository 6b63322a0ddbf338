// SPDX-License-Identifier: Apache-2.0
// A thread of the harness: it ends when it is told to, its exception becomes a sentence, and it can be told from one that
// is stuck in a call that never returns.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <utility>

namespace chiral::stress {

class Worker {
public:
    /// `body` watches the stop flag that it was made with.
    Worker(std::string name, std::function<void()> body) : name_(std::move(name)) {
        std::packaged_task<void()> task(std::move(body));
        ended_ = task.get_future();
        thread_ = std::thread(std::move(task));
    }
    Worker(Worker&&) = default;
    ~Worker() {
        if (thread_.joinable()) thread_.join();
    }

    const std::string& name() const noexcept { return name_; }

    /// False if the thread has not ended by the deadline: it is stuck.
    bool join_until(std::chrono::steady_clock::time_point deadline) {
        if (!thread_.joinable()) return true;
        if (ended_.wait_until(deadline) != std::future_status::ready) return false;
        thread_.join();
        try {
            ended_.get();
        } catch (const std::exception& error) {
            failure_ = name_ + ": " + error.what();
        }
        return true;
    }

    /// What the body threw; empty if it ended well.
    const std::string& failure() const noexcept { return failure_; }

private:
    std::string name_;
    std::future<void> ended_;
    std::thread thread_;
    std::string failure_;
};

}  // namespace chiral::stress
