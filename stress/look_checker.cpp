// SPDX-License-Identifier: Apache-2.0
#include "look_checker.hpp"

#include <algorithm>
#include <utility>

namespace chiral::stress {
namespace {

constexpr std::size_t kExamples = 5;
constexpr std::size_t kSamples = 4;  // pixels and depths that every look checks
constexpr std::size_t kBytesPerDenseSample = 512;

// The fractional parts of multiples of the golden ratio spread evenly, however many looks there are.
std::size_t spread(std::uint64_t turn, std::size_t elements) noexcept {
    const std::uint64_t fraction = (turn * 0x9e3779b97f4a7c15u) >> 32;
    return static_cast<std::size_t>((fraction * elements) >> 32);
}

std::string lies_there(const Difference& difference) {
    return difference.frame ? fmt::format("frame {} lies there", *difference.frame) : "no frame lies there";
}

void add(std::vector<std::uint64_t>& to, const std::vector<std::uint64_t>& from) {
    to.resize(std::max(to.size(), from.size()));
    for (std::size_t i = 0; i < from.size(); ++i) to[i] += from[i];
}

}  // namespace

void Tally::merge(const Tally& other) {
    looks += other.looks;
    full_looks += other.full_looks;
    torn += other.torn;
    incoherent += other.incoherent;
    backwards += other.backwards;
    stale += other.stale;
    frozen += other.frozen;
    for (const std::string& source : other.frozen_sources)
        if (std::ranges::find(frozen_sources, source) == frozen_sources.end()) frozen_sources.push_back(source);
    mixed += other.mixed;
    overruns += other.overruns;
    add(missed_cameras, other.missed_cameras);
    add(missed_proprios, other.missed_proprios);
    examples.insert(examples.end(), other.examples.begin(), other.examples.end());
}

LookChecker::LookChecker(std::string who, const std::vector<CameraConfig>& cameras,
                         const std::vector<ProprioConfig>& proprios, Writes writes, const Progress& progress)
    : who_(std::move(who)),
      cameras_(cameras),
      proprios_(proprios),
      writes_(writes),
      progress_(progress),
      camera_history_(cameras.size()),
      proprio_history_(proprios.size()) {
    tally_.missed_cameras.resize(cameras.size());
    tally_.missed_proprios.resize(proprios.size());
}

template <class... Values>
void LookChecker::violation(std::uint64_t& count, fmt::format_string<Values...> format, Values&&... values) {
    ++count;
    if (tally_.examples.size() < kExamples)
        tally_.examples.push_back(
            fmt::format("{}, look {}: {}", who_, tally_.looks, fmt::format(format, std::forward<Values>(values)...)));
}

void LookChecker::lent_slot_was_written() {
    violation(tally_.torn, "the engine found that a slot was written to while this reader had it");
}

void LookChecker::check(const Look& look, const Floor& floor, bool full) {
    ++tally_.looks;
    if (full) ++tally_.full_looks;
    if (look.cameras.size() != cameras_.size() || look.proprios.size() != proprios_.size()) {
        violation(tally_.incoherent, "it has {} cameras and {} proprios, expected {} and {}", look.cameras.size(),
                  look.proprios.size(), cameras_.size(), proprios_.size());
        return;
    }
    for (std::size_t i = 0; i < cameras_.size(); ++i) check_camera(i, look.cameras[i], floor.cameras[i], full);
    for (std::size_t i = 0; i < proprios_.size(); ++i) check_proprio_stream(i, look.proprios[i], floor.proprios[i]);
}

template <class Check>
std::optional<Difference> LookChecker::sampled(std::size_t elements, bool new_frame, bool full, std::size_t dense_stride,
                                               Check check) {
    if (full) return check(Coverage::all());
    if (new_frame)
        if (const auto difference = check(Coverage{tally_.looks % dense_stride, dense_stride})) return difference;
    for (std::size_t sample = 0; sample < kSamples; ++sample)
        if (const auto difference = check(Coverage{spread(tally_.looks * kSamples + sample, elements), 0}))
            return difference;
    return std::nullopt;
}

// Number of the frame that wrote this field; empty if the field is torn, which is counted here.
std::optional<std::uint64_t> LookChecker::check_field(std::size_t index, const CameraLook& look, std::size_t field,
                                                      std::uint64_t about, bool full) {
    const CameraConfig& config = cameras_[index];
    const char* const name = to_string(kFieldOrder[field]);
    const auto torn = [&](const std::string& how) {
        violation(tally_.torn, "camera '{}': {} is torn: {}", config.name, name, how);
        return std::nullopt;
    };

    std::size_t elements = 0, expected = 0;
    std::optional<std::uint64_t> number;
    switch (kFieldOrder[field]) {
        case Field::image:
            elements = look.image.size();
            expected = image_bytes(config);
            number = image_number(look.image, index);
            break;
        case Field::depth:
            elements = look.depth.size() / size_of(config.depth_dtype);
            expected = depth_elements(config);
            number = depth_number(look.depth, config.depth_dtype, about);
            break;
        case Field::intrinsics:
            elements = look.intrinsics.size();
            expected = 9;
            number = matrix_number(look.intrinsics, index);
            break;
        case Field::extrinsics:
            elements = look.extrinsics.size();
            expected = 16;
            number = matrix_number(look.extrinsics, index);
            break;
    }
    if (elements != expected) return torn(fmt::format("it has {} elements, expected {}", elements, expected));
    // The writer makes a frame known after it has published it, so one more than is known can be seen.
    const std::uint64_t newest = progress_.camera(index) + 1;
    if (!number || *number == 0 || *number > newest)
        return torn(fmt::format("its first element is not of a frame from 1 to {} of this camera", newest));

    const bool new_frame = camera_history_[index].number[field] != *number;
    std::optional<Difference> difference;
    switch (kFieldOrder[field]) {
        case Field::image:
            difference = sampled(image_units(elements), new_frame, full, kBytesPerDenseSample / 8,
                                 [&](Coverage coverage) { return check_image(look.image, *number, index, coverage); });
            break;
        case Field::depth:
            difference =
                sampled(elements, new_frame, full, kBytesPerDenseSample / size_of(config.depth_dtype),
                        [&](Coverage coverage) { return check_depth(look.depth, config.depth_dtype, *number, coverage); });
            break;
        case Field::intrinsics: difference = check_matrix(look.intrinsics, *number, index); break;
        case Field::extrinsics: difference = check_matrix(look.extrinsics, *number, index); break;
    }
    if (difference)
        return torn(fmt::format("it begins with frame {}, but at {} {} of {} {}", *number,
                                kFieldOrder[field] == Field::image ? "byte" : "value", difference->element, elements,
                                lies_there(*difference)));
    return number;
}

void LookChecker::check_camera(std::size_t index, const CameraLook& look, std::uint64_t floor, bool full) {
    const bool depth = cameras_[index].has_depth;
    CameraHistory& history = camera_history_[index];
    const char* const name = cameras_[index].name.c_str();

    std::array<std::uint64_t, kFields> number{};
    bool whole = true;
    for (std::size_t f = 0; f < kFields; ++f) {
        if (kFieldOrder[f] == Field::depth && !depth) {
            number[f] = number[0];  // a camera without depth: as if it always went with the image
            continue;
        }
        // Numbers of small types wrap soon: nearest to the image's, which carries the whole.
        const auto found = check_field(index, look, f, number[0] != 0 ? number[0] : floor, full);
        number[f] = found.value_or(0);
        whole = whole && found;
    }
    if (!whole) return;  // what cannot be read cannot be compared

    judge_progress(history.frozen, history.number[0], number[0], floor, "camera", cameras_[index].name);
    judge_coherence(index, look, number, depth);

    for (std::size_t f = 0; f < kFields; ++f)
        if (number[f] < history.number[f] || went_back(look.captured[f], history.captured[f])) {
            violation(tally_.backwards, "camera '{}': {} is of frame {}, captured at {} ns, after frame {} at {} ns", name,
                      to_string(kFieldOrder[f]), number[f], look.captured[f].count(), history.number[f],
                      history.captured[f].count());
            break;
        }
    for (std::size_t f = 0; f < kFields; ++f)
        if (number[f] < floor) {
            violation(tally_.stale, "camera '{}': {} is of frame {}, but frame {} had been published before the look began",
                      name, to_string(kFieldOrder[f]), number[f], floor);
            break;
        }
    if (history.number[0] != 0 && number[0] > history.number[0])
        tally_.missed_cameras[index] += number[0] - history.number[0] - 1;
    history.number = number;
    history.captured = look.captured;
}

// Only a look that is stale can be frozen, so this is no new demand: it says what is the matter, and with whom.
void LookChecker::judge_progress(bool& frozen, std::uint64_t before, std::uint64_t number, std::uint64_t floor,
                                 const char* kind, const std::string& name) {
    if (number != before) frozen = false;
    if (number != before || number + kFrozenAfter >= floor) return;
    if (!frozen)
        violation(tally_.frozen, "{} '{}' is frozen: its content is of frame {} still, but frame {} had been published",
                  kind, name, number, floor);
    else ++tally_.frozen;
    frozen = true;
    std::string source = fmt::format("{} '{}'", kind, name);
    if (std::ranges::find(tally_.frozen_sources, source) == tally_.frozen_sources.end())
        tally_.frozen_sources.push_back(std::move(source));
}

void LookChecker::judge_coherence(std::size_t index, const CameraLook& look,
                                  const std::array<std::uint64_t, kFields>& number, bool depth) {
    const char* const name = cameras_[index].name.c_str();
    for (std::size_t f = 0; f < kFields; ++f) {
        if (kFieldOrder[f] == Field::depth && !depth) continue;
        const char* const field = to_string(kFieldOrder[f]);
        if (look.sequence[f] != 0 && look.sequence[f] != number[f])
            return violation(tally_.incoherent, "camera '{}': {} is of frame {}, but its stamp says {}", name, field,
                             number[f], look.sequence[f]);
        if (look.captured[f].count() != 0 && !time_carries(look.captured[f], number[f]))
            return violation(tally_.incoherent, "camera '{}': {} is of frame {}, but its capture time {} ns is of another",
                             name, field, number[f], look.captured[f].count());
    }
    const bool one_frame = std::all_of(number.begin(), number.end(), [&](std::uint64_t n) { return n == number[0]; });
    if (one_frame) return;
    if (writes_ == Writes::fields) {
        ++tally_.mixed;
        // The fields are published in this order, so at every instant each is as new as the next, or one frame newer than
        // all from there on. What is not of that form never was.
        if (std::is_sorted(number.rbegin(), number.rend()) && number.front() - number.back() <= 1) return;
    }
    violation(tally_.incoherent, "camera '{}': image of frame {}, {}K of {}, T of {} were never {}", name, number[0],
              depth ? fmt::format("depth of {}, ", number[1]) : "", number[2], number[3],
              writes_ == Writes::fields ? "current together" : "one frame");
}

void LookChecker::check_proprio_stream(std::size_t index, const ProprioLook& look, std::uint64_t floor) {
    const ProprioConfig& config = proprios_[index];
    ProprioHistory& history = proprio_history_[index];
    if (look.overrun) {
        ++tally_.overruns;
        return;
    }
    const char* const name = config.name.c_str();
    if (look.values.size() != static_cast<std::size_t>(config.size))
        return violation(tally_.torn, "proprio '{}' is torn: it has {} values, expected {}", name, look.values.size(),
                         config.size);
    const std::uint64_t newest = progress_.proprio(index) + 1;
    const auto number = proprio_number(look.values, floor, index);
    if (!number || *number == 0 || *number > newest)
        return violation(tally_.torn, "proprio '{}' is torn: its first value is not of a sample from 1 to {} of this stream",
                         name, newest);
    if (const auto difference = check_proprio(look.values, *number, index))
        return violation(tally_.torn, "proprio '{}' is torn: it begins with sample {}, but value {} is of {}", name, *number,
                         difference->element, difference->frame ? fmt::format("sample {}", *difference->frame) : "none");

    judge_progress(history.frozen, history.number, *number, floor, "proprio", config.name);
    if (look.sequence != 0 && look.sequence != *number)
        violation(tally_.incoherent, "proprio '{}': sample {}, but its stamp says {}", name, *number, look.sequence);
    else if (look.captured.count() != 0 && !time_carries(look.captured, *number))
        violation(tally_.incoherent, "proprio '{}': sample {}, but its capture time {} ns is of another", name, *number,
                  look.captured.count());
    if (*number < history.number || went_back(look.captured, history.captured))
        violation(tally_.backwards, "proprio '{}': sample {}, captured at {} ns, after sample {} at {} ns", name, *number,
                  look.captured.count(), history.number, history.captured.count());
    if (*number < floor)
        violation(tally_.stale, "proprio '{}': sample {}, but sample {} had been published before the look began", name,
                  *number, floor);
    if (history.number != 0 && *number > history.number) tally_.missed_proprios[index] += *number - history.number - 1;
    history.number = *number;
    history.captured = look.captured;
}

}  // namespace chiral::stress
