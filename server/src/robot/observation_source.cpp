// SPDX-License-Identifier: Apache-2.0
#include "robot/observation_source.hpp"

#include "wire/writer.hpp"

#include <chiral/wire.hpp>

#include <algorithm>
#include <new>
#include <stdexcept>
#include <utility>

namespace chiral::robot {
namespace {

// What is declared of readers are the caller's own. What makes no sense stays for the engine to refuse.
void add_readers(std::optional<int>& readers, int own) {
    if (readers.value_or(-1) >= 0) *readers += own;
}
EngineOptions with_own_readers(EngineOptions options, int own) {
    options.readers += own;
    for (SlotConfig& slot : options.slots) add_readers(slot.readers, own);
    return options;
}
std::vector<CameraConfig> with_own_readers(std::vector<CameraConfig> cameras, int own) {
    for (CameraConfig& camera : cameras)
        for (std::optional<int>* readers : {&camera.readers, &camera.depth_readers}) add_readers(*readers, own);
    return cameras;
}

void lend(ByteBuffer& buffer, const std::uint8_t* data, std::size_t size, Loan* loan) {
    if (loan) buffer.borrow(data, size, *loan);
    else buffer.assign(data, data + size);
}

// What observations carry of slots lies in their headers.
EngineOptions checked_slots(EngineOptions options) {
    std::size_t carried = 0;
    for (const SlotConfig& slot : options.slots) carried += slot.shape.empty() ? 0 : slot.bytes + slot.name.size();
    constexpr std::size_t most = wire::Limits{}.max_header_bytes / 4;
    if (carried > most)
        throw std::invalid_argument("declaration: slots of " + std::to_string(carried) +
                                    " bytes are to be carried by observations, expected at most " + std::to_string(most));
    return options;
}

// What its pixels are, as they lie in the slots.
void declare(const CameraConfig& config, CameraInfo& camera) {
    camera.image_unchanged = camera.depth_unchanged = false;
    camera.image_encoding = config.encoding == FrameEncoding::jpeg ? ImageEncoding::jpeg : ImageEncoding::raw;
    camera.image_order = ColourOrder::rgb;
    camera.image_shape.assign({config.height, config.width, config.channels});
    if (config.two_dimensional) camera.image_shape.pop_back();
    camera.image_dtype = to_string(config.image_dtype);
    camera.has_depth = config.has_depth;
    camera.depth_encoding = DepthEncoding::raw;
    camera.depth_shape.clear();
    camera.depth_dtype.clear();
    if (!config.has_depth) return;
    camera.depth_shape.assign({config.height, config.width});
    camera.depth_dtype = to_string(config.depth_dtype);
    camera.depth_unit = config.depth_unit;
}

// Numpy's name of the type, the shape, the bytes, and how current they are: {name: {dtype, shape, data, ...}}.
void write_slots(const Snapshot& snapshot, std::vector<std::uint8_t>& out) {
    out.clear();
    const auto carried = [&](std::size_t i) { return !snapshot.slot(i).config().shape.empty(); };
    std::size_t count = 0;
    for (std::size_t i = 0; i < snapshot.slots(); ++i) count += carried(i) ? 1 : 0;
    if (count == 0) return;
    wire::Writer writer(out, 0);
    writer.map(count);
    for (std::size_t i = 0; i < snapshot.slots(); ++i) {
        if (!carried(i)) continue;
        const SlotView view = snapshot.slot(i);
        const SlotConfig& config = view.config();
        writer.text(config.name);
        writer.map(6);
        writer.text("dtype");
        writer.text(to_string(config.dtype));
        writer.text("shape");
        writer.array(config.shape.size());
        for (const int side : config.shape) writer.count(static_cast<std::uint64_t>(side));
        writer.text("data");
        writer.binary(view.bytes().data(), view.bytes().size());
        writer.text("timestamp");
        writer.float64(view.sequence() > 0 ? to_seconds(view.captured()) : 0.0);
        writer.text("sequence");
        writer.uint64(view.sequence());
        writer.text("status");
        writer.byte(static_cast<unsigned>(view.status()) & 0x7f);
    }
}

}  // namespace

// ---- loans ----

/// The reference of whoever has taken a loan, until it is filled in, or there is no memory for that.
class ObservationSource::LoanHold {
public:
    explicit LoanHold(PinnedSnapshot& loan) noexcept : loan_(loan) {}
    LoanHold(const LoanHold&) = delete;
    ~LoanHold() { loan_.drop_ref(); }

private:
    PinnedSnapshot& loan_;
};

bool ObservationSource::PinnedSnapshot::take(std::shared_ptr<ObservationSource> owner) {
    // acquire pairs with the release in drop_ref: the previous borrower's reads and its snapshot's release come before.
    if (busy_.exchange(1, std::memory_order_acquire) != 0) return false;
    snapshot_.emplace(reader_.snapshot());
    owner_ = std::move(owner);
    references_.store(1, std::memory_order_relaxed);
    return true;
}

void ObservationSource::PinnedSnapshot::add_ref() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }

