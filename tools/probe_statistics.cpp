// SPDX-License-Identifier: Apache-2.0
#include "probe_statistics.hpp"

#include "slots_in_extra.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace chiral::tools {

std::optional<Quantiles> quantiles_of(std::vector<double> values) {
    if (values.empty()) return {};
    std::sort(values.begin(), values.end());
    const auto count = static_cast<double>(values.size());
    const auto rank = [&](double part) {
        return values[static_cast<std::size_t>(std::max(1.0, std::ceil(part * count))) - 1];
    };
    return Quantiles{values.front(), rank(0.5),     rank(0.9),
                     rank(0.99),     values.back(), std::accumulate(values.begin(), values.end(), 0.0) / count};
}

void SourceTrack::add(std::uint64_t sequence, double timestamp, std::uint64_t missed, SourceStatus status,
                      double snapshot_time) {
    if (snapshot_time == 0.0) return;
    known_ = true;
    last_status_ = status;
    ++statuses_[static_cast<std::size_t>(status) % statuses_.size()];
    last_snapshot_ = snapshot_time;
    if (sequence == 0) return;  // nothing has been published yet
    // What was missed before the first observation was not this run's.
    if (started_) missed_ += missed;
    if (!started_) first_ = {sequence, timestamp};
    if (!started_ || sequence != last_.sequence) ++seen_;
    started_ = true;
    last_ = {sequence, timestamp};
    ages_.push_back(snapshot_time - timestamp);
}

std::optional<double> SourceTrack::rate() const {
    if (!known_) return {};
    if (!started_ || last_.sequence <= first_.sequence) {
        if (last_status_ == SourceStatus::fresh) return {};
        return 0.0;
    }
    const auto samples = static_cast<double>(last_.sequence - first_.sequence);
    double span = last_.captured - first_.captured;
    const double silence = last_snapshot_ - last_.captured;
    if (silence * samples > 3.0 * span) span += silence;
    if (span <= 0.0) return {};
    return samples / span;
}

void ProbeStatistics::add(const Observation& obs, double round_trip) {
    round_trips_.push_back(round_trip);
    const auto track = [](std::vector<SourceTrack>& tracks, std::size_t index, const std::string& name) -> SourceTrack& {
        // Servers do not change their sources; if one does, the new ones are counted as what they are now.
        if (index >= tracks.size()) {
            tracks.emplace_back(name);
        } else if (tracks[index].name() != name) {
            tracks[index] = SourceTrack(name);
        }
        return tracks[index];
    };
    for (std::size_t i = 0; i < obs.cameras.size(); ++i) {
        const CameraInfo& camera = obs.cameras[i];
        track(cameras_, i, camera.name)
            .add(camera.sequence, camera.timestamp, camera.missed, camera.status, obs.snapshot_time);
    }
    for (std::size_t i = 0; i < obs.proprios.size(); ++i) {
        const ProprioInfo& proprio = obs.proprios[i];
        track(proprios_, i, proprio.name)
            .add(proprio.sequence, proprio.timestamp, proprio.missed, proprio.status, obs.snapshot_time);
    }
    const std::vector<SlotInfo> slots = slots_in(obs.extra);
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const SlotInfo& slot = slots[i];
        SourceTrack& so_far = track(slots_, i, slot.name);
        // What was missed is not sent; a server that was started again counts from the beginning.
        const std::uint64_t before = so_far.last_sequence();
        const std::uint64_t missed = slot.sequence > before + 1 ? slot.sequence - before - 1 : 0;
        so_far.add(slot.sequence, slot.timestamp, missed, slot.status, obs.snapshot_time);
    }
}

std::optional<Quantiles> ProbeStatistics::recent_round_trips() {
    const auto recent = quantiles_of({round_trips_.begin() + static_cast<std::ptrdiff_t>(shown_), round_trips_.end()});
    shown_ = round_trips_.size();
    return recent;
}

}  // namespace chiral::tools
