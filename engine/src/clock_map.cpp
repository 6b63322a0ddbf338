// SPDX-License-Identifier: Apache-2.0
#include <chiral/clock_map.hpp>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace chiral {
namespace {

Duration whole(double nanoseconds) noexcept { return Duration(std::llround(nanoseconds)); }

}  // namespace

ClockMap::ClockMap(ClockMapOptions options) : options_(options) {
    const auto refuse = [](const std::string& problem) { throw std::invalid_argument("chiral::ClockMap: " + problem); };
    if (!(options.ticks_per_second > 0) || !std::isfinite(options.ticks_per_second))
        refuse("ticks_per_second is " + std::to_string(options.ticks_per_second) + ", expected a positive number");
    if (options.bits < 8 || options.bits > 64) refuse("bits is " + std::to_string(options.bits) + ", expected 8 to 64");
    if (options.step <= Duration::zero())
        refuse("step is " + std::to_string(options.step.count()) + " ns, expected a positive time");
    if (options.pairs_to_believe_a_step < 1)
        refuse("pairs_to_believe_a_step is " + std::to_string(options.pairs_to_believe_a_step) + ", expected at least 1");
}

// A counter of n bits is taken to have gone the shorter way round since the last stamp.
std::int64_t ClockMap::unwrapped(std::uint64_t stamp) const noexcept {
    const int unused = 64 - options_.bits;
    return last_ticks_ + (static_cast<std::int64_t>((stamp - last_stamp_) << unused) >> unused);
}

double ClockMap::device_ns(std::int64_t ticks) const noexcept {
    return static_cast<double>(ticks) * (1e9 / options_.ticks_per_second);
}

TimePoint ClockMap::at(double device) const noexcept { return origin_ + whole(device + expected_offset(device)); }

TimePoint ClockMap::map(std::uint64_t stamp) const noexcept {
    return started_ ? at(device_ns(unwrapped(stamp))) : TimePoint{};
}

TimePoint ClockMap::observe(std::uint64_t stamp, TimePoint arrival) noexcept {
    if (!started_) {
        started_ = true;
        origin_ = arrival;
        last_stamp_ = stamp;
    }
    last_ticks_ = unwrapped(stamp);
    last_stamp_ = stamp;
    const double device = device_ns(last_ticks_);
    const Pair pair{device, static_cast<double>(difference(arrival, origin_).count()) - device};
    if (is_a_step(pair)) start_again(pair);
    if (strays_ == 0) {
        pairs_[next_] = pair;
        next_ = (next_ + 1) % kWindow;
        count_ = std::min(count_ + 1, kWindow);
        fit();
    }
    TimePoint made = std::min(at(device), arrival);
    // Not back, as long as the device's own clock has not gone back.
    if (last_ticks_ >= latest_ticks_) made = std::min(std::max(made, latest_), arrival);
    latest_ = std::max(latest_, made);
    latest_ticks_ = last_ticks_;
    return made;
}

// Counts pairs that are nowhere near the line, and decides whether they are the new truth.
bool ClockMap::is_a_step(const Pair& pair) noexcept {
    const double off = count_ == 0 ? 0 : pair.offset - expected_offset(pair.device);
    const auto limit = static_cast<double>(options_.step.count());
    if (std::abs(off) <= limit) {
        strays_ = 0;
        return false;
    }
    ++strays_;
    return off < 0 || strays_ >= options_.pairs_to_believe_a_step;
}

void ClockMap::start_again(const Pair& pair) noexcept {
    ++steps_;
    strays_ = 0;
    count_ = 0;
    next_ = 0;
    // The rate is a property of the device; only where it stands has changed.
    intercept_ = pair.offset - slope_ * pair.device;
    uncertainty_ = Duration::max();
}

void ClockMap::fit() noexcept {
    const std::size_t parts = count_ < 2 * kParts ? 1 : kParts;
    std::array<Pair, kParts> least{};
    for (std::size_t part = 0; part < parts; ++part) {
        const std::size_t begin = part * count_ / parts, end = (part + 1) * count_ / parts;
        for (std::size_t i = begin; i < end; ++i) {
            const Pair& pair = pairs_[(next_ + kWindow - count_ + i) % kWindow];
            if (i == begin || pair.offset - slope_ * pair.device < least[part].offset - slope_ * least[part].device)
                least[part] = pair;
        }
    }
    if (parts == kParts) {
        std::array<double, kParts*(kParts - 1) / 2> slopes;
        std::size_t found = 0;
        for (std::size_t i = 0; i < parts; ++i)
            for (std::size_t j = i + 1; j < parts; ++j)
                if (least[j].device > least[i].device)
                    slopes[found++] = (least[j].offset - least[i].offset) / (least[j].device - least[i].device);
        if (found > 0) {
            const auto middle = slopes.begin() + static_cast<std::ptrdiff_t>(found / 2);
            std::nth_element(slopes.begin(), middle, slopes.begin() + static_cast<std::ptrdiff_t>(found));
            slope_ = *middle;
        }
    }
    double lowest = least[0].offset - slope_ * least[0].device;
    double highest = lowest;
    for (std::size_t part = 1; part < parts; ++part) {
        const double intercept = least[part].offset - slope_ * least[part].device;
        lowest = std::min(lowest, intercept);
        highest = std::max(highest, intercept);
    }
    intercept_ = lowest;
    if (parts == kParts) uncertainty_ = whole(highest - lowest);
}

}  // namespace chiral
