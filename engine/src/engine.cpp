// SPDX-License-Identifier: Apache-2.0
// The writing side of the engine: updates and revocations.
#include <chiral/engine.hpp>

#include "engine_state.hpp"
#include "image_rows.hpp"
#include "streamed_copy.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace chiral {

using detail::EngineState;
using detail::kFields;
using detail::kImage;
using detail::nanoseconds;

namespace {

// Claim, own head, two guards, head, end of the claim; the words and the two bells come on top.
constexpr std::uint32_t kRingSteps = 6;

/// One field of a camera, or a slot, in one go: what a frame of one field does, with less around it. `published`: now, where it
/// is not given.
struct OneField {
    using Transaction = core::Transaction<detail::Policy>;
    const EngineState& engine;
    std::size_t source;
    int field;
    const char* name;
    const char* what;
    TimePoint captured;
    std::optional<TimePoint> published;

    /// `fill` is handed the transaction, in which the field is open, and the slot.
    template <class Fill>
    Status publish(Fill fill) const noexcept {
        Transaction transaction(engine.camera(source), engine.readers(source), engine.guests(source));
        if (!transaction.open(field)) {
            transaction.abandon();
            return {Errc::writer_busy, name, what, 0, 0};
        }
        fill(transaction, engine.slot(source, field, transaction.slot(field)));
        const std::uint64_t sequence = transaction.sequence(field);
        const std::int64_t now = nanoseconds(published ? *published : engine.now());
        if (transaction.commit(nanoseconds(captured), now, engine.bell()) == core::Commit::revoked)
            return {Errc::revoked, name, what, 0, 0};
        return {sequence, transaction.steps()};
    }

    /// For `fill`.
    void copy(Transaction& open, std::byte* slot, const void* from, std::size_t bytes) const noexcept {
        const bool large = bytes >= detail::kLeastStreamed;
        if (large && open.was_looked_at(field))
            engine.copy_choice(source, field).copy(slot, from, bytes, [this] { return engine.now(); });
        else std::memcpy(slot, from, bytes);
        if (large) open.collect_looks(field);
    }
};

OneField one_field(const EngineState& engine, std::size_t camera, Field field, TimePoint captured,
                   std::optional<TimePoint> published) noexcept {
    return {engine,   camera,   static_cast<int>(field), engine.cameras[camera].name.c_str(), to_string(field),
            captured, published};
}

Status copy_field(const EngineState& engine, std::size_t camera, Field field, std::span<const std::uint8_t> from,
                  TimePoint captured, std::optional<TimePoint> published) noexcept {
    if (camera >= engine.cameras.size()) return engine.unknown_camera(camera);
    const detail::CameraLayout& layout = engine.layout.cameras[camera];
    const std::size_t expected = layout.bytes[static_cast<int>(field)];
    const bool encoded = field == Field::image && layout.encoded;
    const std::size_t bytes = from.data() ? from.size() : 0;
    if (expected == 0) return engine.camera_error(Errc::no_depth, camera, field, bytes, 0);
    if (encoded ? bytes < 1 || bytes > expected : bytes != expected)
        return engine.camera_error(Errc::wrong_size, camera, field, bytes, expected, encoded ? "1 to " : "");
    const OneField update = one_field(engine, camera, field, captured, published);
    return update.publish([&](OneField::Transaction& open, std::byte* slot) {
        update.copy(open, slot, from.data(), bytes);
        if (encoded) detail::set_encoded_size(slot, expected, bytes);
    });
}

// An image row by row.
Status convert_image(const EngineState& engine, std::size_t camera, const ImageView& image, TimePoint captured,
                     std::optional<TimePoint> published) noexcept {
    if (camera >= engine.cameras.size()) return engine.unknown_camera(camera);
    const detail::RowProblem problem = detail::problem_of(image, engine.cameras[camera]);
    if (problem.text) return engine.camera_error(Errc::wrong_format, camera, Field::image, problem.got, 0, problem.text);
    return one_field(engine, camera, Field::image, captured, published).publish([&](auto&, std::byte* slot) {
        detail::convert_rows(image, engine.cameras[camera], reinterpret_cast<std::uint8_t*>(slot));
    });
}

template <class Matrix>
Status copy_matrix(const EngineState& engine, std::size_t camera, Field field, const Matrix& matrix, TimePoint captured,
                   std::optional<TimePoint> published) noexcept {
    if (camera >= engine.cameras.size()) return engine.unknown_camera(camera);
    const int bad = detail::first_not_finite(matrix);
    if (bad >= 0) return engine.camera_error(Errc::not_finite, camera, field, static_cast<std::size_t>(bad), 0);
    return one_field(engine, camera, field, captured, published).publish([&](auto&, std::byte* slot) {
        detail::store_row_major(matrix, slot);
    });
}

Status copy_slot(const EngineState& engine, std::size_t slot, const void* value, std::size_t bytes, TimePoint captured,
                 std::optional<TimePoint> published) noexcept {
    if (slot >= engine.options.slots.size()) return engine.unknown_slot(slot);
    const SlotConfig& config = engine.options.slots[slot];
    const char* const name = config.name.c_str();
    if (bytes != config.bytes || !value) return {Errc::wrong_size, name, "slot", value ? bytes : 0, config.bytes};
    const OneField update{engine, engine.source_of_slot(slot), kImage, name, "slot", captured, published};
    return update.publish([&](OneField::Transaction& open, std::byte* to) { update.copy(open, to, value, bytes); });
}

}  // namespace