void ObservationSource::PinnedSnapshot::drop_ref() noexcept {
    // acq_rel: the last one to drop comes after the reads of all others, as in every reference count.
    if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    snapshot_.reset();
    const std::shared_ptr<ObservationSource> owner = std::move(owner_);  // may destroy us, at the end of this function
    busy_.store(0, std::memory_order_release);
}

ObservationSource::ObservationSource(const std::vector<CameraConfig>& cameras, const std::vector<ProprioConfig>& proprios,
                                     EngineOptions options, Seats seats, LogLine log)
    : log_(std::move(log)),
      engine_((wire::check_sources(cameras, proprios), with_own_readers(cameras, kReaders + seats.readers())), proprios,
              with_own_readers(checked_slots(std::move(options)), kReaders + seats.readers())),
      ahead_(cameras.size() + proprios.size() + engine_.slots().size()),
      shown_(ahead_.size()),
      loans_(make_loans(kReaders - 1 + (seats.lends ? kMostHeld : 0))),
      observers_(static_cast<std::size_t>(seats.observers)),
      copy_reader_(engine_.make_reader()),
      rates_(shown_.size()) {
    for (int i = 0; i < seats.observers + seats.local_observers; ++i)
        seats_.push_back(std::make_unique<SeatState>(make_loans(i < seats.observers ? 1 : kMostHeld), shown_.size()));
    // Warm storage for the loans, so that not even the first observations allocate on a hook's thread.
    std::vector<Observation> warm(loans_.size());
    for (Observation& observation : warm) observation = make(0.0);
    for (Observation& observation : warm) recycle(std::move(observation));
}

ObservationSource::~ObservationSource() = default;

ObservationSource::Loans ObservationSource::make_loans(int count) {
    Loans loans;
    for (int i = 0; i < count; ++i) loans.push_back(std::make_unique<PinnedSnapshot>(engine_.make_reader()));
    return loans;
}

// ---- observations ----

void ObservationSource::recycle(Observation&& observation) noexcept {
    Observation returned = std::move(observation);
    if (returned.cameras.size() != engine_.cameras().size() || returned.proprios.size() != engine_.proprios().size()) return;
    for (CameraInfo& camera : returned.cameras) {
        camera.image.clear();
        camera.depth_data.clear();
    }
    returned.extra.clear();
    recycled_.give(std::move(returned));
}

Observation ObservationSource::make(double timestamp) {
    Observation observation = recycled_.take();
    for (auto& loan : loans_) {
        // weak_from_this: the constructor warms up before there is an owner, and is done with its loans when it returns.
        if (!loan->take(weak_from_this().lock())) continue;
        const LoanHold hold(*loan);
        fill(observation, loan->snapshot(), timestamp, loan.get(), shown_);
        return observation;
    }
    copies_.fetch_add(1, std::memory_order_relaxed);
    const std::lock_guard lock(copying_);
    const Snapshot snapshot = copy_reader_.snapshot();
    fill(observation, snapshot, timestamp, nullptr, shown_);
    return observation;
}

