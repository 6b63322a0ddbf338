// SPDX-License-Identifier: Apache-2.0
// The reading side of the engine: snapshots and their views, proprio history, waiting.
#include <chiral/engine.hpp>

#include "engine_state.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace chiral {
namespace detail {
namespace {

constexpr int kImage = static_cast<int>(Field::image);

TimePoint time_point(std::int64_t nanoseconds) noexcept {
    return TimePoint(std::chrono::duration_cast<Clock::duration>(std::chrono::nanoseconds(nanoseconds)));
}

Stamp stamp_of(const SlotStamp& slot) noexcept {
    return {slot.sequence(), time_point(slot.captured), time_point(slot.published)};
}

Stamp stamp_of(std::uint64_t sequence, const std::uint64_t* sample) noexcept {
    return {sequence, time_point(static_cast<std::int64_t>(sample[0])), time_point(static_cast<std::int64_t>(sample[1]))};
}

}  // namespace

ProprioSample EngineState::read_latest(std::size_t proprio, std::span<float> out) const noexcept {
    const core::SampleRing<Policy> samples = ring(proprio);
    ProprioSample result{ProprioRead::overrun, {}, 0};
    std::uint64_t sample[kMaxSampleWords];
    for (int attempt = 0; attempt < kRingAttempts; ++attempt) {
        const std::uint64_t newest = samples.newest();
        ++result.steps;
        if (newest == 0) {
            std::fill(out.begin(), out.end(), 0.f);
            result.how = ProprioRead::empty;
            return result;
        }
        result.steps += static_cast<std::uint32_t>(samples.words()) + 2;
        if (!samples.read(newest, sample, samples.words())) continue;
        std::memcpy(out.data(), sample + 2, out.size_bytes());
        result.how = ProprioRead::latest;
        result.stamp = stamp_of(newest, sample);
        return result;
    }
    return result;
}

ProprioSample EngineState::read_at(std::size_t proprio, TimePoint time, std::span<float> out) const noexcept {
    const core::SampleRing<Policy> samples = ring(proprio);
    ProprioSample result{ProprioRead::overrun, {}, 0};
    std::uint64_t later[kMaxSampleWords];
    std::uint64_t earlier[kMaxSampleWords];
    const auto steps_per_copy = static_cast<std::uint32_t>(samples.words()) + 2;
    const auto give = [&](ProprioRead how, std::uint64_t sequence, const std::uint64_t* sample) {
        std::memcpy(out.data(), sample + 2, out.size_bytes());
        result.how = how;
        result.stamp = stamp_of(sequence, sample);
        return result;
    };
    for (int attempt = 0; attempt < kRingAttempts; ++attempt) {
        const std::uint64_t newest = samples.newest();
        ++result.steps;
        if (newest == 0) {
            std::fill(out.begin(), out.end(), 0.f);
            result.how = ProprioRead::empty;
            return result;
        }
        result.steps += steps_per_copy;
        if (!samples.read(newest, later, samples.words())) continue;
        const TimePoint newest_time = time_point(static_cast<std::int64_t>(later[0]));
        if (time == newest_time) return give(ProprioRead::latest, newest, later);
        if (time > newest_time) return give(ProprioRead::after_newest, newest, later);

        // Walk back, looking at capture times only, to the first sample that is not later than `time`.
        std::uint64_t sequence = newest - 1;
        const std::uint64_t oldest = samples.oldest(newest);
        bool found = false;
        for (; sequence >= oldest; --sequence) {
            std::uint64_t captured = 0;
            result.steps += 3;
            if (!samples.read(sequence, &captured, 1)) break;  // the writer has just taken it: the one after is the oldest
            if (time_point(static_cast<std::int64_t>(captured)) <= time) {
                found = true;
                break;
            }
        }
        result.steps += steps_per_copy;
        if (sequence + 1 != newest && !samples.read(sequence + 1, later, samples.words())) continue;
        if (!found) return give(ProprioRead::before_oldest, sequence + 1, later);
        result.steps += steps_per_copy;
        if (!samples.read(sequence, earlier, samples.words())) continue;

        const auto t0 = static_cast<std::int64_t>(earlier[0]);
        const auto t1 = static_cast<std::int64_t>(later[0]);
        const std::int64_t t = std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
        const double weight = t1 > t0 ? static_cast<double>(t - t0) / static_cast<double>(t1 - t0) : 0.0;
        for (std::size_t i = 0; i < out.size(); ++i) {
            float a, b;
            std::memcpy(&a, reinterpret_cast<const char*>(earlier + 2) + i * sizeof a, sizeof a);
            std::memcpy(&b, reinterpret_cast<const char*>(later + 2) + i * sizeof b, sizeof b);
            out[i] = static_cast<float>(a + (static_cast<double>(b) - a) * weight);
        }
        result.how = ProprioRead::interpolated;
        result.stamp = stamp_of(sequence + 1, later);
        result.stamp.captured = time;
        return result;
    }
    return result;
}

ReaderState::ReaderState(EngineState& owner, int taken_seat)
    : engine(&owner), seat(taken_seat), cameras(owner.cameras.size()), proprios(owner.proprios.size()) {
    for (std::size_t i = 0; i < proprios.size(); ++i)
        proprios[i].values.resize(static_cast<std::size_t>(owner.proprios[i].size));
}

ReaderState::~ReaderState() {
    unpin();
    engine->seats().drop(seat);
}

bool ReaderState::intact() const noexcept {
    for (std::size_t i = 0; i < cameras.size(); ++i)
        for (int f = 0; f < kFields; ++f) {
            const std::uint64_t guard = stamp(i, f).guard.load(core::Site::guard_load, std::memory_order_relaxed);
            if (engine->options.verify_pins ? guard != cameras[i].guards[f] : guard % 2 != 0) return false;
        }
    return true;
}

void ReaderState::unpin() noexcept {
    if (!live) return;
    assert(intact() && "a pinned slot was written to");
    for (std::size_t i = 0; i < cameras.size(); ++i) engine->camera(i).sync.unpin(seat);
    live = false;
}

}  // namespace detail

