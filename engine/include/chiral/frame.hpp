// SPDX-License-Identifier: Apache-2.0
// Frame transactions: slots that are filled in place, several fields of a camera that are published in one step.
#pragma once

#include <chiral/api.hpp>
#include <chiral/core/transaction.hpp>
#include <chiral/sources.hpp>
#include <chiral/status.hpp>
#include <chiral/time.hpp>

#include <Eigen/Core>

#include <cstddef>
#include <cstdint>
#include <span>

namespace chiral {

namespace detail {
struct EngineState;
}  // namespace detail

/// A frame transaction: hands out slot memory of one camera to be filled in place, and publishes any subset of the four
/// fields in one step. Destroying it without commit() publishes nothing.
///
/// A field is claimed when it is first asked for: from then until commit or abandonment no other thread can write it, unless
/// it is revoked. A revoked frame may go on filling the memory it was handed: it is nobody else's until the frame ends, and
/// commit() returns Errc::revoked. Slot memory holds old pixels, not zeros.
class CHIRAL_API Frame {
public:
    Frame(Frame&& other) noexcept;
    Frame& operator=(Frame&& other) noexcept;
    Frame(const Frame&) = delete;
    ~Frame();

    /// H*W*C elements to fill, row-major, as bytes whatever their type is. Empty on error: see status(). Of a camera with
    /// encoded images, max_encoded_bytes bytes: set_encoded_size() says how many of them were filled.
    std::span<std::uint8_t> image() noexcept;
    /// H*W float32 in metres to fill, row-major. Empty on error: see status().
    std::span<float> depth() noexcept { return depth_as<float>(); }
    /// The same by elements, T as is_element_of() says: for another type than was declared it is empty, and status() is
    /// Errc::wrong_type.
    template <class T>
    std::span<T> image_as() noexcept {
        return elements<T>(Field::image);
    }
    template <class T>
    std::span<T> depth_as() noexcept {
        return elements<T>(Field::depth);
    }
    /// The depth map as bytes, whatever the type of its elements is.
    std::span<std::uint8_t> depth_bytes() noexcept;
    /// How long the encoded image is that was filled into image(); 1 to max_encoded_bytes, else Errc::wrong_size. Nothing is
    /// published without it.
    Status set_encoded_size(std::size_t bytes) noexcept;
    /// Camera matrix K, camera-to-world transform T. Copied now, published by commit().
    Status set_intrinsics(const Eigen::Matrix3d& K) noexcept;
    Status set_extrinsics(const Eigen::Matrix4d& T) noexcept;

    /// Takes a field that was asked for out of the transaction again.
    void discard(Field field) noexcept;

    /// Publishes every field that was asked for, in one step. The transaction is over afterwards, whatever it returns.
    [[nodiscard]] Status commit() noexcept;  ///< captured now
    [[nodiscard]] Status commit(TimePoint captured) noexcept;
    /// With a reading of Engine::now() that the frames of several cameras share.
    [[nodiscard]] Status commit(TimePoint captured, TimePoint published) noexcept;
    /// Publishes nothing. The transaction is over.
    void abandon() noexcept;

    /// The first error since begin_frame().
    const Status& status() const noexcept { return status_; }
    /// Open, and without an error so far.
    explicit operator bool() const noexcept { return engine_ && status_.ok(); }

private:
    friend class Engine;
    Frame(detail::EngineState& engine, std::size_t camera) noexcept;
    void* open(Field field) noexcept;
    void* open_elements(Field field, unsigned types, const char* asked) noexcept;
    std::size_t bytes_of(Field field) const noexcept;

    template <class T>
    std::span<T> elements(Field field) noexcept {
        void* slot = open_elements(field, types_read_as<T>(), element_name<T>());
        return slot ? std::span<T>(static_cast<T*>(slot), bytes_of(field) / sizeof(T)) : std::span<T>();
    }

    detail::EngineState* engine_;  // null once closed
    std::size_t camera_;
    Status status_;
    using Transaction = core::Transaction<core::StdAtomics>;
    Transaction transaction_;  // over for an unknown camera
};

}  // namespace chiral
