// SPDX-License-Identifier: Apache-2.0
// The lock-free sensor buffer engine: sensor threads publish, readers look at coherent snapshots, nobody waits.
//
//     chiral::Engine engine({camera}, {{"joint_pos", 7}});
//     engine.update_image(0, pixels, size);                     // sensor thread: copies, then publishes
//     chiral::Frame frame = engine.begin_frame(0);              // or: fill the slot in place, publish image and depth
//     driver.read_into(frame.image()); driver.read_depth_into(frame.depth());  // in one step
//     frame.commit(capture_time);
//
//     chiral::Reader reader = engine.make_reader();             // reading thread
//     chiral::Snapshot snapshot = reader.snapshot();            // pins; copies no pixel
//     use(snapshot.camera(0).image());                          // unchanged until `snapshot` is gone
//
// Guarantees (docs/GUARANTEES.md, I1 to I8). Updates, commits and pins are wait-free: a bounded number of steps plus the copy, whatever
// other threads do, even if one is stopped for ever. After construction they do not allocate, lock or call the system; only
// waking a thread that sleeps in wait_frame() is a system call, and it is made only when one sleeps. Buffers are never torn,
// and those of one camera in one snapshot were all current at one instant.
//
// Thread rules: one thread at a time writes a field of a camera or a proprio stream (a second one is told writer_busy and
// nothing is harmed), and so a slot; different fields may be written by different threads at once. A Reader, its Snapshot and what the
// Snapshot hands out belong to one thread at a time. An Engine outlives its readers and frames, a Reader its snapshots.
#pragma once

#include <chiral/api.hpp>
#include <chiral/engine_options.hpp>
#include <chiral/frame.hpp>
#include <chiral/guests.hpp>
#include <chiral/image_view.hpp>
#include <chiral/snapshot.hpp>
#include <chiral/sources.hpp>
#include <chiral/status.hpp>
#include <chiral/time.hpp>

#include <Eigen/Core>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace chiral {

/// What was obtained for the arena, as opposed to what was asked for.
struct CHIRAL_API ArenaReport {
    std::size_t bytes{0};
    std::size_t page_bytes{0};       ///< size of the pages that the mapping asked for
    std::size_t huge_page_bytes{0};  ///< how much of it the kernel really backs with huge pages
    bool locked{false};
    std::string lock_error;        ///< why not, where it was asked for
    std::string huge_pages_error;  ///< why not, where it was asked for
    /// One line for a log.
    std::string summary() const;
};

namespace detail {
struct EngineState;
}  // namespace detail

/// What is known of a writer whose field is to be freed.
enum class WriterFate : std::uint8_t {
    may_return,  ///< it hangs, and may go on at any time
    /// It will never go on, and the caller learned that in a way that orders memory: joined the thread. It is this one that
    /// holds the field, not a successor.
    dead,
};

/// What can be waited for.
struct Source {
    enum class Kind : std::uint8_t { image, depth, proprio, slot };
    Kind kind{Kind::image};
    std::size_t index{0};  ///< of the camera, stream or slot
};
struct Awaited {
    Source source;
    std::uint64_t after{0};  ///< for something newer than this
};

class CHIRAL_API Engine {
public:
    /// Allocates and prefaults everything. A child of fork() does not inherit the buffers and must touch neither the engine
    /// nor anything made by it; fork() costs the parent's sensor threads no page faults. Throws std::invalid_argument that names the source and the value for a
    /// declaration that makes no sense, std::system_error if there is not enough memory.
    Engine(std::vector<CameraConfig> cameras, std::vector<ProprioConfig> proprios, EngineOptions options = {});
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // ---- writing: wait-free ----

    // `captured` defaults to the time of the call, which is then the time of publication as well: one reading of the clock.