std::unique_ptr<ObservationSource::Seat> ObservationSource::take_seat(std::size_t first, std::size_t end) {
    for (std::size_t i = first; i < end; ++i) {
        // Who has left may still be holding something.
        const auto on_loan = [](const auto& loan) { return loan->on_loan(); };
        if (std::any_of(seats_[i]->loans.begin(), seats_[i]->loans.end(), on_loan)) continue;
        // acquire/release: hands the seat's readers from one observer to the next.
        if (seats_[i]->taken.exchange(true, std::memory_order_acquire)) continue;
        for (Shown& shown : seats_[i]->shown) shown.sequence.store(0, std::memory_order_relaxed);
        try {
            return std::make_unique<Seat>(shared_from_this(), static_cast<int>(i));
        } catch (const std::bad_alloc&) {
            seats_[i]->taken.store(false, std::memory_order_release);
            throw;
        }
    }
    return nullptr;
}

Observation ObservationSource::Seat::observe() {
    SeatState& seat = *source_->seats_[index_];
    for (const std::unique_ptr<PinnedSnapshot>& loan : seat.loans) {
        if (!loan->take(source_)) continue;
        const LoanHold hold(*loan);
        Observation observation = source_->recycled_.take();
        source_->fill(observation, loan->snapshot(), 0.0, loan.get(), seat.shown);
        observation.timestamp = observation.snapshot_time;
        return observation;
    }
    throw std::logic_error("an observer's previous observation is still in use");
}

std::vector<SourceReport> ObservationSource::report() {
    const std::lock_guard lock(copying_);
    const Snapshot snapshot = copy_reader_.snapshot();
    std::vector<SourceReport> reports;
    const auto add = [&](SourceReport::Kind kind, const auto& view) {
        const std::size_t i = reports.size();
        const std::string& name = view.config().name;
        const std::uint64_t sequence = view.sequence();
        const SourceStatus status = view.status();
        look_at_clock(i, name, sequence, status);
        Rate& rate = rates_[i];
        const std::chrono::duration<double> since = snapshot.time() - rate.since;
        if (since.count() >= 0.5) {
            rate.hz = rate.since == TimePoint{} ? 0.0 : static_cast<double>(sequence - rate.sequence) / since.count();
            rate.since = snapshot.time();
            rate.sequence = sequence;
        }
        reports.push_back({name, kind, sequence, shown_[i].missed.load(std::memory_order_relaxed),
                           ahead_[i].count.load(std::memory_order_relaxed), rate.hz,
                           sequence > 0 ? std::chrono::duration<double>(view.age()).count() : -1.0, status});
    };
    for (std::size_t i = 0; i < snapshot.cameras(); ++i) {
        const CameraView view = snapshot.camera(i);
        add(SourceReport::Kind::camera, view);
    }
    for (std::size_t i = 0; i < snapshot.proprios(); ++i) {
        const ProprioView view = snapshot.proprio(i);
        add(SourceReport::Kind::proprio, view);
    }
    for (std::size_t i = 0; i < snapshot.slots(); ++i) {
        const SlotView view = snapshot.slot(i);
        add(SourceReport::Kind::slot, view);
    }
    return reports;
}

// A sample counts once, whoever looks at it and however often; what is said of its clock is said once.
void ObservationSource::look_at_clock(std::size_t source, const std::string& name, std::uint64_t sequence,
                                      SourceStatus status) {
    if (status != SourceStatus::ahead) return;
    Ahead& ahead = ahead_[source];
    if (ahead.sequence.exchange(sequence, std::memory_order_relaxed) >= sequence) return;
    if (ahead.count.fetch_add(1, std::memory_order_relaxed) > 0) return;
    log_("source '" + name + "': captured after it was published, so not stamped by chiral::Clock; see ClockMap");
}

