// SPDX-License-Identifier: Apache-2.0
// The writing side of the engine: updates, frame transactions, and what they report.
#include <chiral/engine.hpp>

#include "engine_state.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

namespace chiral {

using detail::EngineState;
using detail::kFields;

namespace {

std::int64_t nanoseconds(TimePoint time) noexcept {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

}  // namespace

std::string Status::message() const {
    const std::string quoted = std::string("'") + source_ + "'";
    switch (code_) {
        case Errc::ok: return "ok";
        case Errc::unknown_camera:
            return "camera index " + std::to_string(got_) + " does not exist: there are " + std::to_string(expected_) +
                   " cameras, numbered from 0";
        case Errc::unknown_proprio:
            return "proprio index " + std::to_string(got_) + " does not exist: there are " + std::to_string(expected_) +
                   " streams, numbered from 0";
        case Errc::wrong_size:
            if (std::strcmp(what_, "proprio") == 0)
                return "proprio " + quoted + ": got " + std::to_string(got_) + " values, expected " +
                       std::to_string(expected_);
            return "camera " + quoted + ": " + what_ + " has " + std::to_string(got_) + " bytes, expected " +
                   std::to_string(expected_);
        case Errc::no_depth: return "camera " + quoted + ": got a depth map, but it was declared with has_depth = false";
        case Errc::not_finite:
            return (std::strcmp(what_, "proprio") == 0 ? "proprio " + quoted + ": value "
                                                       : "camera " + quoted + ": " + what_ + " value ") +
                   std::to_string(got_) + " is NaN or infinite, expected finite numbers";
        case Errc::writer_busy:
            return std::string(std::strcmp(what_, "proprio") == 0 ? "proprio " : "camera ") + quoted + ": " + what_ +
                   " is being written by another thread; one thread at a time may write it (if that thread hangs or has "
                   "died, revoke it)";
        case Errc::revoked:
            return "camera " + quoted + ": a field of this frame was revoked while it was open; nothing was published";
        case Errc::no_spare_slot:
            return "camera " + quoted + ": the writer of its " + what_ +
                   " that was revoked before has not come back, so this one cannot be revoked as well";
        case Errc::nothing_filled:
            return "camera " + quoted + ": the frame was committed, but none of its fields had been asked for";
        case Errc::closed: return "the frame has been committed or abandoned already";
    }
    return "unknown error";
}

// ---- frame transaction ----

Frame::Frame(EngineState* engine, std::size_t camera, Status status) noexcept
    : engine_(engine), camera_(camera), status_(status) {
    if (status_.ok()) transaction_ = {engine->camera(camera), engine->options.readers};
}

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
    }
    return engine_->slot(camera_, f, transaction_.slot(f));
}

std::span<std::uint8_t> Frame::image() noexcept {
    void* slot = open(Field::image);
    if (!slot) return {};
    return {static_cast<std::uint8_t*>(slot), engine_->layout.cameras[camera_].bytes[static_cast<int>(Field::image)]};
}

std::span<float> Frame::depth() noexcept {
    void* slot = open(Field::depth);
    if (!slot) return {};
    return {static_cast<float*>(slot),
            engine_->layout.cameras[camera_].bytes[static_cast<int>(Field::depth)] / sizeof(float)};
}

namespace {

// Index of the first element in row-major order that is NaN or infinite, or -1.
template <class Matrix>
int first_not_finite(const Matrix& matrix) noexcept {
    for (int r = 0; r < matrix.rows(); ++r)
        for (int c = 0; c < matrix.cols(); ++c)
            if (!std::isfinite(matrix(r, c))) return static_cast<int>(r * matrix.cols() + c);
    return -1;
}

}  // namespace

Status Frame::set_intrinsics(const Eigen::Matrix3d& K) noexcept {
    const int bad = first_not_finite(K);
    if (bad >= 0 && status_.ok() && engine_ && camera_ < engine_->cameras.size())
        status_ = engine_->camera_error(Errc::not_finite, camera_, Field::intrinsics, static_cast<std::size_t>(bad), 0);
    if (bad < 0)
        if (void* slot = open(Field::intrinsics)) detail::store_row_major(K, slot);
    return status_;
}

