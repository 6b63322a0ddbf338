// SPDX-License-Identifier: Apache-2.0
// What a reader sees: everything at one look, pinned, and how old it is.
#pragma once

#include <chiral/api.hpp>
#include <chiral/sources.hpp>
#include <chiral/status.hpp>
#include <chiral/time.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace chiral {

namespace detail {
struct ReaderState;
}  // namespace detail

/// Number and times of one published buffer.
struct Stamp {
    std::uint64_t sequence{0};  ///< counts the publications of this buffer from 1; 0: the initial value
    TimePoint captured{};       ///< given by the driver, or the time of the update call
    TimePoint published{};
};

/// What a reader looks at, by name; where nothing is given, at all there is. The rest is not pinned or copied, does not count this
/// one among its readers, and is empty in the snapshots: no bytes, number 0, SourceStatus::never.
struct ReaderScope {
    std::optional<std::vector<std::string>> cameras{};
    std::optional<std::vector<std::string>> depths{};  ///< the depth map, too, of these of the cameras; else of all of them
    std::optional<std::vector<std::string>> slots{};
    std::optional<std::vector<std::string>> proprios{};
};

/// One camera of a snapshot. Valid while the Snapshot lives.
class CHIRAL_API CameraView {
public:
    /// H*W*C elements, row-major, as bytes whatever their type is. Of a camera with encoded images: the stream, empty before the
    /// first.
    std::span<const std::uint8_t> image() const noexcept;
    /// H*W metres, row-major; empty without depth. Throws as depth_as().
    std::span<const float> depth() const { return depth_as<float>(); }
    /// The same by elements, T as is_element_of() says. Throws std::logic_error for another type than was declared, and for an
    /// encoded image.
    template <class T>
    std::span<const T> image_as() const {
        return elements<T>(Field::image);
    }
    template <class T>
    std::span<const T> depth_as() const {
        return elements<T>(Field::depth);
    }
    /// The depth map as bytes, whatever the type of its elements is; empty without depth.
    std::span<const std::uint8_t> depth_bytes() const noexcept;
    /// Whether the reader looks at this field: see ReaderScope.
    bool looked_at(Field field) const noexcept;
    /// Row-major 3x3 camera matrix K, as it lies in the slot; zeros where the reader does not look at the camera.
    std::span<const double, 9> intrinsics() const noexcept;
    /// Row-major 4x4 camera-to-world transform T, likewise.
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
    void require_elements(Field field, bool fits, const char* asked) const;
    std::span<const std::uint8_t> bytes(Field field) const noexcept;

    template <class T>
    std::span<const T> elements(Field field) const {
        require_elements(field, is_element_of<T>(field == Field::image ? config().image_dtype : config().depth_dtype),
                         element_name<T>());
        const std::span<const std::uint8_t> all = bytes(field);
        return {reinterpret_cast<const T*>(all.data()), all.size() / sizeof(T)};
    }
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
    /// As float32, whatever the type of the stream is: what does not fit is rounded.
    std::span<const float> values() const noexcept;
    /// As declared, T as is_element_of() says. Throws std::logic_error for another type.
    template <class T>
    std::span<const T> values_as() const {
        require_elements(is_element_of<T>(config().dtype), element_name<T>());
        const std::span<const std::byte> all = bytes();
        return {reinterpret_cast<const T*>(all.data()), all.size() / sizeof(T)};
    }
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
    void require_elements(bool fits, const char* asked) const;
    std::span<const std::byte> bytes() const noexcept;
    detail::ReaderState& reader() const noexcept;  // found in debug builds: a view of a snapshot that is no more
    detail::ReaderState* reader_;
    std::size_t index_;
    std::uint64_t snapshot_;  // number of the snapshot it is of
};

/// One slot of a snapshot: see Slot<T> for what lies in it. Valid while the Snapshot lives.
class CHIRAL_API SlotView {
public:
    std::span<const std::byte> bytes() const noexcept;  ///< as many as declared; zeros before the first update
    Stamp stamp() const noexcept;
    std::uint64_t sequence() const noexcept { return stamp().sequence; }
    TimePoint captured() const noexcept { return stamp().captured; }
    Duration age() const noexcept;          ///< as CameraView::age
    std::uint64_t missed() const noexcept;  ///< values since this reader's last snapshot that it did not see
    SourceStatus status() const noexcept;
    const SlotConfig& config() const noexcept;

private:
    friend class Snapshot;
    SlotView(detail::ReaderState* reader, std::size_t index) noexcept;
    detail::ReaderState& reader() const noexcept;  // found in debug builds: a view of a snapshot that is no more
    detail::ReaderState* reader_;
    std::size_t index_;   // of the slot
    std::size_t source_;  // behind the cameras
    std::uint64_t snapshot_;
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
    std::size_t slots() const noexcept;
    CameraView camera(std::size_t index) const& noexcept { return {reader_, index}; }    ///< index < cameras()
    ProprioView proprio(std::size_t index) const& noexcept { return {reader_, index}; }  ///< index < proprios()
    SlotView slot(std::size_t index) const& noexcept { return {reader_, index}; }        ///< index < slots()
    SlotView slot(std::size_t) const&& = delete;
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

    /// Pins the cameras and slots of its scope, and copies the newest sample of the streams; with a reference time, proprios are
    /// interpolated at it. Wait-free. Throws std::logic_error while the previous snapshot of this reader is alive.
    [[nodiscard]] Snapshot snapshot(std::optional<TimePoint> reference = std::nullopt) &;
    Snapshot snapshot(std::optional<TimePoint> reference = std::nullopt) && = delete;  // the Reader must outlive it

    int index() const noexcept;

private:
    friend class Engine;
    explicit Reader(std::unique_ptr<detail::ReaderState> state) noexcept;
    std::unique_ptr<detail::ReaderState> state_;
};

}  // namespace chiral
