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

/// Takes the words of a sample: two times, then the values two by two, which `values` gets one by one with their index. On
/// the way, because a sample can be larger than the stack of a reading thread.
template <class Values>
struct Unpack {
    std::array<std::uint64_t, 2>& times;
    std::size_t size;
    Values values;

    void operator()(std::size_t i, std::uint64_t word) const noexcept {
        if (i < 2) {
            times[i] = word;
            return;
        }
        float two[2];
        std::memcpy(two, &word, sizeof two);
        const std::size_t first = 2 * (i - 2);
        values(first, two[0]);
        if (first + 1 < size) values(first + 1, two[1]);
    }
};

Stamp stamp_of(std::uint64_t sequence, const std::array<std::uint64_t, 2>& times) noexcept {
    return {sequence, time_point(static_cast<std::int64_t>(times[0])), time_point(static_cast<std::int64_t>(times[1]))};
}

auto copy_to(std::span<float> out, std::array<std::uint64_t, 2>& times) noexcept {
    const auto copy = [out](std::size_t i, float value) { out[i] = value; };
    return Unpack<decltype(copy)>{times, out.size(), copy};
}

}  // namespace

ProprioSample EngineState::read_latest(std::size_t proprio, std::span<float> out) const noexcept {
    const core::SampleRing<Policy> samples = ring(proprio);
    ProprioSample result{ProprioRead::overrun, {}, 0};
    std::array<std::uint64_t, 2> times;
    for (int attempt = 0; attempt < kRingAttempts; ++attempt) {
        const std::uint64_t newest = samples.newest();
        ++result.steps;
        if (newest == 0) {
            std::fill(out.begin(), out.end(), 0.f);
            result.how = ProprioRead::empty;
            return result;
        }
        result.steps += static_cast<std::uint32_t>(samples.words()) + 2;
        if (!samples.read(newest, samples.words(), copy_to(out, times))) continue;
        result.how = ProprioRead::latest;
        result.stamp = stamp_of(newest, times);
        return result;
    }
    return result;
}

ProprioSample EngineState::read_at(std::size_t proprio, TimePoint time, std::span<float> out) const noexcept {
    const core::SampleRing<Policy> samples = ring(proprio);
    ProprioSample result{ProprioRead::overrun, {}, 0};
    std::array<std::uint64_t, 2> later;
    std::array<std::uint64_t, 2> earlier;
    const auto steps_per_copy = static_cast<std::uint32_t>(samples.words()) + 2;
    const auto give = [&](ProprioRead how, std::uint64_t sequence) {
        result.how = how;
        result.stamp = stamp_of(sequence, later);
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
        if (!samples.read(newest, samples.words(), copy_to(out, later))) continue;
        const TimePoint newest_time = time_point(static_cast<std::int64_t>(later[0]));
        if (time == newest_time) return give(ProprioRead::latest, newest);
        if (time > newest_time) return give(ProprioRead::after_newest, newest);

        // Walk back, looking at capture times only, to the first sample that is not later than `time`.
        std::uint64_t sequence = newest - 1;
        const std::uint64_t oldest = samples.oldest(newest);
        bool found = false;
        for (; sequence >= oldest; --sequence) {
            std::uint64_t captured = 0;
            result.steps += 3;
            // Refused if the writer has just taken it: then the one after is the oldest.
            if (!samples.read(sequence, 1, [&](std::size_t, std::uint64_t word) { captured = word; })) break;
            if (time_point(static_cast<std::int64_t>(captured)) <= time) {
                found = true;
                break;
            }
        }
        result.steps += steps_per_copy;
        if (sequence + 1 != newest && !samples.read(sequence + 1, samples.words(), copy_to(out, later))) continue;
        if (!found) return give(ProprioRead::before_oldest, sequence + 1);
        result.steps += steps_per_copy;
        const TimePoint t1 = time_point(static_cast<std::int64_t>(later[0]));
        double weight = 0;
        const auto blend = [&](std::size_t i, float before) {
            if (i == 0) {
                const TimePoint t0 = time_point(static_cast<std::int64_t>(earlier[0]));
                const auto whole = static_cast<double>(difference(t1, t0).count());
                weight = t1 > t0 ? static_cast<double>(difference(time, t0).count()) / whole : 0.0;
            }
            out[i] = static_cast<float>(before + (static_cast<double>(out[i]) - before) * weight);
        };
        if (!samples.read(sequence, samples.words(), Unpack<decltype(blend)>{earlier, out.size(), blend})) continue;
        result.stamp = stamp_of(sequence + 1, later);
        result.stamp.captured = time;
        result.how = ProprioRead::interpolated;
        return result;
    }
    return result;
}

