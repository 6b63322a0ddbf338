// SPDX-License-Identifier: Apache-2.0
// Objects that the processes which this one forks see as it does: in memory that they share. Atomics in it work between them.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <new>
#include <system_error>
#include <type_traits>

namespace chiral::stress {

template <class T>
class Shared {
public:
    static_assert(std::is_trivially_destructible_v<T>);

    explicit Shared(std::size_t count = 1) : count_(count) {
        void* const memory =
            ::mmap(nullptr, sizeof(T) * (count + 1), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "cannot map shared memory");
        objects_ = static_cast<T*>(memory);
        for (std::size_t i = 0; i < count; ++i) new (objects_ + i) T();
    }
    ~Shared() { ::munmap(objects_, sizeof(T) * (count_ + 1)); }
    Shared(const Shared&) = delete;

    std::size_t size() const noexcept { return count_; }
    T& operator[](std::size_t i) const noexcept { return objects_[i]; }
    T& operator*() const noexcept { return *objects_; }
    T* operator->() const noexcept { return objects_; }

private:
    const std::size_t count_;
    T* objects_;
};

}  // namespace chiral::stress
