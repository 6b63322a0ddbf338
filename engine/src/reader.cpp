// SPDX-License-Identifier: Apache-2.0
// The reading side of the engine: snapshots and their views, proprio history.
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

TimePoint time_point(std::int64_t nanoseconds) noexcept {
    return TimePoint(std::chrono::duration_cast<Clock::duration>(std::chrono::nanoseconds(nanoseconds)));
}

Stamp stamp_of(const SlotStamp& slot) noexcept {
    return {slot.sequence(), time_point(slot.captured), time_point(slot.published)};
}

}  // namespace

ReaderState::ReaderState(EngineState& owner)
    : engine(&owner), cameras(owner.layout.cameras.size()), proprios(owner.proprios.size()) {
    for (std::size_t i = 0; i < proprios.size(); ++i)
        for (std::vector<float>* values : {&proprios[i].values, &proprios[i].scratch})
            values->resize(static_cast<std::size_t>(owner.proprios[i].size));
    for (std::size_t i = 0; i < proprios.size(); ++i) {
        const ProprioConfig& config = owner.proprios[i];
        if (config.dtype == DType::float32) continue;
        for (std::vector<std::byte>* values : {&proprios[i].exact, &proprios[i].exact_scratch})
            values->resize(static_cast<std::size_t>(config.size) * size_of(config.dtype));
    }
}

ReaderState::~ReaderState() {
    assert(!live && "a reader was destroyed or assigned over while its snapshot was alive");
    unpin();
    for (std::size_t i = 0; i < cameras.size(); ++i)
        if (cameras[i].seat >= 0) engine->seats_of(i).drop(cameras[i].seat);
    if (seat >= 0) engine->seats().drop(seat);
}

void ReaderState::choose(const ReaderScope& scope) {
    // Marks those of `sources` that are named, or all if there are no names.
    const auto mark = [](const auto& names, const auto& sources, const char* kind, auto set) {
        for (std::size_t i = 0; !names && i < sources.size(); ++i) set(i);
        for (const std::string& name : names.value_or(std::vector<std::string>{})) {
            const auto found =
                std::find_if(sources.begin(), sources.end(), [&](const auto& each) { return each.name == name; });
            if (found == sources.end())
                throw std::invalid_argument(std::string("chiral::Engine::make_reader: there is no ") + kind + " '" + name +
                                            "'");
            set(static_cast<std::size_t>(found - sources.begin()));
        }
    };
    for (CameraPin& pin : cameras) pin.looks.fill(false);
    mark(scope.cameras, engine->cameras, "camera", [&](std::size_t i) {
        cameras[i].looks.fill(true);
        cameras[i].looks[kDepth] = false;
    });
    mark(scope.depths, engine->cameras, "camera",
         [&](std::size_t i) { cameras[i].looks[kDepth] = cameras[i].looks[kImage]; });
    mark(scope.slots, engine->options.slots, "slot",
         [&](std::size_t i) { cameras[engine->source_of_slot(i)].looks[kImage] = true; });
    for (ProprioCopy& copy : proprios) copy.looks = false;
    mark(scope.proprios, engine->proprios, "proprio", [&](std::size_t i) { proprios[i].looks = true; });
}

void ReaderState::sit_down() {
    const auto full = [](const std::string& what, int readers, const char* way_out) {
        throw std::runtime_error("chiral::Engine::make_reader: " + what + " has its " + std::to_string(readers) +
                                 " readers already; " + way_out);
    };
    seat = engine->seats().take(engine->options.readers);
    if (seat < 0)
        throw std::runtime_error("chiral::Engine::make_reader: all " + std::to_string(engine->options.readers) +
                                 " configured readers exist already; raise EngineOptions::readers (at most " +
                                 std::to_string(core::kMaxReaders) + ") or destroy one");
    for (std::size_t i = 0; i < cameras.size(); ++i) {
        CameraPin& pin = cameras[i];
        if (!pin.looks[kImage]) continue;
        const core::FieldReaders& most = engine->readers(i);
        // The first seats are those of readers of the depth map; who does not look at it leaves them to others while it can.
        pin.seat = pin.looks[kDepth] ? engine->seats_of(i).take(most[kDepth]) : engine->seats_of(i).take_last(most[kImage]);
        if (pin.seat >= 0) continue;
        if (i >= engine->cameras.size())
            full("slot '" + engine->options.slots[i - engine->cameras.size()].name + "'", most[kImage],
                 "raise SlotConfig::readers, or leave it out of the reader's scope");
        if (pin.looks[kDepth])
            full("the depth map of camera '" + engine->cameras[i].name + "'", most[kDepth],
                 "raise CameraConfig::depth_readers, or leave it out of the reader's scope");
        full("camera '" + engine->cameras[i].name + "'", most[kImage],
             "raise CameraConfig::readers, or leave it out of the reader's scope");
    }
}

