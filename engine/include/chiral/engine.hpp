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
// nothing is harmed); different fields may be written by different threads at once. A Reader, its Snapshot and what the
// Snapshot hands out belong to one thread at a time. An Engine outlives its readers and frames, a Reader its snapshots.
#pragma once

#include <chiral/api.hpp>
#include <chiral/core/transaction.hpp>
#include <chiral/engine_options.hpp>
#include <chiral/sources.hpp>
#include <chiral/time.hpp>

#include <Eigen/Core>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

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
    wrong_size,       ///< the buffer is not as long as the declared shape says
    no_depth,         ///< the camera was declared without depth
    not_finite,       ///< NaN or infinity in intrinsics, extrinsics or a proprio sample (depth maps may hold them)
    writer_busy,      ///< another thread is writing the same field, or hangs or died while it did: Engine::revoke_writer
    revoked,          ///< the field was taken from this frame while it was open: Engine::revoke_writer
    no_spare_slot,    ///< revoke_writer(): the writer revoked before this one has not come back
    nothing_filled,   ///< commit() of a frame of which no field was touched
    closed,           ///< the frame has been committed or abandoned already
};

/// What became of an update. A value, not an exception: the sensor thread goes on. After an error the buffers are as they
/// were before. Cheap to copy; the message is put together only when asked for.
class CHIRAL_API Status {
public:
    Status() = default;
    Status(Errc code, const char* source, const char* what, std::uint64_t got, std::uint64_t expected) noexcept
        : code_(code), source_(source), what_(what), got_(got), expected_(expected) {}

    bool ok() const noexcept { return code_ == Errc::ok; }
    explicit operator bool() const noexcept { return ok(); }
    Errc code() const noexcept { return code_; }
    std::uint64_t got() const noexcept { return got_; }
    std::uint64_t expected() const noexcept { return expected_; }
    /// For example "camera 'wrist': image has 12 bytes, expected 921600".
    std::string message() const;

    /// Steps on shared memory that the call took, where it succeeded; at most Engine::writer_step_bound(). A frame counts from
    /// its begin; a field that it discards and asks for again costs up to another quarter of the bound each time.
    std::uint32_t steps() const noexcept { return steps_; }
    /// Sequence number of the published sample, where it succeeded: of the first field in the order of Field, or of the
    /// proprio sample.
    std::uint64_t sequence() const noexcept { return sequence_; }

private:
    friend class Engine;
    friend class Frame;
    Errc code_{Errc::ok};
    std::uint32_t steps_{0};
    std::uint64_t sequence_{0};
    const char* source_{""};  // names live as long as the engine
    const char* what_{""};
    std::uint64_t got_{0};
    std::uint64_t expected_{0};
};

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
struct ReaderState;
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

    /// H*W*C bytes to fill, row-major. Empty on error: see status().
    std::span<std::uint8_t> image() noexcept;
    /// H*W float32 in metres to fill, row-major. Empty on error: see status().
    std::span<float> depth() noexcept;
    /// Camera matrix K, camera-to-world transform T. Copied now, published by commit().
    Status set_intrinsics(const Eigen::Matrix3d& K) noexcept;
    Status set_extrinsics(const Eigen::Matrix4d& T) noexcept;

    /// Takes a field that was asked for out of the transaction again.
    void discard(Field field) noexcept;

    /// Publishes every field that was asked for, in one step. The transaction is over afterwards, whatever it returns.
    [[nodiscard]] Status commit() noexcept;  ///< captured now
    [[nodiscard]] Status commit(TimePoint captured) noexcept;
    /// Publishes nothing. The transaction is over.
    void abandon() noexcept;

    /// The first error since begin_frame().
    const Status& status() const noexcept { return status_; }
    /// Open, and without an error so far.
    explicit operator bool() const noexcept { return engine_ && status_.ok(); }

private:
    friend class Engine;
    Frame(detail::EngineState* engine, std::size_t camera, Status status) noexcept;
    void* open(Field field) noexcept;
    Status finish(TimePoint captured, TimePoint published) noexcept;

    detail::EngineState* engine_;  // null once closed
    std::size_t camera_;
    Status status_;
    core::Transaction<core::StdAtomics> transaction_;  // over for an unknown camera
};

/// What is known of a writer whose field is to be freed.
enum class WriterFate : std::uint8_t {
    may_return,  ///< it hangs, and may go on at any time
    /// It will never go on, and the caller learned that in a way that orders memory: joined the thread. It is this one that
    /// holds the field, not a successor.
    dead,
};

/// Number and times of one published buffer.
struct Stamp {
    std::uint64_t sequence{0};  ///< counts the publications of this buffer from 1; 0: the initial value
    TimePoint captured{};       ///< given by the driver, or the time of the update call
    TimePoint published{};
};

/// One camera of a snapshot. Valid while the Snapshot lives.
class CHIRAL_API CameraView {
public:
    std::span<const std::uint8_t> image() const noexcept;  ///< H*W*C bytes, row-major
    std::span<const float> depth() const noexcept;         ///< H*W metres, row-major; empty without depth
    /// Row-major 3x3 camera matrix K, as it lies in the slot.
    std::span<const double, 9> intrinsics() const noexcept;
    /// Row-major 4x4 camera-to-world transform T, as it lies in the slot.
    std::span<const double, 16> extrinsics() const noexcept;