    /// Copies H*W*C elements, given as bytes, and publishes them; of a camera with encoded images, 1 to max_encoded_bytes bytes.
    [[nodiscard]] Status update_image(std::size_t camera, const std::uint8_t* data, std::size_t bytes) noexcept;
    [[nodiscard]] Status update_image(std::size_t camera, const std::uint8_t* data, std::size_t bytes,
                                      TimePoint captured) noexcept;
    /// The same of rows with a stride or in another order of bytes: converted in the one copy that is made.
    [[nodiscard]] Status update_image(std::size_t camera, const ImageView& image) noexcept;
    [[nodiscard]] Status update_image(std::size_t camera, const ImageView& image, TimePoint captured) noexcept;
    /// Copies H*W elements, given as bytes, and publishes them.
    [[nodiscard]] Status update_depth(std::size_t camera, const std::uint8_t* data, std::size_t bytes) noexcept;
    [[nodiscard]] Status update_depth(std::size_t camera, const std::uint8_t* data, std::size_t bytes,
                                      TimePoint captured) noexcept;
    [[nodiscard]] Status update_intrinsics(std::size_t camera, const Eigen::Matrix3d& K) noexcept;
    [[nodiscard]] Status update_intrinsics(std::size_t camera, const Eigen::Matrix3d& K, TimePoint captured) noexcept;
    [[nodiscard]] Status update_extrinsics(std::size_t camera, const Eigen::Matrix4d& T) noexcept;
    [[nodiscard]] Status update_extrinsics(std::size_t camera, const Eigen::Matrix4d& T, TimePoint captured) noexcept;
    /// Appends a sample of exactly the declared number of float32 values: Errc::wrong_type for a stream of another type.
    [[nodiscard]] Status update_proprio(std::size_t proprio, const float* values, std::size_t count) noexcept;
    [[nodiscard]] Status update_proprio(std::size_t proprio, const float* values, std::size_t count,
                                        TimePoint captured) noexcept;

    /// The same for a stream of any type, T as is_element_of() says.
    template <class T>
    [[nodiscard]] Status update_proprio_as(std::size_t proprio, std::span<const T> values,
                                           std::optional<TimePoint> captured = std::nullopt) noexcept {
        return append_proprio(proprio, values.data(), values.size(), types_read_as<T>(), element_name<T>(), captured);
    }
    /// The same for callers to whom types are names: `size` elements of the declared type, as bytes.
    [[nodiscard]] Status update_proprio_bytes(std::size_t proprio, std::span<const std::byte> values,
                                              std::optional<TimePoint> captured = std::nullopt) noexcept;
    /// Copies the bytes of a slot's value, as many as declared, and publishes them. See Slot<T>.
    [[nodiscard]] Status update_slot(std::size_t slot, const void* value, std::size_t bytes) noexcept;
    [[nodiscard]] Status update_slot(std::size_t slot, const void* value, std::size_t bytes, TimePoint captured) noexcept;

    /// The clock of default capture times, publish times and ages: EngineOptions::now.
    TimePoint now() const noexcept;

    /// Begins a frame transaction. For an unknown camera the frame's status() says so and commit() fails.
    [[nodiscard]] Frame begin_frame(std::size_t camera) noexcept;

    /// Frees a field whose writer hangs or died in the middle of an update or frame, for a successor. A writer that comes
    /// back is told Errc::revoked, publishes nothing, and shares no memory with its successor; until it does, its slot is
    /// replaced by a spare one, of which every field has one: no_spare_slot if that is in use, and the field stays taken.
    /// writer_busy if the writer is publishing at this very moment: ask again. Ok if nobody held the field. May lock and call
    /// the system: not for a sensor thread.
    [[nodiscard]] Status revoke_writer(std::size_t camera, Field field, WriterFate fate = WriterFate::may_return) noexcept;
    /// The same for all fields of a camera that are held, by writers that may return. The first error, though the other
    /// fields are freed.
    [[nodiscard]] Status revoke_camera_writer(std::size_t camera) noexcept;
    /// The same for a slot of the user's data.
    [[nodiscard]] Status revoke_slot_writer(std::size_t slot, WriterFate fate = WriterFate::may_return) noexcept;
    /// Frees a stream whose writer died in update_proprio(). It must be dead, and the caller must have learned that in a way
    /// that orders memory: no driver runs in there, so nothing can hang and return.
    [[nodiscard]] Status revoke_proprio_writer(std::size_t proprio) noexcept;

