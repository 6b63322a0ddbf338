// SPDX-License-Identifier: Apache-2.0
// Memory for the bookkeeping of one asynchronous operation at a time, so that starting one does not allocate.
//
// Asio asks for a little memory per operation and gives it back before the handler runs; operations of one kind that never
// overlap can therefore share one block. What does not fit, or comes while the block is in use, is taken from the heap.
//
// Thread rule: any thread. An operation may be begun on one thread while the one before it is taken apart on another.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <new>
#include <utility>

namespace chiral::net {

class HandlerMemory {
public:
    HandlerMemory() = default;
    HandlerMemory(const HandlerMemory&) = delete;

    void* allocate(std::size_t bytes) {
        for (Block& block : blocks_)
            // acquire pairs with the release in deallocate(): what was there is no longer read.
            if (bytes <= sizeof block.bytes && !block.used.load(std::memory_order_relaxed) &&
                !block.used.exchange(true, std::memory_order_acquire))
                return block.bytes.data();
        return ::operator new(bytes);
    }
    void deallocate(void* pointer) noexcept {
        for (Block& block : blocks_)
            if (pointer == block.bytes.data()) {
                block.used.store(false, std::memory_order_release);
                return;
            }
        ::operator delete(pointer);
    }

private:
    // A composed operation of Beast nests a few operations of Asio.
    struct Block {
        alignas(std::max_align_t) std::array<std::byte, 1024> bytes;
        std::atomic<bool> used{false};
    };
    std::array<Block, 4> blocks_;
};

template <class T>
class HandlerAllocator {
public:
    using value_type = T;
    explicit HandlerAllocator(HandlerMemory& memory) noexcept : memory_(&memory) {}
    template <class U>
    HandlerAllocator(const HandlerAllocator<U>& other) noexcept : memory_(other.memory_) {}

    T* allocate(std::size_t count) { return static_cast<T*>(memory_->allocate(count * sizeof(T))); }
    void deallocate(T* pointer, std::size_t) noexcept { memory_->deallocate(pointer); }
    template <class U>
    bool operator==(const HandlerAllocator<U>& other) const noexcept {
        return memory_ == other.memory_;
    }

private:
    template <class>
    friend class HandlerAllocator;
    HandlerMemory* memory_;
};

/// A completion handler whose operation lives in `memory`, which must outlive it.
template <class Handler>
class PooledHandler {
public:
    using allocator_type = HandlerAllocator<std::byte>;
    PooledHandler(HandlerMemory& memory, Handler handler) : memory_(&memory), handler_(std::move(handler)) {}
    allocator_type get_allocator() const noexcept { return allocator_type(*memory_); }
    template <class... Args>
    void operator()(Args&&... args) {
        handler_(std::forward<Args>(args)...);
    }

private:
    HandlerMemory* memory_;
    Handler handler_;
};

template <class Handler>
PooledHandler(HandlerMemory&, Handler) -> PooledHandler<Handler>;

}  // namespace chiral::net