using detail::CameraPin;
using detail::EngineState;
using detail::kFields;
using detail::kImage;
using detail::ProprioCopy;
using detail::ReaderState;

// ---- reader and snapshot ----

Reader::Reader(std::unique_ptr<ReaderState> state) noexcept : state_(std::move(state)) {}
Reader::Reader(Reader&&) noexcept = default;
Reader& Reader::operator=(Reader&&) noexcept = default;
Reader::~Reader() = default;
int Reader::index() const noexcept { return state_->seat; }

Snapshot Reader::snapshot(std::optional<TimePoint> reference) {
    ReaderState& reader = *state_;
    if (reader.live)
        throw std::logic_error(
            "chiral::Reader::snapshot: the previous snapshot of this reader is still alive; release it, "
            "or configure another reader");
    EngineState& engine = *reader.engine;
    reader.live = true;
    reader.steps = 0;
    for (std::size_t i = 0; i < reader.cameras.size(); ++i) {
        CameraPin& pin = reader.cameras[i];
        pin.view = engine.camera(i).sync.pin(reader.seat);
        reader.steps += core::CameraSync<detail::Policy>::kPinSteps;
        const std::uint64_t sequence = reader.stamp(i, kImage).sequence();
        pin.missed = reader.had_snapshot && sequence > pin.last_sequence ? sequence - pin.last_sequence - 1 : 0;
        pin.last_sequence = sequence;
        if (engine.options.verify_pins)
            for (int f = 0; f < kFields; ++f)
                pin.guards[f] = reader.stamp(i, f).guard.load(core::Site::guard_load, std::memory_order_relaxed);
    }
    reader.time = engine.now();
    reader.reference = reference.value_or(reader.time);
    for (std::size_t i = 0; i < reader.proprios.size(); ++i) {
        ProprioCopy& copy = reader.proprios[i];
        const detail::ProprioSample sample =
            reference ? engine.read_at(i, *reference, copy.values) : engine.read_latest(i, copy.values);
        reader.steps += sample.steps;
        if (sample.how == ProprioRead::overrun) {
            copy.sample.how = ProprioRead::overrun;  // values and stamp stay those of the last snapshot
            continue;
        }
        copy.sample = sample;
        const std::uint64_t sequence = sample.stamp.sequence;
        copy.missed = reader.had_snapshot && sequence > copy.last_sequence ? sequence - copy.last_sequence - 1 : 0;
        copy.last_sequence = std::max(copy.last_sequence, sequence);
    }
    reader.had_snapshot = true;
    return Snapshot(&reader);
}