Duration ReaderState::age(const Stamp& stamp) const noexcept {
    return difference(time, std::min(stamp.captured, stamp.published));
}

bool ReaderState::intact() const noexcept {
    for (std::size_t i = 0; i < cameras.size(); ++i)
        for (int f = 0; f < kFields; ++f) {
            if (!cameras[i].looks[f]) continue;
            const std::uint64_t guard = stamp(i, f).guard.load(core::Site::guard_load, std::memory_order_relaxed);
            if (engine->options.verify_pins ? guard != cameras[i].guards[f] : guard % 2 != 0) return false;
        }
    return true;
}

void ReaderState::unpin() noexcept {
    if (!live) return;
    assert(intact() && "a pinned slot was written to");
    for (std::size_t i = 0; i < cameras.size(); ++i)
        if (cameras[i].seat >= 0) engine->camera(i).sync.unpin(cameras[i].seat, cameras[i].view);
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
        if (pin.seat < 0) continue;
        pin.view = engine.camera(i).sync.pin(pin.seat);
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
        if (!copy.looks) continue;
        const DType type = engine.proprios[i].dtype;
        const bool exact = type != DType::float32;
        const auto read = [&](auto out) {
            return reference ? detail::read_at(engine.ring(i), type, *reference, out)
                             : detail::read_latest(engine.ring(i), type, out);
        };
        const detail::ProprioSample sample =
            exact ? read(std::span<std::byte>(copy.exact_scratch)) : read(std::span<float>(copy.scratch));
        reader.steps += sample.steps;
        if (sample.how == ProprioRead::overrun) {
            copy.sample.how = ProprioRead::overrun;  // values and stamp stay those of the last snapshot
            copy.missed = 0;                         // counted when one is seen again
            continue;
        }
        if (exact) {
            copy.exact.swap(copy.exact_scratch);
            detail::to_float32(type, copy.exact.data(), copy.values);
        } else {
            copy.values.swap(copy.scratch);
        }
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

std::size_t Snapshot::cameras() const noexcept { return reader_->engine->cameras.size(); }
std::size_t Snapshot::proprios() const noexcept { return reader_->proprios.size(); }
std::size_t Snapshot::slots() const noexcept { return reader_->engine->options.slots.size(); }
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

void CameraView::require_elements(Field field, bool fits, const char* asked) const {
    const CameraConfig& camera = config();
    const bool image = field == Field::image;
    if (image && camera.encoding != FrameEncoding::raw)
        throw std::logic_error("camera '" + camera.name + "': image is encoded and has no elements");
    if (fits || (!image && !camera.has_depth)) return;
    const DType declared = image ? camera.image_dtype : camera.depth_dtype;
    throw std::logic_error(
        Status(Errc::wrong_type, camera.name.c_str(), to_string(field), 0, static_cast<std::uint64_t>(declared), asked)
            .message());
}

std::span<const std::uint8_t> CameraView::bytes(Field field) const noexcept {
    const EngineState& engine = *reader().engine;
    const int f = static_cast<int>(field);
    if (!looked_at(field)) return {};
    const std::byte* slot = engine.slot(index_, f, reader().cameras[index_].view.slot(f));
    const std::size_t size = engine.layout.cameras[index_].bytes[f];
    const bool encoded = field == Field::image && engine.cameras[index_].encoding != FrameEncoding::raw;
    return {reinterpret_cast<const std::uint8_t*>(slot), encoded ? detail::encoded_size(slot, size) : size};
}

bool CameraView::looked_at(Field field) const noexcept { return reader().cameras[index_].looks[static_cast<int>(field)]; }

std::span<const std::uint8_t> CameraView::image() const noexcept { return bytes(Field::image); }
std::span<const std::uint8_t> CameraView::depth_bytes() const noexcept { return bytes(Field::depth); }

std::span<const double, 9> CameraView::intrinsics() const noexcept {
    constexpr int f = static_cast<int>(Field::intrinsics);
    static constexpr std::array<double, 9> none{};
    if (!looked_at(Field::intrinsics)) return none;
    return std::span<const double, 9>(
        reinterpret_cast<const double*>(reader().engine->slot(index_, f, reader().cameras[index_].view.slot(f))), 9);
}

std::span<const double, 16> CameraView::extrinsics() const noexcept {
    constexpr int f = static_cast<int>(Field::extrinsics);
    static constexpr std::array<double, 16> none{};
    if (!looked_at(Field::extrinsics)) return none;
    return std::span<const double, 16>(
        reinterpret_cast<const double*>(reader().engine->slot(index_, f, reader().cameras[index_].view.slot(f))), 16);
}

Stamp CameraView::stamp(Field field) const noexcept {
    return looked_at(field) ? detail::stamp_of(reader().stamp(index_, static_cast<int>(field))) : Stamp{};
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

// ---- slot view ----

SlotView::SlotView(ReaderState* reader, std::size_t index) noexcept
    : reader_(reader), index_(index), source_(reader->engine->source_of_slot(index)), snapshot_(reader->snapshots) {}

ReaderState& SlotView::reader() const noexcept {
    assert(reader_->live && reader_->snapshots == snapshot_ && "a view of a snapshot that is no more");
    return *reader_;
}

std::span<const std::byte> SlotView::bytes() const noexcept {
    const EngineState& engine = *reader().engine;
    if (reader().cameras[source_].seat < 0) return {};
    return {engine.slot(source_, kImage, reader().cameras[source_].view.slot(kImage)), config().bytes};
}

Stamp SlotView::stamp() const noexcept {
    return reader().cameras[source_].seat < 0 ? Stamp{} : detail::stamp_of(reader().stamp(source_, kImage));
}
Duration SlotView::age() const noexcept { return reader().age(stamp()); }
std::uint64_t SlotView::missed() const noexcept { return reader().cameras[source_].missed; }
const SlotConfig& SlotView::config() const noexcept { return reader().engine->options.slots[index_]; }

SourceStatus SlotView::status() const noexcept {
    const std::span<const std::byte> value = bytes();
    return reader().cameras[source_].freshness.judge(stamp(), age(),
                                                     {reinterpret_cast<const std::uint8_t*>(value.data()), value.size()},
                                                     reader().engine->slot_limits(index_));
}

// ---- proprio view ----

ProprioView::ProprioView(ReaderState* reader, std::size_t index) noexcept
    : reader_(reader), index_(index), snapshot_(reader->snapshots) {}

ReaderState& ProprioView::reader() const noexcept {
    assert(reader_->live && reader_->snapshots == snapshot_ && "a view of a snapshot that is no more");
    return *reader_;
}

std::span<const float> ProprioView::values() const noexcept { return reader().proprios[index_].values; }

void ProprioView::require_elements(bool fits, const char* asked) const {
    if (!fits)
        throw std::logic_error(
            Status(Errc::wrong_type, config().name.c_str(), "proprio", 0, static_cast<std::uint64_t>(config().dtype), asked)
                .message());
}

std::span<const std::byte> ProprioView::bytes() const noexcept {
    const ProprioCopy& copy = reader().proprios[index_];
    return config().dtype == DType::float32 ? std::as_bytes(std::span<const float>(copy.values))
                                            : std::span<const std::byte>(copy.exact);
}

ProprioRead ProprioView::how() const noexcept { return reader().proprios[index_].sample.how; }
const Stamp& ProprioView::stamp() const noexcept { return reader().proprios[index_].sample.stamp; }
Duration ProprioView::age() const noexcept { return reader().age(stamp()); }
std::uint64_t ProprioView::missed() const noexcept { return reader().proprios[index_].missed; }
const ProprioConfig& ProprioView::config() const noexcept { return reader().engine->proprios[index_]; }

SourceStatus ProprioView::status() const noexcept {
    ProprioCopy& copy = reader().proprios[index_];
    const std::span<const std::byte> values = bytes();
    return copy.freshness.judge(copy.sample.stamp, age(),
                                {reinterpret_cast<const std::uint8_t*>(values.data()), values.size()},
                                reader().engine->proprio_limits(index_));
}

// ---- reading without a reader ----

Reader Engine::make_reader(const ReaderScope& scope) {
    auto reader = std::make_unique<ReaderState>(*state_);
    reader->choose(scope);
    reader->sit_down();
    return Reader(std::move(reader));
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
    const detail::ProprioSample sample = detail::read_latest(state_->ring(proprio), state_->proprios[proprio].dtype, out);
    if (stamp) *stamp = sample.stamp;
    return sample.how;
}

ProprioRead Engine::proprio_at(std::size_t proprio, TimePoint time, std::span<float> out, Stamp* stamp) const {
    check_proprio(*state_, proprio, out.size());
    const detail::ProprioSample sample = detail::read_at(state_->ring(proprio), state_->proprios[proprio].dtype, time, out);
    if (stamp) *stamp = sample.stamp;
    return sample.how;
}

std::uint32_t Engine::reader_step_bound() const noexcept {
    std::uint32_t bound =
        core::CameraSync<detail::Policy>::kPinSteps * static_cast<std::uint32_t>(state_->layout.cameras.size());
    const auto history = static_cast<std::uint32_t>(state_->options.proprio_history);
    for (const detail::ProprioLayout& p : state_->layout.proprios) {
        // Newest, three copies, and the walk over the capture times.
        const auto attempt = 1 + 3 * (static_cast<std::uint32_t>(p.words) + 2) + 3 * history;
        bound += static_cast<std::uint32_t>(detail::kRingAttempts) * attempt;
    }
    return bound;
}

}  // namespace chiral