    // ---- reading ----

    /// Throws std::runtime_error if options().readers readers exist already, or a source of the scope has as many as it may;
    /// std::invalid_argument if the scope names something that there is not.
    [[nodiscard]] Reader make_reader(const ReaderScope& scope = {});

    /// Newest published image of a camera, 0 before the first. Wait-free.
    std::uint64_t newest_frame(std::size_t camera) const noexcept;

    /// Sleeps until an image newer than `after` is published; false at the deadline. Throws std::out_of_range for an
    /// unknown camera.
    [[nodiscard]] bool wait_frame(std::size_t camera, std::uint64_t after, TimePoint deadline);
    /// The same for all cameras at once: true when camera i has one newer than after[i], for all i < after.size(). Throws
    /// std::out_of_range if there are fewer cameras.
    [[nodiscard]] bool wait_frames(std::span<const std::uint64_t> after, TimePoint deadline);

    /// Newest published number of a source, 0 before the first. Wait-free. Throws std::out_of_range for an unknown source.
    std::uint64_t newest(Source source) const;
    /// Sleeps until something newer than `after` is published there; false at the deadline. Throws as newest().
    [[nodiscard]] bool wait(Source source, std::uint64_t after, TimePoint deadline);
    /// Sleeps until any of the sources has something newer, and says which, the first of those; nothing at the deadline. While
    /// somebody waits so, every update of any source is a system call. Throws as newest().
    [[nodiscard]] std::optional<std::size_t> wait_any(std::span<const Awaited> awaited, TimePoint deadline);

    /// Reads one proprio stream without a Reader, any thread. Values go to `out`, which holds the declared size.
    /// Wait-free; overrun only if the writer laps the ring in each of a few attempts. Throws std::out_of_range for an
    /// unknown stream, std::invalid_argument for an `out` of another size.
    [[nodiscard]] ProprioRead latest_proprio(std::size_t proprio, std::span<float> out, Stamp* stamp = nullptr) const;
    [[nodiscard]] ProprioRead proprio_at(std::size_t proprio, TimePoint time, std::span<float> out,
                                         Stamp* stamp = nullptr) const;

    // ---- readers in other processes ----

    /// Bytes of one seat's pages: whole pages. Seat i has those from i * guest_page_bytes() of EngineOptions::guest_memory on.
    std::size_t guest_page_bytes() const noexcept;
    /// An image that was captured or published longer ago is stale. Throws std::out_of_range for an unknown camera.
    Duration stale_after(std::size_t camera) const;
    /// Throws std::out_of_range for an unknown camera.
    GuestCamera guest_camera(std::size_t camera) const;
    /// Lets a guest in, whose pages are in place and zeroed: its number, with which its epochs begin, to be told it; 0 when four
    /// million have been let in. From now on what it pins is kept. One thread at a time admits and retires. The seat is empty
    /// and less than EngineOptions::guests.
    std::uint64_t admit_guest(int seat) noexcept;
    /// Nothing that it has pinned is kept any more.
    void retire_guest(int seat) noexcept;

    // ---- what it is ----

    const std::vector<CameraConfig>& cameras() const noexcept;
    const std::vector<ProprioConfig>& proprios() const noexcept;
    const std::vector<SlotConfig>& slots() const noexcept;
    /// As given, but proprio_history as it is.
    const EngineOptions& options() const noexcept;
    const ArenaReport& arena() const noexcept;
    /// Whether a byte lies in the memory of this engine, as the pixels of a snapshot do.
    bool holds(const void* byte) const noexcept;
    /// Most steps that any update, commit or snapshot can take.
    std::uint32_t writer_step_bound() const noexcept;
    std::uint32_t reader_step_bound() const noexcept;

private:
    Status append_proprio(std::size_t proprio, const void* values, std::size_t count, unsigned types, const char* given,
                          std::optional<TimePoint> captured) noexcept;

    std::unique_ptr<detail::EngineState> state_;
};

}  // namespace chiral
