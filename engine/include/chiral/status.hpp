// SPDX-License-Identifier: Apache-2.0
// What becomes of an update.
#pragma once

#include <chiral/api.hpp>

#include <cstdint>
#include <string>

namespace chiral {

/// The four buffers of a camera.
enum class Field : std::uint8_t { image, depth, intrinsics, extrinsics };
constexpr const char* to_string(Field field) noexcept {
    constexpr const char* names[] = {"image", "depth", "intrinsics", "extrinsics"};
    return names[static_cast<int>(field)];
}

enum class Errc : std::uint8_t {
    ok,
    unknown_camera,   ///< index out of range
    unknown_proprio,  ///< index out of range
    wrong_size,       ///< the buffer is not as long as the declaration says
    no_depth,         ///< the camera was declared without depth
    not_finite,       ///< NaN or infinity in intrinsics, extrinsics or a proprio sample (depth maps may hold them)
    writer_busy,      ///< another thread is writing the same field, or hangs or died while it did: Engine::revoke_writer
    revoked,          ///< the field was taken from this frame while it was open: Engine::revoke_writer
    no_spare_slot,    ///< revoke_writer(): the writer revoked before this one has not come back
    nothing_filled,   ///< commit() of a frame of which no field was touched
    closed,           ///< the frame has been committed or abandoned already
    unknown_slot,     ///< index out of range
    wrong_type,       ///< asked for as elements of another type than was declared
    wrong_format,     ///< an ImageView whose format or stride does not go with the camera
};

/// What became of an update. A value, not an exception: the sensor thread goes on. After an error the buffers are as they
/// were before. Cheap to copy; the message is put together only when asked for.
class CHIRAL_API Status {
public:
    Status() = default;
    Status(Errc code, const char* source, const char* what, std::uint64_t got, std::uint64_t expected,
           const char* detail = "") noexcept
        : code_(code), source_(source), what_(what), detail_(detail), got_(got), expected_(expected) {}
    /// Of what was published.
    Status(std::uint64_t sequence, std::uint32_t steps) noexcept : steps_(steps), sequence_(sequence) {}

    bool ok() const noexcept { return code_ == Errc::ok; }
    explicit operator bool() const noexcept { return ok(); }
    Errc code() const noexcept { return code_; }
    std::uint64_t got() const noexcept { return got_; }
    std::uint64_t expected() const noexcept { return expected_; }
    /// For example "camera 'wrist': image has 12 bytes, expected 921600".
    std::string message() const;
    /// What was found wrong besides numbers, in words that live for ever; "" where there is nothing to add.
    const char* detail() const noexcept { return detail_; }

    /// Steps on shared memory that the call took, where it succeeded; at most Engine::writer_step_bound(). A frame counts from
    /// its begin; a field that it discards and asks for again costs up to another quarter of the bound each time.
    std::uint32_t steps() const noexcept { return steps_; }
    /// Sequence number of the published sample, where it succeeded: of the first field in the order of Field, of the proprio
    /// sample or the slot.
    std::uint64_t sequence() const noexcept { return sequence_; }

private:
    Errc code_{Errc::ok};
    std::uint32_t steps_{0};
    std::uint64_t sequence_{0};
    const char* source_{""};  // names live as long as the engine
    const char* what_{""};
    const char* detail_{""};
    std::uint64_t got_{0};
    std::uint64_t expected_{0};
};

}  // namespace chiral
