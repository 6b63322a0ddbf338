// SPDX-License-Identifier: Apache-2.0
// Looks at the newest images of a server on the same machine without asking it: pins in a page that the server has given to this
// client, in the way of the engine's own readers (chiral/core/guest_seats.hpp).
//
// Two views of a camera can be held at once. Showing one is wait-free but for a lock per camera that only threads of this client
// hold, for moments, and calls the system neither then nor when it is given back.
//
// The layout came from the server, which is trusted with nothing: it was checked, and what is read through it is.
//
// Thread rule: any thread.
#pragma once

#include "client/image_pace.hpp"
#include "client/shared_memory.hpp"
#include "net/direct_protocol.hpp"
#include "net/page_bell.hpp"

#include <chiral/core/hazard.hpp>
#include <chiral/status.hpp>
#include <chiral/time.hpp>
#include <chiral/types.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace chiral::client {

/// The page, as the client has mapped it. A child of fork() does not have it.
class DirectPage {
public:
    /// Throws std::runtime_error for a page that cannot be mapped, or that somebody could take away again.
    DirectPage(const net::Descriptor& file, std::uint64_t bytes);
    ~DirectPage();
    DirectPage(const DirectPage&) = delete;

    std::byte* data() const noexcept { return data_; }
    /// Whether this is the process that has it: without a system call.
    bool is_ours() const noexcept { return *ours_ != 0; }

private:
    void release() noexcept;

    std::size_t bytes_;
    std::byte* data_{nullptr};
    std::uint8_t* ours_{nullptr};  // a page that a fork wipes
    const pid_t owner_;
};

class DirectSeat : public std::enable_shared_from_this<DirectSeat> {
public:
    /// Throws std::runtime_error, as DirectPage does.
    DirectSeat(std::shared_ptr<Lender> lender, net::DirectLayout layout, const net::Descriptor& page);

    /// The server has sealed the page, and knows this client by that number. Before anything else is called.
    void admitted(std::uint64_t occupant) noexcept { occupant_ = occupant; }

    /// The newest image of a camera, with all that belongs to it, at one instant during the call; gives back what `camera` has
    /// borrowed. False: not of this camera. Throws LoanError if as many are held as can be, std::runtime_error for what the
    /// server must not have there.
    bool show(const std::string& name, CameraInfo& camera);

    struct Coming {
        std::uint64_t newest{0};       ///< number of the newest image; 0: none, or not to be told
        std::optional<TimePoint> due;  ///< when the next one is published, if it comes as those did that were seen
    };
    /// Without holding anything afterwards; while all that can be held of the camera is held, it cannot be told. Throws
    /// std::runtime_error as show() does.
    Coming coming(std::string_view name);

    /// By which the server answers wishes for newer images; null in a child of fork().
    const net::PageBell* bell() const noexcept { return page_.is_ours() ? &bell_ : nullptr; }

private:
    using Policy = core::StdAtomics;
    using Word = core::Hazard<Policy>::Word;

    // A view that is kept for the buffers of one CameraInfo. Free while `references_` is 0.
    class Pin final : public Loan {
    public:
        void place(Word& hazard) noexcept { hazard_ = &hazard; }
        void prefetch() const noexcept;
        bool free() const noexcept { return references_.load(std::memory_order_acquire) == 0; }
        /// The caller holds one reference then.
        core::View take(std::shared_ptr<DirectSeat> seat, const Word& view);
        void add_ref() noexcept override { references_.fetch_add(1, std::memory_order_relaxed); }
        void drop_ref() noexcept override;

    private:
        std::atomic<std::uint32_t> references_{0};
        Word* hazard_{nullptr};
        std::uint64_t attempts_{0};
        core::View pinned_;
        std::shared_ptr<DirectSeat> seat_;  // while anybody refers to it
    };
    // The reference of who takes a pin; others may have theirs.
    struct Taken {
        Taken(Pin& which, std::shared_ptr<DirectSeat> seat, const Word& word)
            : pin(which), view(which.take(std::move(seat), word)) {}
        Taken(const Taken&) = delete;
        ~Taken() { pin.drop_ref(); }
        Pin& pin;
        const core::View view;
    };
    struct Camera {
        net::DirectCamera layout;
        std::mutex mutex;  // guards what follows, but for the references of pins
        std::array<Pin, kGuestPins> pins;
        std::uint64_t last{0};  // number of the image that was shown last
        ImagePace pace;

        Pin* free_pin() noexcept;
    };
    struct Sample {
        const std::uint8_t* data;
        std::uint64_t sequence;
        std::int64_t captured, published;
    };

    Camera* camera_named(std::string_view name) const noexcept;
    const Word& view_of(const Camera& camera) const noexcept;
    void prefetch(const Camera& camera, const Pin& pin) const noexcept;
    Sample sample(const Camera& camera, core::View view, Field field) const;
    void fill(Camera& from, core::View view, Pin& pin, CameraInfo& to);

    const std::shared_ptr<Lender> lender_;  // of the memory
    const DirectPage page_;
    const net::PageBell bell_;
    std::vector<std::unique_ptr<Camera>> cameras_;
    std::uint64_t occupant_{0};
};

}  // namespace chiral::client
