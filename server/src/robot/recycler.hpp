// SPDX-License-Identifier: Apache-2.0
// A few values that have served, kept for their memory: whoever needs one takes it, fills it, and gives it back.
//
// Any thread, without waiting: each place is taken by one exchange, and one that somebody else is at is passed over.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace chiral::robot {

template <class T>
class Recycler {
public:
    /// For so many values.
    explicit Recycler(std::size_t places) : size_(places), places_(std::make_unique<Place[]>(places)) {}

    /// One that was given back, or an empty one.
    T take() noexcept {
        T value{};
        visit(kFull, kEmpty, [&](T& kept) { value = std::exchange(kept, T{}); });
        return value;
    }
    /// Keeps a value if there is room for it; it is destroyed otherwise.
    void give(T&& value) noexcept {
        T given = std::move(value);
        visit(kEmpty, kFull, [&](T& kept) { kept = std::move(given); });
    }

private:
    enum State : std::uint8_t { kEmpty, kBusy, kFull };
    struct Place {
        std::atomic<State> state{kEmpty};
        T value;
    };

    template <class Use>
    void visit(State from, State to, Use&& use) noexcept {
        for (std::size_t i = 0; i < size_; ++i) {
            Place& place = places_[i];
            State expected = from;
            // acquire/release: hands the memory from thread to thread.
            if (place.state.load(std::memory_order_relaxed) != from ||
                !place.state.compare_exchange_strong(expected, kBusy, std::memory_order_acquire, std::memory_order_relaxed))
                continue;
            use(place.value);
            return place.state.store(to, std::memory_order_release);
        }
    }

    const std::size_t size_;
    std::unique_ptr<Place[]> places_;
};

}  // namespace chiral::robot