    Stamp stamp(Field field) const noexcept;
    /// Publications of any field of this camera up to this view.
    std::uint64_t version() const noexcept;

    // Of the image:
    std::uint64_t sequence() const noexcept { return stamp(Field::image).sequence; }
    TimePoint captured() const noexcept { return stamp(Field::image).captured; }
    Duration age() const noexcept;          ///< snapshot time minus the older of capture and publication
    std::uint64_t missed() const noexcept;  ///< images published since this reader's last snapshot that it did not see
    Duration skew() const noexcept;         ///< capture time minus the snapshot's reference time
    /// Samples the image's content: costs up to 64 cache misses, and one pass over the image while the samples do not change.
    SourceStatus status() const noexcept;

    const CameraConfig& config() const noexcept;

private:
    friend class Snapshot;
    CameraView(detail::ReaderState* reader, std::size_t index) noexcept;
    detail::ReaderState& reader() const noexcept;  // found in debug builds: a view of a snapshot that is no more
    detail::ReaderState* reader_;
    std::size_t index_;
    std::uint64_t snapshot_;  // number of the snapshot it is of
};

/// How a proprio value came to be.
enum class ProprioRead : std::uint8_t {
    latest,         ///< the newest sample, as it was published
    interpolated,   ///< linear between the two samples around the asked time
    after_newest,   ///< asked for a time after the newest sample: the newest sample
    before_oldest,  ///< asked for a time before the oldest remembered sample: the oldest sample
    empty,          ///< nothing has been published: zeros
    overrun,  ///< the writer overtook the reader in every attempt: a snapshot repeats the values of the one before; the
              ///< caller's own buffer holds anything
};

/// One proprio stream of a snapshot: a copy that is owned by the Reader and valid while the Snapshot lives.
class CHIRAL_API ProprioView {
public:
    std::span<const float> values() const noexcept;
    ProprioRead how() const noexcept;
    /// Of the sample, or of the later one of an interpolated pair. captured is the interpolated time there.
    const Stamp& stamp() const noexcept;
    std::uint64_t sequence() const noexcept { return stamp().sequence; }
    TimePoint captured() const noexcept { return stamp().captured; }
    Duration age() const noexcept;          ///< as CameraView::age
    std::uint64_t missed() const noexcept;  ///< samples since this reader's last snapshot that it did not see
    SourceStatus status() const noexcept;
    const ProprioConfig& config() const noexcept;

private:
    friend class Snapshot;
    ProprioView(detail::ReaderState* reader, std::size_t index) noexcept;
    detail::ReaderState& reader() const noexcept;  // found in debug builds: a view of a snapshot that is no more
    detail::ReaderState* reader_;
    std::size_t index_;
    std::uint64_t snapshot_;  // number of the snapshot it is of
};

/// What outlives the Snapshot without harm.
class CHIRAL_API PassingCameraView : CameraView {
public:
    using CameraView::age;
    using CameraView::captured;
    using CameraView::missed;
    using CameraView::sequence;
    using CameraView::skew;
    using CameraView::stamp;
    using CameraView::status;
    using CameraView::version;

private:
    friend class Snapshot;
    explicit PassingCameraView(CameraView view) noexcept : CameraView(view) {}
};
class CHIRAL_API PassingProprioView : ProprioView {
public:
    using ProprioView::age;
    using ProprioView::captured;
    using ProprioView::how;
    using ProprioView::missed;
    using ProprioView::sequence;
    using ProprioView::stamp;
    using ProprioView::status;

private:
    friend class Snapshot;
    explicit PassingProprioView(ProprioView view) noexcept : ProprioView(view) {}
};

/// Everything at one look. Releases its pins when destroyed. Movable, not copyable.
class CHIRAL_API Snapshot {
public:
    Snapshot(Snapshot&& other) noexcept : reader_(other.reader_) { other.reader_ = nullptr; }
    Snapshot& operator=(Snapshot&& other) noexcept;
    Snapshot(const Snapshot&) = delete;
    ~Snapshot() { release(); }

    std::size_t cameras() const noexcept;
    std::size_t proprios() const noexcept;
    CameraView camera(std::size_t index) const& noexcept { return {reader_, index}; }    ///< index < cameras()
    ProprioView proprio(std::size_t index) const& noexcept { return {reader_, index}; }  ///< index < proprios()
    /// Of a snapshot that is gone at the end of the expression: numbers and times, but no buffers.
    PassingCameraView camera(std::size_t index) const&& noexcept { return PassingCameraView({reader_, index}); }
    PassingProprioView proprio(std::size_t index) const&& noexcept { return PassingProprioView({reader_, index}); }

    /// When the snapshot was taken; ages refer to it.
    TimePoint time() const noexcept;
    /// What skews and interpolated proprios refer to: as asked for, else time().
    TimePoint reference() const noexcept;
    /// Steps on shared memory that taking it took; at most Engine::reader_step_bound().
    std::uint32_t steps() const noexcept;

