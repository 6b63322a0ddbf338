// SPDX-License-Identifier: Apache-2.0
#include "client/direct.hpp"

#include <chiral/client.hpp>
#include <chiral/core/guest_seats.hpp>
#include <chiral/time.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace chiral::client {
namespace {

double seconds(std::int64_t nanoseconds) noexcept { return static_cast<double>(nanoseconds) / 1e9; }

// As the server judges it. What repeats itself only the server sees.
SourceStatus judge(std::uint64_t sequence, std::int64_t captured, std::int64_t published,
                   const net::DirectCamera& limits) noexcept {
    if (sequence == 0) return SourceStatus::never;
    // The driver may have said any time: differences need not fit.
    const auto time = [](std::int64_t nanoseconds) { return TimePoint(Duration(nanoseconds)); };
    if (difference(Clock::now(), time(std::min(captured, published))) > Duration(limits.stale_after))
        return SourceStatus::stale;
    const bool ahead = difference(time(captured), time(published)) > Duration(limits.ahead_tolerance);
    return ahead ? SourceStatus::ahead : SourceStatus::fresh;
}

template <class Matrix>
void load_row_major(const std::uint8_t* slot, Matrix& matrix) noexcept {
    double values[Matrix::SizeAtCompileTime];
    std::memcpy(values, slot, sizeof values);
    for (int r = 0; r < matrix.rows(); ++r)
        for (int c = 0; c < matrix.cols(); ++c) matrix(r, c) = values[r * matrix.cols() + c];
}

}  // namespace

// ---- the page ----

DirectPage::DirectPage(const net::Descriptor& file, std::uint64_t bytes)
    : bytes_(static_cast<std::size_t>(bytes)), owner_(getpid()) {
    const auto failed = [this](const char* what) {
        const std::string why = std::strerror(errno);
        release();
        throw std::runtime_error(std::string("cannot map ") + what + ": " + why);
    };
    constexpr int needed = F_SEAL_SHRINK | F_SEAL_GROW;
    const int seals = fcntl(file.get(), F_GET_SEALS);
    struct stat found {};
    if (seals < 0 || (seals & needed) != needed || fstat(file.get(), &found) != 0 ||
        static_cast<std::uint64_t>(found.st_size) != bytes)
        throw std::runtime_error("the server's page is not sealed, or not of the size that it says");
    constexpr int both = PROT_READ | PROT_WRITE;
    void* address = mmap(nullptr, bytes_, both, MAP_SHARED | MAP_POPULATE, file.get(), 0);
    if (address == MAP_FAILED) failed("a page of the server");
    data_ = static_cast<std::byte*>(address);
    address = mmap(nullptr, 1, both, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED) failed("a page of its own");
    ours_ = static_cast<std::uint8_t*>(address);
    *ours_ = 1;
    if (madvise(data_, bytes_, MADV_DONTFORK) != 0 || madvise(ours_, 1, MADV_WIPEONFORK) != 0)
        failed("a page that no child has");
}

DirectPage::~DirectPage() { release(); }

void DirectPage::release() noexcept {
    if (getpid() != owner_) return;  // something else may lie there
    if (data_ != nullptr) munmap(data_, bytes_);
    if (ours_ != nullptr) munmap(ours_, 1);
}

// ---- pins ----

// A line that another core has changed takes long to come, and longer if that core is at rest. So all lines that a look touches are
// sent for together, by what is current now, before the pin decides what is.
void DirectSeat::Pin::prefetch() const noexcept { __builtin_prefetch(hazard_, 1); }

core::View DirectSeat::Pin::take(std::shared_ptr<DirectSeat> seat, const Word& view) {
    pinned_ = core::Hazard<Policy>::pin(*hazard_, view, core::guest_epoch(seat->occupant_, ++attempts_));
    seat_ = std::move(seat);
    references_.store(1, std::memory_order_relaxed);
    return pinned_;
}

void DirectSeat::Pin::drop_ref() noexcept {
    // In two steps, so that it is not taken for free before all is put away. acquire and release: the last one to drop comes
    // after the reads of all others, as in every reference count.
    std::uint32_t left = references_.load(std::memory_order_acquire);
    while (left > 1)
        if (references_.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel, std::memory_order_acquire)) return;
    const std::shared_ptr<DirectSeat> seat = std::move(seat_);
    if (seat->page_.is_ours()) core::Hazard<Policy>::unpin(*hazard_, pinned_);
    references_.store(0, std::memory_order_release);
}

// ---- showing ----

DirectSeat::DirectSeat(std::shared_ptr<Lender> lender, net::DirectLayout layout, const net::Descriptor& page)
    : lender_(std::move(lender)), page_(page, layout.page_bytes), bell_(page_.data() + layout.bell) {
    for (net::DirectCamera& camera : layout.cameras) {
        auto& added = *cameras_.emplace_back(std::make_unique<Camera>());
        added.layout = std::move(camera);
        auto* const words = reinterpret_cast<Word*>(page_.data() + added.layout.place.hazards);
        for (std::size_t i = 0; i < added.pins.size(); ++i) added.pins[i].place(words[i]);
    }
}

DirectSeat::Pin* DirectSeat::Camera::free_pin() noexcept {
    const auto pin = std::find_if(pins.begin(), pins.end(), [](const Pin& each) { return each.free(); });
    return pin == pins.end() ? nullptr : &*pin;
}

DirectSeat::Camera* DirectSeat::camera_named(std::string_view name) const noexcept {
    const auto found =
        std::find_if(cameras_.begin(), cameras_.end(), [&](const auto& each) { return each->layout.name == name; });
    return found == cameras_.end() ? nullptr : found->get();
}

