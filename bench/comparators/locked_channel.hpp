// SPDX-License-Identifier: Apache-2.0
// One buffer behind a lock, as the documented design has it per camera: the writer copies in under the lock, a reader copies
// out under it, and works on its copy afterwards.
//
// Three locks: std::mutex, a mutex with priority inheritance (what a real-time robot would take), and std::shared_mutex,
// whose readers do not exclude each other.
#pragma once

#include "channel.hpp"

#include <pthread.h>

#include <mutex>
#include <shared_mutex>
#include <span>
#include <system_error>
#include <vector>

namespace chiral::bench {

/// While a thread waits for it, its holder runs with that thread's priority.
class PriorityInheritanceMutex {
public:
    PriorityInheritanceMutex() {
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
        int error = pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
        if (error == 0) error = pthread_mutex_init(&mutex_, &attributes);
        pthread_mutexattr_destroy(&attributes);
        if (error != 0) throw std::system_error(error, std::generic_category(), "mutex with priority inheritance");
    }
    ~PriorityInheritanceMutex() { pthread_mutex_destroy(&mutex_); }
    PriorityInheritanceMutex(const PriorityInheritanceMutex&) = delete;
    void lock() { pthread_mutex_lock(&mutex_); }
    void unlock() { pthread_mutex_unlock(&mutex_); }

private:
    pthread_mutex_t mutex_;
};

struct PlainMutex {
    static constexpr const char* name = "mutex";
    using Lock = std::mutex;
    using ReadGuard = std::unique_lock<Lock>;
};
struct InheritingMutex {
    static constexpr const char* name = "mutex_priority_inheritance";
    using Lock = PriorityInheritanceMutex;
    using ReadGuard = std::unique_lock<Lock>;
};
struct SharedMutex {
    static constexpr const char* name = "shared_mutex";
    using Lock = std::shared_mutex;
    using ReadGuard = std::shared_lock<Lock>;
};

template <class Kind>
class LockedChannel {
public:
    static constexpr const char* name = Kind::name;
    LockedChannel(std::size_t bytes, int) : buffer_(bytes) {}

    void update(const std::byte* data) {
        const std::lock_guard guard(lock_);
        std::memcpy(buffer_.data(), data, buffer_.size());
    }

    class Reader {
    public:
        explicit Reader(LockedChannel& channel) : channel_(channel), copy_(channel.buffer_.size()) {}
        template <class Pause = NoPause>
        std::span<const std::byte> look(Pause&& pause = {}) {
            const typename Kind::ReadGuard guard(channel_.lock_);
            copy_with_pause(copy_.data(), channel_.buffer_.data(), copy_.size(), pause);
            return copy_;
        }
        void release() {}

    private:
        LockedChannel& channel_;
        std::vector<std::byte> copy_;
    };

private:
    alignas(64) typename Kind::Lock lock_;
    std::vector<std::byte> buffer_;
};

using MutexChannel = LockedChannel<PlainMutex>;
using InheritingMutexChannel = LockedChannel<InheritingMutex>;
using SharedMutexChannel = LockedChannel<SharedMutex>;

}  // namespace chiral::bench
