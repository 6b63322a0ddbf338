// SPDX-License-Identifier: Apache-2.0
#include <chiral/engine.hpp>
#include <chiral/frame.hpp>

#include "engine_state.hpp"

#include <utility>

namespace chiral {

using detail::EngineState;
using detail::kFields;
using detail::kImage;

// Each member is made where it is to be. Assigned from a temporary, the processor would wait for every one of the narrow stores
// that its wide loads overlap: a fifth of a commit.
Frame::Frame(EngineState& engine, std::size_t camera) noexcept
    : engine_(&engine),
      camera_(camera),
      status_(camera < engine.cameras.size() ? Status{} : engine.unknown_camera(camera)),
      transaction_(status_.ok() ? Transaction(engine.camera(camera), engine.readers(camera), engine.guests(camera))
                                : Transaction()) {}

Frame Engine::begin_frame(std::size_t camera) noexcept { return {*state_, camera}; }

Frame::Frame(Frame&& other) noexcept
    : engine_(std::exchange(other.engine_, nullptr)),
      camera_(other.camera_),
      status_(other.status_),
      transaction_(std::move(other.transaction_)) {}

Frame& Frame::operator=(Frame&& other) noexcept {
    if (this != &other) {
        abandon();
        engine_ = std::exchange(other.engine_, nullptr);
        camera_ = other.camera_;
        status_ = other.status_;
        transaction_ = std::move(other.transaction_);
    }
    return *this;
}

Frame::~Frame() { abandon(); }

void* Frame::open(Field field) noexcept {
    const int f = static_cast<int>(field);
    if (!engine_) {
        if (status_.ok()) status_ = {Errc::closed, "", to_string(field), 0, 0};
        return nullptr;
    }
    if (camera_ >= engine_->cameras.size()) return nullptr;  // status_ has said so since begin_frame()
    if (!transaction_.is_open(f)) {
        if (engine_->layout.cameras[camera_].bytes[f] == 0) {
            if (status_.ok()) status_ = engine_->camera_error(Errc::no_depth, camera_, field, 0, 0);
            return nullptr;
        }
        if (!transaction_.open(f)) {
            if (status_.ok()) status_ = engine_->camera_error(Errc::writer_busy, camera_, field, 0, 0);
            return nullptr;
        }
        // What was filled in there last is of no length any more.
        if (f == kImage && engine_->layout.cameras[camera_].encoded)
            detail::set_encoded_size(engine_->slot(camera_, f, transaction_.slot(f)), bytes_of(field), 0);
    }
    return engine_->slot(camera_, f, transaction_.slot(f));
}

void* Frame::open_elements(Field field, unsigned types, const char* asked) noexcept {
    if (engine_ && camera_ < engine_->cameras.size()) {
        const CameraConfig& config = engine_->cameras[camera_];
        const bool image = field == Field::image;
        const DType declared = image ? config.image_dtype : config.depth_dtype;
        if (image && engine_->layout.cameras[camera_].encoded) {
            if (status_.ok())
                status_ = engine_->camera_error(Errc::wrong_format, camera_, field, 0, 0, "is encoded and has no elements");
            return nullptr;
        }
        if (!has_type(types, declared) && (image || config.has_depth)) {
            if (status_.ok())
                status_ =
                    engine_->camera_error(Errc::wrong_type, camera_, field, 0, static_cast<std::size_t>(declared), asked);
            return nullptr;
        }
    }
    return open(field);
}

std::size_t Frame::bytes_of(Field field) const noexcept {
    return engine_->layout.cameras[camera_].bytes[static_cast<int>(field)];
}

std::span<std::uint8_t> Frame::image() noexcept {
    void* slot = open(Field::image);
    if (!slot) return {};
    return {static_cast<std::uint8_t*>(slot), bytes_of(Field::image)};
}

std::span<std::uint8_t> Frame::depth_bytes() noexcept {
    void* slot = open(Field::depth);
    if (!slot) return {};
    return {static_cast<std::uint8_t*>(slot), bytes_of(Field::depth)};
}

Status Frame::set_encoded_size(std::size_t bytes) noexcept {
    void* slot = open(Field::image);
    if (!slot) return status_;
    const std::size_t most = bytes_of(Field::image);
    const bool encoded = engine_->layout.cameras[camera_].encoded;
    if (!encoded || bytes < 1 || bytes > most) {
        if (status_.ok())
            status_ = engine_->camera_error(Errc::wrong_size, camera_, Field::image, bytes, most, encoded ? "1 to " : "");
        return status_;
    }
    detail::set_encoded_size(static_cast<std::byte*>(slot), most, bytes);
    return status_;
}

Status Frame::set_intrinsics(const Eigen::Matrix3d& K) noexcept {
    const int bad = detail::first_not_finite(K);
    if (bad >= 0 && status_.ok() && engine_ && camera_ < engine_->cameras.size())
        status_ = engine_->camera_error(Errc::not_finite, camera_, Field::intrinsics, static_cast<std::size_t>(bad), 0);
    if (bad < 0)
        if (void* slot = open(Field::intrinsics)) detail::store_row_major(K, slot);
    return status_;
}

Status Frame::set_extrinsics(const Eigen::Matrix4d& T) noexcept {
    const int bad = detail::first_not_finite(T);
    if (bad >= 0 && status_.ok() && engine_ && camera_ < engine_->cameras.size())
        status_ = engine_->camera_error(Errc::not_finite, camera_, Field::extrinsics, static_cast<std::size_t>(bad), 0);
    if (bad < 0)
        if (void* slot = open(Field::extrinsics)) detail::store_row_major(T, slot);
    return status_;
}

void Frame::discard(Field field) noexcept { transaction_.discard(static_cast<int>(field)); }

void Frame::abandon() noexcept {
    transaction_.abandon();
    engine_ = nullptr;
}

Status Frame::commit() noexcept {
    const TimePoint now = engine_ ? engine_->now() : TimePoint{};
    return commit(now, now);
}

Status Frame::commit(TimePoint captured) noexcept { return commit(captured, engine_ ? engine_->now() : TimePoint{}); }

Status Frame::commit(TimePoint captured, TimePoint published) noexcept {
    if (!engine_) return {Errc::closed, "", "frame", 0, 0};
    if (!status_.ok()) {
        abandon();
        return status_;
    }
    if (transaction_.is_open(kImage) && engine_->layout.cameras[camera_].encoded &&
        detail::encoded_size(engine_->slot(camera_, kImage, transaction_.slot(kImage)), bytes_of(Field::image)) == 0) {
        status_ = engine_->camera_error(Errc::wrong_size, camera_, Field::image, 0, bytes_of(Field::image), "1 to ");
        abandon();
        return status_;
    }
    std::uint64_t sequence = 0;
    for (int f = kFields - 1; f >= 0; --f)
        if (transaction_.is_open(f)) sequence = transaction_.sequence(f);
    const EngineState& engine = *std::exchange(engine_, nullptr);
    switch (transaction_.commit(detail::nanoseconds(captured), detail::nanoseconds(published), engine.bell())) {
        case core::Commit::published: return {sequence, transaction_.steps()};
        case core::Commit::nothing_open: return engine.camera_error(Errc::nothing_filled, camera_, Field::image, 0, 0);
        case core::Commit::revoked: break;
    }
    return status_ = engine.camera_error(Errc::revoked, camera_, Field::image, 0, 0);
}

}  // namespace chiral