Engine::Engine(std::vector<CameraConfig> cameras, std::vector<ProprioConfig> proprios, EngineOptions options)
    : state_(std::make_unique<EngineState>(std::move(cameras), std::move(proprios), std::move(options))) {}

Engine::~Engine() = default;

TimePoint Engine::now() const noexcept { return state_->now(); }

Status Engine::update_image(std::size_t camera, const std::uint8_t* data, std::size_t bytes) noexcept {
    const TimePoint now = state_->now();
    return copy_field(*state_, camera, Field::image, {data, bytes}, now, now);
}

Status Engine::update_image(std::size_t camera, const std::uint8_t* data, std::size_t bytes, TimePoint captured) noexcept {
    return copy_field(*state_, camera, Field::image, {data, bytes}, captured, std::nullopt);
}

Status Engine::update_depth(std::size_t camera, const std::uint8_t* data, std::size_t bytes) noexcept {
    const TimePoint now = state_->now();
    return copy_field(*state_, camera, Field::depth, {data, bytes}, now, now);
}

Status Engine::update_depth(std::size_t camera, const std::uint8_t* data, std::size_t bytes, TimePoint captured) noexcept {
    return copy_field(*state_, camera, Field::depth, {data, bytes}, captured, std::nullopt);
}

Status Engine::update_image(std::size_t camera, const ImageView& image) noexcept {
    const TimePoint now = state_->now();
    return convert_image(*state_, camera, image, now, now);
}

Status Engine::update_image(std::size_t camera, const ImageView& image, TimePoint captured) noexcept {
    return convert_image(*state_, camera, image, captured, std::nullopt);
}

Status Engine::update_intrinsics(std::size_t camera, const Eigen::Matrix3d& K) noexcept {
    const TimePoint now = state_->now();
    return copy_matrix(*state_, camera, Field::intrinsics, K, now, now);
}

Status Engine::update_intrinsics(std::size_t camera, const Eigen::Matrix3d& K, TimePoint captured) noexcept {
    return copy_matrix(*state_, camera, Field::intrinsics, K, captured, std::nullopt);
}

Status Engine::update_extrinsics(std::size_t camera, const Eigen::Matrix4d& T) noexcept {
    const TimePoint now = state_->now();
    return copy_matrix(*state_, camera, Field::extrinsics, T, now, now);
}

Status Engine::update_extrinsics(std::size_t camera, const Eigen::Matrix4d& T, TimePoint captured) noexcept {
    return copy_matrix(*state_, camera, Field::extrinsics, T, captured, std::nullopt);
}

Status Engine::update_proprio(std::size_t proprio, const float* values, std::size_t count) noexcept {
    return append_proprio(proprio, values, count, types_read_as<float>(), element_name<float>(), std::nullopt);
}

Status Engine::update_proprio(std::size_t proprio, const float* values, std::size_t count, TimePoint captured) noexcept {
    return append_proprio(proprio, values, count, types_read_as<float>(), element_name<float>(), captured);
}

Status Engine::update_proprio_bytes(std::size_t proprio, std::span<const std::byte> values,
                                    std::optional<TimePoint> captured) noexcept {
    if (proprio >= state_->proprios.size()) return state_->unknown_proprio(proprio);
    const ProprioConfig& config = state_->proprios[proprio];
    const std::size_t expected = static_cast<std::size_t>(config.size) * size_of(config.dtype);
    if (values.size() != expected || reinterpret_cast<std::uintptr_t>(values.data()) % size_of(config.dtype) != 0)
        return {Errc::wrong_size, config.name.c_str(), "sample", values.size(), expected, "aligned elements in "};
    constexpr unsigned any = ~0u;
    return append_proprio(proprio, values.data(), static_cast<std::size_t>(config.size), any, "", captured);
}

