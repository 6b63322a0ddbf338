// SPDX-License-Identifier: Apache-2.0
// Lock-free queues as latest-value channels: Boost.Lockfree's and moodycamel's.
//
// A queue holds what was not read yet, so by itself it grows old and full. Here each reader has a queue of its own, from
// which the writer takes what the reader did not fetch before it puts the new one in: at most one value waits. The value is
// copied once, into a buffer whose number goes through the queues and which counts its holders. Buffers are used again, and
// there are enough of them: per reader one in its queue and two in its hands, and the one being written.
#pragma once

#include "channel.hpp"

#include <concurrentqueue/concurrentqueue.h>
#include <boost/lockfree/queue.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

namespace chiral::bench {

/// boost::lockfree::queue, of a fixed capacity: no allocation. Not spsc_queue, whose writer cannot take the old value out.
class BoostQueue {
public:
    static constexpr const char* name = "boost_lockfree_queue";
    bool push(std::uint32_t value) { return queue_.push(value); }
    bool pop(std::uint32_t& value) { return queue_.pop(value); }

private:
    boost::lockfree::queue<std::uint32_t, boost::lockfree::capacity<4>> queue_;
};

/// moodycamel::ConcurrentQueue with a producer token and try_enqueue: no allocation. While a reader is stopped in the middle
/// of taking a value, the queue cannot use that block of its memory again and runs out of others in time: then the reader
/// does not get the value, but the next one for which there is room.
class MoodycamelQueue {
public:
    static constexpr const char* name = "moodycamel_queue";
    bool push(std::uint32_t value) { return queue_.try_enqueue(writer_, value); }
    bool pop(std::uint32_t& value) { return queue_.try_dequeue_from_producer(writer_, value); }

private:
    moodycamel::ConcurrentQueue<std::uint32_t> queue_{256, 1, 0};
    moodycamel::ProducerToken writer_{queue_};
};

template <class Queue>
class QueueChannel {
public:
    static constexpr const char* name = Queue::name;
    QueueChannel(std::size_t bytes, int readers) : queues_(static_cast<std::size_t>(readers)) {
        for (int i = 0; i < 3 * readers + 2; ++i) buffers_.push_back(std::make_unique<Buffer>(bytes));
        for (auto& queue : queues_) queue = std::make_unique<Queue>();
        show(0);  // zeros, until the first update
    }

    /// Values that one reader did not get because its queue had no room.
    std::uint64_t undelivered() const { return undelivered_; }

    void update(const std::byte* data) {
        const std::uint32_t number = free_buffer();
        std::memcpy(buffers_[number]->bytes.data(), data, buffers_[number]->bytes.size());
        show(number);
    }

    class Reader {
    public:
        explicit Reader(QueueChannel& channel) : channel_(channel), queue_(*channel.queues_[channel.next_reader_++]) {
            if (!queue_.pop(held_)) throw std::logic_error("a reader of a queue was made after the first update");
        }
        ~Reader() { channel_.drop(held_); }
        Reader(const Reader&) = delete;
        template <class Pause = NoPause>
        std::span<const std::byte> look(Pause&& pause = {}) {
            for (std::uint32_t newer; queue_.pop(newer); held_ = newer) channel_.drop(held_);
            pause();
            return channel_.buffers_[held_]->bytes;
        }
        void release() {}  // keeps the value: if no newer one comes, it is the latest

    private:
        QueueChannel& channel_;
        Queue& queue_;
        std::uint32_t held_{0};
    };

private:
    struct alignas(64) Buffer {
        explicit Buffer(std::size_t size) : bytes(size) {}
        std::atomic<std::uint32_t> holders{0};  // queues and readers
        std::vector<std::byte> bytes;
    };

    std::uint32_t free_buffer() const {
        for (std::uint32_t i = 0; i < buffers_.size(); ++i)
            if (buffers_[i]->holders.load(std::memory_order_acquire) == 0) return i;
        throw std::logic_error("queue: no buffer is free");
    }
    // Release, paired with the acquire in free_buffer(): the holder has read before the writer writes.
    void drop(std::uint32_t number) { buffers_[number]->holders.fetch_sub(1, std::memory_order_release); }
    void show(std::uint32_t number) {
        buffers_[number]->holders.store(static_cast<std::uint32_t>(queues_.size()), std::memory_order_relaxed);
        for (auto& queue : queues_) {
            for (std::uint32_t old; queue->pop(old);) drop(old);
            if (queue->push(number)) continue;
            drop(number);
            ++undelivered_;
        }
    }

    std::vector<std::unique_ptr<Buffer>> buffers_;
    std::vector<std::unique_ptr<Queue>> queues_;
    std::size_t next_reader_{0};
    std::uint64_t undelivered_{0};
};

using BoostQueueChannel = QueueChannel<BoostQueue>;
using MoodycamelChannel = QueueChannel<MoodycamelQueue>;

}  // namespace chiral::bench