Status Frame::set_extrinsics(const Eigen::Matrix4d& T) noexcept {
    const int bad = first_not_finite(T);
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
    return finish(now, now);
}

Status Frame::commit(TimePoint captured) noexcept { return finish(captured, engine_ ? engine_->now() : TimePoint{}); }

Status Frame::finish(TimePoint captured, TimePoint published) noexcept {
    if (!engine_) return {Errc::closed, "", "frame", 0, 0};
    if (!status_.ok()) {
        abandon();
        return status_;
    }
    Status done;
    for (int f = kFields - 1; f >= 0; --f)
        if (transaction_.is_open(f)) done.sequence_ = transaction_.sequence(f);
    const core::Commit outcome = transaction_.commit(nanoseconds(captured), nanoseconds(published));
    done.steps_ = transaction_.steps();
    const EngineState& engine = *std::exchange(engine_, nullptr);
    switch (outcome) {
        case core::Commit::published: return done;
        case core::Commit::nothing_open: return engine.camera_error(Errc::nothing_filled, camera_, Field::image, 0, 0);
        case core::Commit::revoked: break;
    }
    return status_ = engine.camera_error(Errc::revoked, camera_, Field::image, 0, 0);
}

// ---- updates ----

Engine::Engine(std::vector<CameraConfig> cameras, std::vector<ProprioConfig> proprios, EngineOptions options)
    : state_(std::make_unique<EngineState>(std::move(cameras), std::move(proprios), options)) {}

Engine::~Engine() = default;

Frame Engine::begin_frame(std::size_t camera) noexcept {
    return {state_.get(), camera, camera < state_->cameras.size() ? Status{} : state_->unknown_camera(camera)};
}

Status Engine::update_image(std::size_t camera, const std::uint8_t* data, std::size_t bytes) noexcept {
    return update_image(camera, data, bytes, state_->now());
}

Status Engine::update_image(std::size_t camera, const std::uint8_t* data, std::size_t bytes, TimePoint captured) noexcept {
    if (camera >= state_->cameras.size()) return state_->unknown_camera(camera);
    const std::size_t expected = state_->layout.cameras[camera].bytes[static_cast<int>(Field::image)];
    if (bytes != expected || !data)
        return state_->camera_error(Errc::wrong_size, camera, Field::image, data ? bytes : 0, expected);
    Frame frame = begin_frame(camera);
    if (void* slot = frame.open(Field::image)) std::memcpy(slot, data, bytes);
    return frame.commit(captured);
}

Status Engine::update_depth(std::size_t camera, const std::uint8_t* data, std::size_t bytes) noexcept {
    return update_depth(camera, data, bytes, state_->now());
}

Status Engine::update_depth(std::size_t camera, const std::uint8_t* data, std::size_t bytes, TimePoint captured) noexcept {
    if (camera >= state_->cameras.size()) return state_->unknown_camera(camera);
    const std::size_t expected = state_->layout.cameras[camera].bytes[static_cast<int>(Field::depth)];
    if (expected == 0) return state_->camera_error(Errc::no_depth, camera, Field::depth, bytes, 0);
    if (bytes != expected || !data)
        return state_->camera_error(Errc::wrong_size, camera, Field::depth, data ? bytes : 0, expected);
    Frame frame = begin_frame(camera);
    if (void* slot = frame.open(Field::depth)) std::memcpy(slot, data, bytes);
    return frame.commit(captured);
}

Status Engine::update_intrinsics(std::size_t camera, const Eigen::Matrix3d& K) noexcept {
    return update_intrinsics(camera, K, state_->now());
}

Status Engine::update_intrinsics(std::size_t camera, const Eigen::Matrix3d& K, TimePoint captured) noexcept {
    Frame frame = begin_frame(camera);
    frame.set_intrinsics(K);
    return frame.commit(captured);
}