const DirectSeat::Word& DirectSeat::view_of(const Camera& camera) const noexcept {
    return *reinterpret_cast<const Word*>(lender_->memory().data() + camera.layout.place.view);
}

void DirectSeat::prefetch(const Camera& camera, const Pin& pin) const noexcept {
    pin.prefetch();
    const core::View view{view_of(camera).load(core::Site::pin_view_load, std::memory_order_relaxed)};  // a hint
    for (int field = 0; field < core::kFields; ++field) {
        const GuestCamera::Buffer& buffer = camera.layout.place.buffers[static_cast<std::size_t>(field)];
        const auto slot = static_cast<std::uint64_t>(view.slot(field));
        if (slot >= buffer.count) continue;
        __builtin_prefetch(lender_->memory().data() + buffer.stamps + slot * kStampStride);
        __builtin_prefetch(lender_->memory().data() + buffer.slots + slot * buffer.stride);
    }
}

DirectSeat::Sample DirectSeat::sample(const Camera& camera, core::View view, Field field) const {
    const GuestCamera::Buffer& buffer = camera.layout.place.buffers[static_cast<std::size_t>(field)];
    const auto slot = static_cast<std::uint64_t>(view.slot(static_cast<int>(field)));
    if (slot > buffer.count)
        throw std::runtime_error("the server shows slot " + std::to_string(slot) + " of camera '" + camera.layout.name +
                                 "', expected at most " + std::to_string(buffer.count));
    const std::uint8_t* const memory = lender_->memory().data();
    const std::uint8_t* const stamp = memory + buffer.stamps + slot * kStampStride;
    const auto* guard = reinterpret_cast<const Word*>(stamp);
    Sample found{};
    found.data = memory + (slot == buffer.count ? buffer.spare : buffer.slots + slot * buffer.stride);
    found.sequence = guard->load(core::Site::guard_load, std::memory_order_relaxed) / 2;
    std::memcpy(&found.captured, stamp + sizeof(std::uint64_t), sizeof found.captured);
    std::memcpy(&found.published, stamp + 2 * sizeof(std::uint64_t), sizeof found.published);
    return found;
}

bool DirectSeat::show(const std::string& name, CameraInfo& camera) {
    Camera* const found = camera_named(name);
    if (found == nullptr) return false;
    if (!page_.is_ours())
        throw std::logic_error("get_camera(): a child of fork() has no part in the server's memory; connect there, too");
    camera.image.clear();
    camera.depth_data.clear();
    Camera& from = *found;
    const std::lock_guard lock(from.mutex);
    Pin* const pin = from.free_pin();
    if (pin == nullptr)
        throw LoanError("get_camera(): " + std::to_string(kGuestPins) + " images of camera '" + name +
                        "' are held already; destroy or refill one of them first");
    prefetch(from, *pin);
    const Taken taken(*pin, shared_from_this(), view_of(from));
    fill(from, taken.view, *pin, camera);
    return true;
}

DirectSeat::Coming DirectSeat::coming(std::string_view name) {
    Camera* const camera = camera_named(name);
    if (camera == nullptr || !page_.is_ours()) return {};
    const std::lock_guard lock(camera->mutex);
    Pin* const pin = camera->free_pin();
    if (pin == nullptr) return {};
    const Taken taken(*pin, shared_from_this(), view_of(*camera));
    const Sample image = sample(*camera, taken.view, Field::image);
    camera->pace.note(image.sequence, TimePoint(Duration(image.published)));
    return {image.sequence, camera->pace.due()};
}

void DirectSeat::fill(Camera& from, core::View view, Pin& pin, CameraInfo& to) {
    const net::DirectCamera& layout = from.layout;
    const Sample image = sample(from, view, Field::image), depth = sample(from, view, Field::depth);
    const Sample intrinsics = sample(from, view, Field::intrinsics), extrinsics = sample(from, view, Field::extrinsics);
    to.name = layout.name;
    load_row_major(intrinsics.data, to.intrinsics);
    load_row_major(extrinsics.data, to.extrinsics);
    to.sequence = image.sequence;
    to.timestamp = image.sequence > 0 ? seconds(image.captured) : 0.0;
    to.missed = from.last > 0 && image.sequence > from.last ? image.sequence - from.last - 1 : 0;
    from.last = std::max(from.last, image.sequence);
    from.pace.note(image.sequence, TimePoint(Duration(image.published)));
    to.status = judge(image.sequence, image.captured, image.published, layout);
    to.image_shape.assign({layout.height, layout.width, layout.channels});
    if (layout.two_dimensional) to.image_shape.pop_back();
    to.image_dtype = to_string(layout.image_dtype);
    to.image_unchanged = to.depth_unchanged = false;
    to.image_encoding = ImageEncoding::raw;
    to.image_order = ColourOrder::rgb;
    to.depth_encoding = DepthEncoding::raw;
    const auto bytes = [&](Field field) {
        return static_cast<std::size_t>(layout.place.buffers[static_cast<std::size_t>(field)].bytes);
    };
    to.has_depth = bytes(Field::depth) > 0;
    to.depth_sequence = to.has_depth ? depth.sequence : 0;
    to.depth_shape.clear();
    to.depth_dtype.clear();
    to.image.borrow(image.data, bytes(Field::image), pin);
    if (!to.has_depth) return;
    to.depth_shape.assign({layout.height, layout.width});
    to.depth_dtype = to_string(layout.depth_dtype);
    to.depth_unit = layout.depth_unit;
    to.depth_data.borrow(depth.data, bytes(Field::depth), pin);
}

}  // namespace chiral::client