Snapshot& Snapshot::operator=(Snapshot&& other) noexcept {
    if (this != &other) {
        release();
        reader_ = std::exchange(other.reader_, nullptr);
    }
    return *this;
}

void Snapshot::release() noexcept {
    if (reader_) std::exchange(reader_, nullptr)->unpin();
}

std::size_t Snapshot::cameras() const noexcept { return reader_->cameras.size(); }
std::size_t Snapshot::proprios() const noexcept { return reader_->proprios.size(); }
TimePoint Snapshot::time() const noexcept { return reader_->time; }
TimePoint Snapshot::reference() const noexcept { return reader_->reference; }
std::uint32_t Snapshot::steps() const noexcept { return reader_->steps; }
bool Snapshot::intact() const noexcept { return reader_->intact(); }

// ---- camera view ----

std::span<const std::uint8_t> CameraView::image() const noexcept {
    const EngineState& engine = *reader_->engine;
    return {reinterpret_cast<const std::uint8_t*>(engine.slot(index_, kImage, reader_->cameras[index_].view.slot(kImage))),
            engine.layout.cameras[index_].bytes[kImage]};
}

std::span<const float> CameraView::depth() const noexcept {
    const EngineState& engine = *reader_->engine;
    constexpr int f = static_cast<int>(Field::depth);
    return {reinterpret_cast<const float*>(engine.slot(index_, f, reader_->cameras[index_].view.slot(f))),
            engine.layout.cameras[index_].bytes[f] / sizeof(float)};
}

std::span<const double, 9> CameraView::intrinsics() const noexcept {
    constexpr int f = static_cast<int>(Field::intrinsics);
    return std::span<const double, 9>(
        reinterpret_cast<const double*>(reader_->engine->slot(index_, f, reader_->cameras[index_].view.slot(f))), 9);
}

std::span<const double, 16> CameraView::extrinsics() const noexcept {
    constexpr int f = static_cast<int>(Field::extrinsics);
    return std::span<const double, 16>(
        reinterpret_cast<const double*>(reader_->engine->slot(index_, f, reader_->cameras[index_].view.slot(f))), 16);
}

Stamp CameraView::stamp(Field field) const noexcept {
    return detail::stamp_of(reader_->stamp(index_, static_cast<int>(field)));
}

std::uint64_t CameraView::version() const noexcept { return reader_->cameras[index_].view.version(); }
Duration CameraView::age() const noexcept { return reader_->time - captured(); }
std::uint64_t CameraView::missed() const noexcept { return reader_->cameras[index_].missed; }
Duration CameraView::skew() const noexcept { return captured() - reader_->reference; }
const CameraConfig& CameraView::config() const noexcept { return reader_->engine->cameras[index_]; }

SourceStatus CameraView::status() const noexcept {
    const EngineOptions& options = reader_->engine->options;
    return reader_->cameras[index_].freshness.judge(stamp(Field::image), age(), image(), options.camera_stale_after,
                                                    options.camera_frozen_after);
}

// ---- proprio view ----

