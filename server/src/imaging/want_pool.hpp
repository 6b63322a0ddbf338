// SPDX-License-Identifier: Apache-2.0
// The threads that make of an observation what a client wants.
//
// Whoever has an observation hands it over and goes on: scaling and encoding happen on a few threads of low priority, so that
// no sensor, network or hook thread does them, and no action waits for them. What is made of one version of a camera is made
// once and shared by all who want the same of it: by clients at the same time, and by those who ask again before anything new
// was published. Pixels that a hook has put in place of the camera's own are nobody else's and are not shared.
//
// Memory: each camera, field and wish keeps what was made of its newest version, `kept` of them at most; what is being sent
// stays until it is. Threads start with the first want: a robot whose clients want nothing has none.
#pragma once

#include "imaging/transform.hpp"

#include <chiral/types.hpp>
#include <chiral/wire.hpp>

#include <concurrentqueue/blockingconcurrentqueue.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace chiral::imaging {

/// How far a want is cut down to stay within its budget.
struct Reduction {
    int quality{100};   ///< at most
    double scale{1.0};  ///< of both sides

    friend bool operator==(const Reduction&, const Reduction&) = default;
};

class WantPool {
public:
    /// The problem in words, empty if there was none. Called on a thread of the pool; must not throw.
    using Done = std::function<void(const std::string& problem)>;

    WantPool(int threads, std::size_t kept);
    ~WantPool() { join(); }

    /// Makes `observation` what is wanted, and calls `done`. It must stay where it is, and nobody may touch it, until then.
    /// Any thread; neither waits nor locks once the threads have started.
    void fulfil(Observation& observation, std::shared_ptr<const wire::WantRequest> want, Reduction reduction, Done done);
    /// Ends the threads after what was handed over before.
    void join();

    /// Pictures and depth maps that were made so far.
    std::uint64_t made() const noexcept { return made_.load(std::memory_order_relaxed); }

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
        bool last{false};
    };

    void start();
    void work();
    void end_one();
    void begin(const std::shared_ptr<Order>& order, ImageDecoder& decoder);
    void order_camera(const std::shared_ptr<Order>& order, std::size_t index, ImageDecoder& decoder);
    void order_piece(const std::shared_ptr<Order>& order, std::size_t camera, bool depth, Key key);
    Owner find_or_make(Key&& key, bool& is_new);
    void encode(Encoding& encoding, ImageEncoder& encoder);
    void finish(const std::shared_ptr<Order>& order);

    const int thread_count_;
    const std::size_t kept_most_;
    std::once_flag started_;
    std::vector<std::thread> threads_;
    moodycamel::BlockingConcurrentQueue<Task> tasks_;
    std::atomic<std::uint64_t> made_{0};

    std::mutex mutex_;  // of the pool's threads, for what follows and for what Encoding says
    std::vector<Owner> kept_;
    std::uint64_t uses_{0};
};

}  // namespace chiral::imaging