Status Engine::append_proprio(std::size_t proprio, const void* values, std::size_t count, unsigned types, const char* given,
                              std::optional<TimePoint> captured) noexcept {
    if (proprio >= state_->proprios.size()) return state_->unknown_proprio(proprio);
    const ProprioConfig& config = state_->proprios[proprio];
    const char* const name = config.name.c_str();
    const auto size = static_cast<std::size_t>(config.size);
    if (!has_type(types, config.dtype))
        return {Errc::wrong_type, name, "proprio", 0, static_cast<std::uint64_t>(config.dtype), given};
    if (count != size || !values) return {Errc::wrong_size, name, "proprio", values ? count : 0, size};
    const std::size_t bad = detail::first_not_finite(config.dtype, values, size);
    if (bad < size) return {Errc::not_finite, name, "proprio", bad, 0};

    const auto published = static_cast<std::uint64_t>(nanoseconds(state_->now()));
    const std::uint64_t times[2] = {captured ? static_cast<std::uint64_t>(nanoseconds(*captured)) : published, published};
    // Straight from the caller's values: a sample can be larger than the stack of a sensor thread.
    const std::size_t bytes = size * size_of(config.dtype);
    const auto word = [&](std::size_t i) {
        if (i < 2) return times[i];
        const std::size_t first = sizeof(std::uint64_t) * (i - 2);
        std::uint64_t piece = 0;  // the last one may be cut
        std::memcpy(&piece, static_cast<const std::byte*>(values) + first, std::min(sizeof piece, bytes - first));
        return piece;
    };
    core::SampleRing<detail::Policy> ring = state_->ring(proprio);
    if (!ring.claim()) return {Errc::writer_busy, name, "proprio", 0, 0};
    const std::uint64_t sequence = ring.push(word);
    const std::uint32_t rung = state_->proprio_bell(proprio).ring() + state_->bell().ring();
    ring.drop_claim();  // last, as in Transaction::commit()
    return {sequence, static_cast<std::uint32_t>(ring.words()) + kRingSteps + rung};
}

Status Engine::update_slot(std::size_t slot, const void* value, std::size_t bytes) noexcept {
    const TimePoint now = state_->now();
    return copy_slot(*state_, slot, value, bytes, now, now);
}

Status Engine::update_slot(std::size_t slot, const void* value, std::size_t bytes, TimePoint captured) noexcept {
    return copy_slot(*state_, slot, value, bytes, captured, std::nullopt);
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

Status Engine::revoke_slot_writer(std::size_t slot, WriterFate fate) noexcept {
    if (slot >= state_->options.slots.size()) return state_->unknown_slot(slot);
    const char* const name = state_->options.slots[slot].name.c_str();
    switch (state_->revoke(state_->source_of_slot(slot), kImage, fate)) {
        case core::Revocation::done:
        case core::Revocation::nobody: break;
        case core::Revocation::publishing: return {Errc::writer_busy, name, "slot", 0, 0};
        case core::Revocation::no_spare: return {Errc::no_spare_slot, name, "slot", 0, 0};
    }
    return {};
}

Status Engine::revoke_proprio_writer(std::size_t proprio) noexcept {
    if (proprio >= state_->proprios.size()) return state_->unknown_proprio(proprio);
    state_->ring(proprio).drop_claim();
    return {};
}

std::uint32_t Engine::writer_step_bound() const noexcept {
    using Transaction = core::Transaction<detail::Policy>;
    const std::uint32_t per_field = Transaction::steps_per_field(state_->options.readers) +
                                    core::GuestHazards<detail::Policy>::steps_for(state_->options.guests, kGuestPins);
    std::uint32_t bound = kFields * per_field + Transaction::kCommitSteps;
    for (const detail::ProprioLayout& p : state_->layout.proprios)
        bound =
            std::max(bound, static_cast<std::uint32_t>(p.words) + kRingSteps + 2 * core::Bell<detail::Policy>::kRingSteps);
    return bound;
}

// ---- readers in other processes ----

std::size_t Engine::guest_page_bytes() const noexcept { return detail::guest_page_bytes(state_->cameras.size()); }

Duration Engine::stale_after(std::size_t camera) const {
    if (camera >= state_->cameras.size()) throw std::out_of_range(state_->unknown_camera(camera).message());
    return state_->camera_limits(camera).stale_after;
}

GuestCamera Engine::guest_camera(std::size_t camera) const {
    if (camera >= state_->cameras.size()) throw std::out_of_range(state_->unknown_camera(camera).message());
    const auto offset = [&](const void* word) {
        return static_cast<std::uint64_t>(static_cast<const std::byte*>(word) - state_->arena.base());
    };
    const detail::CameraLayout& layout = state_->layout.cameras[camera];
    const detail::CameraBlock& block = state_->camera(camera);
    GuestCamera found;
    found.view = offset(block.sync.view_word().address());
    found.hazards = detail::guest_line(camera);
    static_assert(sizeof(detail::SlotStamp) == kStampStride);
    for (std::size_t f = 0; f < found.buffers.size(); ++f)
        found.buffers[f] = {layout.slots[f], layout.stride[f], layout.count(static_cast<int>(f)),
                            layout.spare[f], layout.bytes[f],  offset(block.stamps[f].data())};
    return found;
}

std::uint64_t Engine::admit_guest(int seat) noexcept { return state_->guest_seats.admit(seat); }
void Engine::retire_guest(int seat) noexcept { state_->guest_seats.retire(seat); }

const std::vector<CameraConfig>& Engine::cameras() const noexcept { return state_->cameras; }
const std::vector<ProprioConfig>& Engine::proprios() const noexcept { return state_->proprios; }
const std::vector<SlotConfig>& Engine::slots() const noexcept { return state_->options.slots; }
const EngineOptions& Engine::options() const noexcept { return state_->options; }
const ArenaReport& Engine::arena() const noexcept { return state_->arena.report(); }
bool Engine::holds(const void* byte) const noexcept { return state_->arena.holds(byte); }

}  // namespace chiral