ReaderState::ReaderState(EngineState& owner)
    : engine(&owner), cameras(owner.cameras.size()), proprios(owner.proprios.size()) {
    for (std::size_t i = 0; i < proprios.size(); ++i)
        for (std::vector<float>* values : {&proprios[i].values, &proprios[i].scratch})
            values->resize(static_cast<std::size_t>(owner.proprios[i].size));
}

ReaderState::~ReaderState() {
    assert(!live && "a reader was destroyed or assigned over while its snapshot was alive");
    unpin();
    if (seat >= 0) engine->seats().drop(seat);
}

Duration ReaderState::age(const Stamp& stamp) const noexcept {
    return difference(time, std::min(stamp.captured, stamp.published));
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

Snapshot Reader::snapshot(std::optional<TimePoint> reference) & {
    ReaderState& reader = *state_;
    if (reader.live)
        throw std::logic_error(
            "chiral::Reader::snapshot: the previous snapshot of this reader is still alive; release it, "
            "or configure another reader");
    EngineState& engine = *reader.engine;
    reader.live = true;
    ++reader.snapshots;
    reader.steps = 0;
    for (std::size_t i = 0; i < reader.cameras.size(); ++i) {
        CameraPin& pin = reader.cameras[i];
        pin.view = engine.camera(i).sync.pin(reader.seat);
        reader.steps += core::CameraSync<detail::Policy>::kPinSteps;
        const std::uint64_t sequence = reader.stamp(i, kImage).sequence();
        pin.missed = reader.snapshots > 1 && sequence > pin.last_sequence ? sequence - pin.last_sequence - 1 : 0;
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
            reference ? engine.read_at(i, *reference, copy.scratch) : engine.read_latest(i, copy.scratch);
        reader.steps += sample.steps;
        if (sample.how == ProprioRead::overrun) {
            copy.sample.how = ProprioRead::overrun;  // values and stamp stay those of the last snapshot
            copy.missed = 0;                         // counted when one is seen again
            continue;
        }
        copy.values.swap(copy.scratch);
        copy.sample = sample;
        const std::uint64_t sequence = sample.stamp.sequence;
        copy.missed = reader.snapshots > 1 && sequence > copy.last_sequence ? sequence - copy.last_sequence - 1 : 0;
        copy.last_sequence = std::max(copy.last_sequence, sequence);
    }

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

CameraView::CameraView(ReaderState* reader, std::size_t index) noexcept
    : reader_(reader), index_(index), snapshot_(reader->snapshots) {}

ReaderState& CameraView::reader() const noexcept {
    assert(reader_->live && reader_->snapshots == snapshot_ && "a view of a snapshot that is no more");
    return *reader_;
}

std::span<const std::uint8_t> CameraView::image() const noexcept {
    const EngineState& engine = *reader().engine;
    return {reinterpret_cast<const std::uint8_t*>(engine.slot(index_, kImage, reader().cameras[index_].view.slot(kImage))),
            engine.layout.cameras[index_].bytes[kImage]};
}

std::span<const float> CameraView::depth() const noexcept {
    const EngineState& engine = *reader().engine;
    constexpr int f = static_cast<int>(Field::depth);
    return {reinterpret_cast<const float*>(engine.slot(index_, f, reader().cameras[index_].view.slot(f))),
            engine.layout.cameras[index_].bytes[f] / sizeof(float)};
}

std::span<const double, 9> CameraView::intrinsics() const noexcept {
    constexpr int f = static_cast<int>(Field::intrinsics);
    return std::span<const double, 9>(
        reinterpret_cast<const double*>(reader().engine->slot(index_, f, reader().cameras[index_].view.slot(f))), 9);
}

std::span<const double, 16> CameraView::extrinsics() const noexcept {
    constexpr int f = static_cast<int>(Field::extrinsics);
    return std::span<const double, 16>(
        reinterpret_cast<const double*>(reader().engine->slot(index_, f, reader().cameras[index_].view.slot(f))), 16);
}

Stamp CameraView::stamp(Field field) const noexcept {
    return detail::stamp_of(reader().stamp(index_, static_cast<int>(field)));
}

std::uint64_t CameraView::version() const noexcept { return reader().cameras[index_].view.version(); }
Duration CameraView::age() const noexcept { return reader().age(stamp(Field::image)); }
std::uint64_t CameraView::missed() const noexcept { return reader().cameras[index_].missed; }
Duration CameraView::skew() const noexcept { return difference(captured(), reader().reference); }
const CameraConfig& CameraView::config() const noexcept { return reader().engine->cameras[index_]; }

SourceStatus CameraView::status() const noexcept {
    return reader().cameras[index_].freshness.judge(stamp(Field::image), age(), image(),
                                                    reader().engine->camera_limits(index_));
}

// ---- proprio view ----

ProprioView::ProprioView(ReaderState* reader, std::size_t index) noexcept
    : reader_(reader), index_(index), snapshot_(reader->snapshots) {}

ReaderState& ProprioView::reader() const noexcept {
    assert(reader_->live && reader_->snapshots == snapshot_ && "a view of a snapshot that is no more");
    return *reader_;
}

std::span<const float> ProprioView::values() const noexcept { return reader().proprios[index_].values; }
ProprioRead ProprioView::how() const noexcept { return reader().proprios[index_].sample.how; }
const Stamp& ProprioView::stamp() const noexcept { return reader().proprios[index_].sample.stamp; }
Duration ProprioView::age() const noexcept { return reader().age(stamp()); }
std::uint64_t ProprioView::missed() const noexcept { return reader().proprios[index_].missed; }
const ProprioConfig& ProprioView::config() const noexcept { return reader().engine->proprios[index_]; }

SourceStatus ProprioView::status() const noexcept {
    ProprioCopy& copy = reader().proprios[index_];
    const std::span<const float> values = copy.values;
    return copy.freshness.judge(copy.sample.stamp, age(),
                                {reinterpret_cast<const std::uint8_t*>(values.data()), values.size_bytes()},
                                reader().engine->proprio_limits(index_));
}

// ---- reading without a reader, and waiting ----

Reader Engine::make_reader() {
    auto reader = std::make_unique<ReaderState>(*state_);  // before the seat is taken: it may throw
    reader->seat = state_->seats().take(state_->options.readers);
    if (reader->seat < 0)
        throw std::runtime_error("chiral::Engine::make_reader: all " + std::to_string(state_->options.readers) +
                                 " configured readers exist already; raise EngineOptions::readers (at most " +
                                 std::to_string(core::kMaxReaders) + ") or destroy one");
    return Reader(std::move(reader));
}

std::uint64_t Engine::newest_frame(std::size_t camera) const noexcept {
    return camera < state_->cameras.size() ? state_->camera(camera).signal.newest() : 0;
}

bool Engine::wait_frame(std::size_t camera, std::uint64_t after, TimePoint deadline) {
    if (camera >= state_->cameras.size()) throw std::out_of_range(state_->unknown_camera(camera).message());
    return state_->camera(camera).signal.wait(after, core::StdAtomics::Deadline{deadline, state_->options.now});
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