Status Engine::update_extrinsics(std::size_t camera, const Eigen::Matrix4d& T) noexcept {
    return update_extrinsics(camera, T, state_->now());
}

Status Engine::update_extrinsics(std::size_t camera, const Eigen::Matrix4d& T, TimePoint captured) noexcept {
    Frame frame = begin_frame(camera);
    frame.set_extrinsics(T);
    return frame.commit(captured);
}

Status Engine::update_proprio(std::size_t proprio, const float* values, std::size_t count) noexcept {
    return update_proprio(proprio, values, count, state_->now());
}

Status Engine::update_proprio(std::size_t proprio, const float* values, std::size_t count, TimePoint captured) noexcept {
    if (proprio >= state_->proprios.size()) return state_->unknown_proprio(proprio);
    const ProprioConfig& config = state_->proprios[proprio];
    const auto size = static_cast<std::size_t>(config.size);
    if (count != size || !values) return {Errc::wrong_size, config.name.c_str(), "proprio", values ? count : 0, size};
    for (std::size_t i = 0; i < size; ++i)
        if (!std::isfinite(values[i])) return {Errc::not_finite, config.name.c_str(), "proprio", i, 0};

    const auto published = static_cast<std::uint64_t>(nanoseconds(state_->now()));
    // Straight from the caller's values: a sample can be larger than the stack of a sensor thread.
    const auto word = [&](std::size_t i) {
        if (i < 2) return i == 0 ? static_cast<std::uint64_t>(nanoseconds(captured)) : published;
        const std::size_t first = 2 * (i - 2);
        std::uint64_t two = 0;  // an odd count leaves half a word
        std::memcpy(&two, values + first, std::min<std::size_t>(2, size - first) * sizeof(float));
        return two;
    };
    core::SampleRing<detail::Policy> ring = state_->ring(proprio);
    if (!ring.claim()) return {Errc::writer_busy, config.name.c_str(), "proprio", 0, 0};
    Status done;
    done.sequence_ = ring.push(word);
    ring.drop_claim();
    done.steps_ = static_cast<std::uint32_t>(ring.words()) + 6;
    return done;
}

Status Engine::revoke_writer(std::size_t camera, Field field, WriterFate fate) noexcept {
    if (camera >= state_->cameras.size()) return state_->unknown_camera(camera);
    switch (state_->revoke(camera, static_cast<int>(field), fate)) {
        case core::Revocation::done:
        case core::Revocation::nobody: break;
        case core::Revocation::publishing: return state_->camera_error(Errc::writer_busy, camera, field, 0, 0);
        case core::Revocation::no_spare: return state_->camera_error(Errc::no_spare_slot, camera, field, 0, 0);
    }
    return {};
}

Status Engine::revoke_camera_writer(std::size_t camera) noexcept {
    Status first_error;
    for (int f = 0; f < kFields; ++f) {
        const Status status = revoke_writer(camera, static_cast<Field>(f));
        if (first_error.ok()) first_error = status;
    }
    return first_error;
}

Status Engine::revoke_proprio_writer(std::size_t proprio) noexcept {
    if (proprio >= state_->proprios.size()) return state_->unknown_proprio(proprio);
    state_->ring(proprio).drop_claim();
    return {};
}

std::uint32_t Engine::writer_step_bound() const noexcept {
    using Transaction = core::Transaction<detail::Policy>;
    std::uint32_t bound = kFields * Transaction::steps_per_field(state_->options.readers) + Transaction::kCommitSteps;
    for (const detail::ProprioLayout& p : state_->layout.proprios)
        bound = std::max(bound, static_cast<std::uint32_t>(p.words) + 6);
    return bound;
}

const std::vector<CameraConfig>& Engine::cameras() const noexcept { return state_->cameras; }
const std::vector<ProprioConfig>& Engine::proprios() const noexcept { return state_->proprios; }
const EngineOptions& Engine::options() const noexcept { return state_->options; }
const ArenaReport& Engine::arena() const noexcept { return state_->arena.report(); }

}  // namespace chiral
