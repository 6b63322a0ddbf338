// SPDX-License-Identifier: Apache-2.0
// Memory for messages that have been received, from which observations borrow their pixels: what the kernel has put there is
// not copied again.
//
// A message's memory is used again when nobody borrows from it any more. It may outlive the client, and what comes back is
// counted borrowers, not a value: neither ObservationPool nor Recycler (robot/) would do.
#pragma once

#include <chiral/byte_buffer.hpp>

#include <boost/beast/core/flat_buffer.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace chiral::client {

/// Borrowers on any thread; the rest belongs to the receiver's.
class ReceivedMessage final : public Loan {
public:
    boost::beast::flat_buffer bytes;

    void add_ref() noexcept override { references_.fetch_add(1, std::memory_order_relaxed); }
    // acq_rel: the last one to drop comes after the reads of all others, as in every reference count.
    void drop_ref() noexcept override {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }
    /// acquire pairs with the release in drop_ref(): what was read of it comes before what is written next. Without it
    /// ThreadSanitizer reports the one against the other (StreamedObservationsAreReused).
    bool borrowed() const noexcept { return references_.load(std::memory_order_acquire) > 1; }

private:
    std::atomic<std::uint32_t> references_{1};  // of the receiver, and of borrowers
};

/// One thread at a time.
class ReceivedMessages {
public:
    ReceivedMessages() { add(); }

    /// What is being received, or was received last.
    ReceivedMessage& current() noexcept { return *current_; }
    /// Empty memory for the next one.
    ReceivedMessage& next() {
        const auto free =
            std::find_if(kept_.begin(), kept_.end(), [](const Owner& message) { return !message->borrowed(); });
        if (free != kept_.end()) {
            current_ = free->get();
            current_->bytes.clear();
        } else {
            if (kept_.size() == most) kept_.erase(kept_.begin());  // goes with its borrowers
            add();
        }
        return *current_;
    }

private:
    struct Release {
        void operator()(ReceivedMessage* message) const noexcept { message->drop_ref(); }
    };
    using Owner = std::unique_ptr<ReceivedMessage, Release>;

    // As many as the observations of a stream, which come back, and a few of the caller's own.
    static constexpr std::size_t most = 12;

    void add() {
        kept_.emplace_back(new ReceivedMessage);
        current_ = kept_.back().get();
    }

    std::vector<Owner> kept_;
    ReceivedMessage* current_{nullptr};
};

}  // namespace chiral::client