std::uint64_t ObservationSource::publications() {
    const std::lock_guard lock(copying_);
    const Snapshot snapshot = copy_reader_.snapshot();
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < snapshot.cameras(); ++i) sum += snapshot.camera(i).version();
    for (std::size_t i = 0; i < snapshot.proprios(); ++i) sum += snapshot.proprio(i).sequence();
    for (std::size_t i = 0; i < snapshot.slots(); ++i) sum += snapshot.slot(i).sequence();
    return sum;
}

void ObservationSource::fill(Observation& observation, const Snapshot& snapshot, double timestamp, Loan* loan,
                             ShownSources& shown) {
    // Samples between the last one shown and this one.
    const auto missed = [&shown](std::size_t source, std::uint64_t sequence) {
        const std::uint64_t last = shown[source].sequence.exchange(sequence, std::memory_order_relaxed);
        const std::uint64_t between = last > 0 && sequence > last ? sequence - last - 1 : 0;
        if (between > 0) shown[source].missed.fetch_add(between, std::memory_order_relaxed);
        return between;
    };
    observation.timestamp = timestamp;
    observation.snapshot_time = to_seconds(snapshot.time());
    observation.extra.clear();
    write_slots(snapshot, observation.extra.encoded);
    observation.cameras.resize(snapshot.cameras());
    for (std::size_t i = 0; i < snapshot.cameras(); ++i) {
        const CameraView view = snapshot.camera(i);
        const CameraConfig& config = view.config();
        CameraInfo& camera = observation.cameras[i];
        camera.name = config.name;
        camera.intrinsics = Eigen::Map<const Eigen::Matrix<double, 3, 3, Eigen::RowMajor>>(view.intrinsics().data());
        camera.extrinsics = Eigen::Map<const Eigen::Matrix<double, 4, 4, Eigen::RowMajor>>(view.extrinsics().data());
        camera.sequence = view.sequence();
        camera.timestamp = camera.sequence > 0 ? to_seconds(view.captured()) : 0.0;
        camera.missed = missed(i, camera.sequence);
        camera.status = view.status();
        camera.depth_sequence = config.has_depth ? view.stamp(Field::depth).sequence : 0;
        look_at_clock(i, config.name, camera.sequence, camera.status);
        declare(config, camera);
        lend(camera.image, view.image().data(), view.image().size(), loan);
        if (config.has_depth) lend(camera.depth_data, view.depth_bytes().data(), view.depth_bytes().size(), loan);
        else camera.depth_data.clear();
    }
    observation.proprios.resize(snapshot.proprios());
    for (std::size_t i = 0; i < snapshot.proprios(); ++i) {
        const ProprioView view = snapshot.proprio(i);
        ProprioInfo& proprio = observation.proprios[i];
        proprio.name = view.config().name;
        proprio.data.assign(view.values().begin(), view.values().end());
        proprio.sequence = view.sequence();
        proprio.timestamp = proprio.sequence > 0 ? to_seconds(view.captured()) : 0.0;
        proprio.missed = missed(snapshot.cameras() + i, proprio.sequence);
        proprio.status = view.status();
        look_at_clock(snapshot.cameras() + i, proprio.name, proprio.sequence, proprio.status);
    }
    for (std::size_t i = 0; i < snapshot.slots(); ++i) {
        const SlotView view = snapshot.slot(i);
        if (view.config().shape.empty()) continue;  // no observation carries it
        const std::size_t source = snapshot.cameras() + snapshot.proprios() + i;
        static_cast<void>(missed(source, view.sequence()));
        look_at_clock(source, view.config().name, view.sequence(), view.status());
    }
}

}  // namespace chiral::robot