std::span<const float> ProprioView::values() const noexcept { return reader_->proprios[index_].values; }
ProprioRead ProprioView::how() const noexcept { return reader_->proprios[index_].sample.how; }
const Stamp& ProprioView::stamp() const noexcept { return reader_->proprios[index_].sample.stamp; }
Duration ProprioView::age() const noexcept { return reader_->time - captured(); }
std::uint64_t ProprioView::missed() const noexcept { return reader_->proprios[index_].missed; }
const ProprioConfig& ProprioView::config() const noexcept { return reader_->engine->proprios[index_]; }

SourceStatus ProprioView::status() const noexcept {
    const EngineOptions& options = reader_->engine->options;
    ProprioCopy& copy = reader_->proprios[index_];
    const std::span<const float> values = copy.values;
    return copy.freshness.judge(copy.sample.stamp, age(),
                                {reinterpret_cast<const std::uint8_t*>(values.data()), values.size_bytes()},
                                options.proprio_stale_after, options.proprio_frozen_after);
}

// ---- reading without a reader, and waiting ----

Reader Engine::make_reader() {
    const int seat = state_->seats().take(state_->options.readers);
    if (seat < 0)
        throw std::runtime_error("chiral::Engine::make_reader: all " + std::to_string(state_->options.readers) +
                                 " configured readers exist already; raise EngineOptions::readers (at most " +
                                 std::to_string(core::kMaxReaders) + ") or destroy one");
    return Reader(std::make_unique<ReaderState>(*state_, seat));
}

std::uint64_t Engine::newest_frame(std::size_t camera) const noexcept {
    return camera < state_->cameras.size() ? state_->camera(camera).signal.newest() : 0;
}

bool Engine::wait_frame(std::size_t camera, std::uint64_t after, TimePoint deadline) {
    if (camera >= state_->cameras.size()) throw std::out_of_range(state_->unknown_camera(camera).message());
    return state_->camera(camera).signal.wait(after, deadline);
}

bool Engine::wait_frames(std::span<const std::uint64_t> after, TimePoint deadline) {
    // Before any wait, so that a wrong count is found even where an earlier camera would have timed out.
    if (after.size() > state_->cameras.size()) throw std::out_of_range(state_->unknown_camera(after.size() - 1).message());
    for (std::size_t i = 0; i < after.size(); ++i)
        if (!wait_frame(i, after[i], deadline)) return false;
    return true;
}

namespace {

void check_proprio(const EngineState& engine, std::size_t proprio, std::size_t values) {
    if (proprio >= engine.proprios.size()) throw std::out_of_range(engine.unknown_proprio(proprio).message());
    const ProprioConfig& config = engine.proprios[proprio];
    if (values != static_cast<std::size_t>(config.size))
        throw std::invalid_argument(
            Status(Errc::wrong_size, config.name.c_str(), "proprio", values, static_cast<std::uint64_t>(config.size))
                .message());
}

}  // namespace

ProprioRead Engine::latest_proprio(std::size_t proprio, std::span<float> out, Stamp* stamp) const {
    check_proprio(*state_, proprio, out.size());
    const detail::ProprioSample sample = state_->read_latest(proprio, out);
    if (stamp) *stamp = sample.stamp;
    return sample.how;
}

ProprioRead Engine::proprio_at(std::size_t proprio, TimePoint time, std::span<float> out, Stamp* stamp) const {
    check_proprio(*state_, proprio, out.size());
    const detail::ProprioSample sample = state_->read_at(proprio, time, out);
    if (stamp) *stamp = sample.stamp;
    return sample.how;
}

std::uint32_t Engine::reader_step_bound() const noexcept {
    std::uint32_t bound = core::CameraSync<detail::Policy>::kPinSteps * static_cast<std::uint32_t>(state_->cameras.size());
    const auto history = static_cast<std::uint32_t>(state_->options.proprio_history);
    for (const detail::ProprioLayout& p : state_->layout.proprios) {
        // Newest, three copies, and the walk over the capture times.
        const auto attempt = 1 + 3 * (static_cast<std::uint32_t>(p.words) + 2) + 3 * history;
        bound += static_cast<std::uint32_t>(detail::kRingAttempts) * attempt;
    }
    return bound;
}

}  // namespace chiral