    /// True if the guard of every pinned slot still is what it was when the slot was pinned. It always is; the stress
    /// harness and debug builds ask anyway. Without EngineOptions::verify_pins it only looks whether a fill has begun.
    bool intact() const noexcept;

    /// Releases the pins early.
    void release() noexcept;

private:
    friend class Reader;
    explicit Snapshot(detail::ReaderState* reader) noexcept : reader_(reader) {}
    detail::ReaderState* reader_;
};

/// The right to take snapshots, one at a time. From Engine::make_reader().
class CHIRAL_API Reader {
public:
    Reader(Reader&&) noexcept;
    Reader& operator=(Reader&&) noexcept;
    ~Reader();

    /// Pins all cameras and copies the newest sample of every proprio stream; with a reference time, proprios are
    /// interpolated at it. Wait-free. Throws std::logic_error while the previous snapshot of this reader is alive.
    [[nodiscard]] Snapshot snapshot(std::optional<TimePoint> reference = std::nullopt) &;
    Snapshot snapshot(std::optional<TimePoint> reference = std::nullopt) && = delete;  // the Reader must outlive it

    int index() const noexcept;

private:
    friend class Engine;
    explicit Reader(std::unique_ptr<detail::ReaderState> state) noexcept;
    std::unique_ptr<detail::ReaderState> state_;
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

    /// Copies H*W*C bytes and publishes them. `captured` defaults to the time of the call.
    [[nodiscard]] Status update_image(std::size_t camera, const std::uint8_t* data, std::size_t bytes) noexcept;
    [[nodiscard]] Status update_image(std::size_t camera, const std::uint8_t* data, std::size_t bytes,
                                      TimePoint captured) noexcept;
    /// Copies H*W float32 (metres), given as bytes, and publishes them.
    [[nodiscard]] Status update_depth(std::size_t camera, const std::uint8_t* data, std::size_t bytes) noexcept;
    [[nodiscard]] Status update_depth(std::size_t camera, const std::uint8_t* data, std::size_t bytes,
                                      TimePoint captured) noexcept;
    [[nodiscard]] Status update_intrinsics(std::size_t camera, const Eigen::Matrix3d& K) noexcept;
    [[nodiscard]] Status update_intrinsics(std::size_t camera, const Eigen::Matrix3d& K, TimePoint captured) noexcept;
    [[nodiscard]] Status update_extrinsics(std::size_t camera, const Eigen::Matrix4d& T) noexcept;
    [[nodiscard]] Status update_extrinsics(std::size_t camera, const Eigen::Matrix4d& T, TimePoint captured) noexcept;
    /// Appends a sample of exactly the declared number of values.
    [[nodiscard]] Status update_proprio(std::size_t proprio, const float* values, std::size_t count) noexcept;
    [[nodiscard]] Status update_proprio(std::size_t proprio, const float* values, std::size_t count,
                                        TimePoint captured) noexcept;

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
    /// Frees a stream whose writer died in update_proprio(). It must be dead, and the caller must have learned that in a way
    /// that orders memory: no driver runs in there, so nothing can hang and return.
    [[nodiscard]] Status revoke_proprio_writer(std::size_t proprio) noexcept;

    // ---- reading ----

    /// Throws std::runtime_error if options().readers readers exist already.
    [[nodiscard]] Reader make_reader();

    /// Newest published image of a camera, 0 before the first. Wait-free.
    std::uint64_t newest_frame(std::size_t camera) const noexcept;

    /// Sleeps until an image newer than `after` is published; false at the deadline. Throws std::out_of_range for an
    /// unknown camera.
    [[nodiscard]] bool wait_frame(std::size_t camera, std::uint64_t after, TimePoint deadline);
    /// The same for all cameras at once: true when camera i has one newer than after[i], for all i < after.size(). Throws
    /// std::out_of_range if there are fewer cameras.
    [[nodiscard]] bool wait_frames(std::span<const std::uint64_t> after, TimePoint deadline);

    /// Reads one proprio stream without a Reader, any thread. Values go to `out`, which holds the declared size.
    /// Wait-free; overrun only if the writer laps the ring in each of a few attempts. Throws std::out_of_range for an
    /// unknown stream, std::invalid_argument for an `out` of another size.
    [[nodiscard]] ProprioRead latest_proprio(std::size_t proprio, std::span<float> out, Stamp* stamp = nullptr) const;
    [[nodiscard]] ProprioRead proprio_at(std::size_t proprio, TimePoint time, std::span<float> out,
                                         Stamp* stamp = nullptr) const;

    // ---- what it is ----

    const std::vector<CameraConfig>& cameras() const noexcept;
    const std::vector<ProprioConfig>& proprios() const noexcept;
    const EngineOptions& options() const noexcept;
    const ArenaReport& arena() const noexcept;
    /// Most steps that any update, commit or snapshot can take.
    std::uint32_t writer_step_bound() const noexcept;
    std::uint32_t reader_step_bound() const noexcept;

private:
    std::unique_ptr<detail::EngineState> state_;
};

}  // namespace chiral
