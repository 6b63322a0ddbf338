// SPDX-License-Identifier: Apache-2.0
// The threads that make of an observation what a client wants.
//
// Whoever has an observation hands it over and goes on: scaling and encoding happen on a few threads of low priority, so that
// no sensor, network or hook thread does them, and no action waits for them. What is made of one sample of a camera is made
// once and shared by all who want the same of it: by clients at the same time, and by those who ask again before anything new
// was published. Pixels that a hook has put in place of the camera's own are nobody else's and are not shared.
//
// Bounds: a fixed number of threads, which start with the first want, so that a robot whose clients want nothing has none. Each
// camera, field and wish keeps what was made of its newest sample, up to a number of bytes and of pictures; what is being sent
// stays until it is. What nobody waits for any more is not made. Where memory runs out, that observation has a problem and
// all others go on.
#pragma once

#include "imaging/plan.hpp"
#include "imaging/transform.hpp"
#include "net/queue_traits.hpp"

#include <chiral/types.hpp>
#include <chiral/wire.hpp>

#include <concurrentqueue/concurrentqueue.h>
#include <concurrentqueue/lightweightsemaphore.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace chiral::imaging {

/// Who has handed an observation over. Called on threads of the pool.
class Customer {
public:
    virtual ~Customer() = default;
    /// Nobody waits for it any more.
    virtual bool gone() const noexcept = 0;
    /// It is made, or there is a problem: in words, empty if there was none. The pool does not touch the observation again.
    virtual void made(std::string problem) noexcept = 0;
};

class WantPool {
public:
    /// Throws std::invalid_argument unless there is a thread.
    WantPool(int threads, std::size_t kept_bytes, IsEngines is_engines);
    ~WantPool() { join(); }

    /// Makes `observation` what is wanted, and tells the customer. It must stay where it is, and nobody may touch it, until
    /// then. Any thread; neither waits nor locks once the threads have started. Throws std::bad_alloc, and std::system_error if
    /// no thread can be started: the customer is told nothing then.
    void fulfil(Observation& observation, std::shared_ptr<const wire::WantRequest> want, const Reduction& reduction,
                std::unique_ptr<Customer> customer);
    /// Ends the threads after what was handed over before. Nothing may be handed over any more.
    void join();

    /// Pictures and depth maps that were made so far.
    std::uint64_t made() const noexcept { return made_.load(std::memory_order_relaxed); }
    /// Bytes that are kept for others who want the same.
    std::size_t kept_bytes() const;

private:
    class Encoding;
    struct Drop {
        void operator()(Encoding* encoding) const noexcept;
    };
    using Owner = std::unique_ptr<Encoding, Drop>;
    struct Order;
    struct Key;
    struct Task {
        std::shared_ptr<Order> begin;  // an observation that has just come
        Owner encode;                  // or something to make
    };

    struct Tools;

    void start();
    void work(Tools& tools);
    bool push(Task&& task) noexcept;
    void begin(const std::shared_ptr<Order>& order, Tools& tools);
    void order_piece(const std::shared_ptr<Order>& order, const Piece& piece, Tools& tools);
    Owner find_or_make(Key&& key, bool& is_new);
    Owner take_place(const Key& key);
    void encode(Encoding& encoding, Tools& tools);
    void make(Encoding& encoding, Tools& tools, std::string& problem) noexcept;
    std::vector<std::shared_ptr<Order>> settle(Encoding& encoding, std::string& problem);
    void keep_within_bounds();
    void finish(const std::shared_ptr<Order>& order);

    const int thread_count_;
    const std::size_t most_kept_bytes_;
    const IsEngines is_engines_;
    std::once_flag started_;
    std::vector<std::thread> threads_;
    moodycamel::ConcurrentQueue<Task, net::QueueTraits<Task>> tasks_;
    // Counts the tasks, and one for each thread when they are to end, which takes no memory. Sleeping soon is kinder to the
    // robot's other threads than spinning is fast.
    moodycamel::LightweightSemaphore due_{0, 50};
    std::atomic<bool> ending_{false};
    std::atomic<std::uint64_t> made_{0};

    mutable std::mutex mutex_;  // of the pool's threads, for what follows and for what Encoding says
    std::vector<Owner> kept_;
    std::uint64_t uses_{0};
};

}  // namespace chiral::imaging
