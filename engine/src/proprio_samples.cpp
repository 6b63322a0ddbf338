// SPDX-License-Identifier: Apache-2.0
#include "proprio_samples.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

namespace chiral::detail {
namespace {

using Ring = core::SampleRing<core::StdAtomics>;

TimePoint time_point(std::int64_t nanoseconds) noexcept {
    return TimePoint(std::chrono::duration_cast<Clock::duration>(std::chrono::nanoseconds(nanoseconds)));
}

/// Takes the words of a sample: two times, then the values, as many as fit in each, which `values` gets one by one with
/// their index. On the way, because a sample can be larger than the stack of a reading thread. The times go straight into a
/// stamp: from an array on the stack they would be copied as a pair, which waits until both stores are through.
template <class T, class Values>
struct Unpack {
    Stamp& stamp;
    std::size_t size;
    Values values;

    void operator()(std::size_t i, std::uint64_t word) const noexcept {
        if (i < 2) {
            (i == 0 ? stamp.captured : stamp.published) = time_point(static_cast<std::int64_t>(word));
            return;
        }
        constexpr std::size_t kPerWord = 8 / sizeof(T);  // a word has eight bytes
        T elements[kPerWord];
        std::memcpy(static_cast<void*>(elements), &word, sizeof word);
        const std::size_t first = kPerWord * (i - 2);
        if (first + kPerWord <= size) {  // all words but perhaps the last: without a question for each element
            for (std::size_t k = 0; k < kPerWord; ++k) values(first + k, elements[k]);
        } else {
            for (std::size_t k = 0; first + k < size; ++k) values(first + k, elements[k]);
        }
    }
};

template <class T, class Out>
auto copy_to(std::span<Out> out, Stamp& stamp) noexcept {
    const auto copy = [out](std::size_t i, T value) { out[i] = static_cast<Out>(value); };
    return Unpack<T, decltype(copy)>{stamp, out.size(), copy};
}

/// Linear, in double; integers to the nearest, and those that a double cannot count as they were before.
template <class T, class Out>
Out between(T before, Out after, double weight) noexcept {
    if constexpr (std::is_integral_v<T> && sizeof(T) > 4) {
        return static_cast<Out>(weight < 1 ? static_cast<Out>(before) : after);
    } else {
        const auto first = static_cast<double>(before);
        const double blended = first + (static_cast<double>(after) - first) * weight;
        if constexpr (std::is_integral_v<Out>) return static_cast<Out>(std::nearbyint(blended));
        else return static_cast<Out>(blended);
    }
}

template <class T, class Out>
ProprioSample latest(const Ring& samples, std::span<Out> out) noexcept {
    ProprioSample result{ProprioRead::overrun, {}, 0};
    for (int attempt = 0; attempt < kRingAttempts; ++attempt) {
        const std::uint64_t newest = samples.newest();
        ++result.steps;
        if (newest == 0) {
            std::fill(out.begin(), out.end(), Out{});
            result.how = ProprioRead::empty;
            return result;
        }
        result.steps += static_cast<std::uint32_t>(samples.words()) + 2;
        if (!samples.read(newest, samples.words(), copy_to<T>(out, result.stamp))) continue;
        result.how = ProprioRead::latest;
        result.stamp.sequence = newest;
        return result;
    }
    result.stamp = {};
    return result;
}

/// Walks back from `newest`, looking at capture times only, to the first sample that is not later than `time`: its number and
/// true, or that of the one before the oldest and false.
std::pair<std::uint64_t, bool> last_not_after(const Ring& samples, TimePoint time, std::uint64_t newest,
                                              std::uint32_t& steps) noexcept {
    std::uint64_t sequence = newest - 1;
    const std::uint64_t oldest = samples.oldest(newest);
    for (; sequence >= oldest; --sequence) {
        std::uint64_t captured = 0;
        steps += 3;
        // Refused if the writer has just taken it: then the one after is the oldest.
        if (!samples.read(sequence, 1, [&](std::size_t, std::uint64_t word) { captured = word; })) break;
        if (time_point(static_cast<std::int64_t>(captured)) <= time) return {sequence, true};
    }
    return {sequence, false};
}

template <class T, class Out>
ProprioSample at(const Ring& samples, TimePoint time, std::span<Out> out) noexcept {
    ProprioSample result{ProprioRead::overrun, {}, 0};
    Stamp later, earlier;
    const auto steps_per_copy = static_cast<std::uint32_t>(samples.words()) + 2;
    const auto give = [&](ProprioRead how, std::uint64_t sequence) {
        result.how = how;
        result.stamp = {sequence, later.captured, later.published};
        return result;
    };
    for (int attempt = 0; attempt < kRingAttempts; ++attempt) {
        const std::uint64_t newest = samples.newest();
        ++result.steps;
        if (newest == 0) {
            std::fill(out.begin(), out.end(), Out{});
            result.how = ProprioRead::empty;
            return result;
        }
        result.steps += steps_per_copy;
        if (!samples.read(newest, samples.words(), copy_to<T>(out, later))) continue;
        if (time == later.captured) return give(ProprioRead::latest, newest);
        if (time > later.captured) return give(ProprioRead::after_newest, newest);

        const auto [sequence, found] = last_not_after(samples, time, newest, result.steps);
        result.steps += steps_per_copy;
        if (sequence + 1 != newest && !samples.read(sequence + 1, samples.words(), copy_to<T>(out, later))) continue;
        if (!found) return give(ProprioRead::before_oldest, sequence + 1);
        result.steps += steps_per_copy;
        double weight = 0;
        const auto blend = [&](std::size_t i, T before) {
            if (i == 0) {
                const TimePoint t0 = earlier.captured, t1 = later.captured;
                const auto whole = static_cast<double>(difference(t1, t0).count());
                weight = t1 > t0 ? static_cast<double>(difference(time, t0).count()) / whole : 0.0;
            }
            out[i] = between<T>(before, out[i], weight);
        };
        if (!samples.read(sequence, samples.words(), Unpack<T, decltype(blend)>{earlier, out.size(), blend})) continue;
        result.stamp = {sequence + 1, time, later.published};
        result.how = ProprioRead::interpolated;
        return result;
    }
    return result;
}

template <class T>
std::span<T> elements_of(std::span<std::byte> bytes) noexcept {
    return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
}

__attribute__((noinline)) ProprioSample latest_converted(const Ring& ring, DType type, std::span<float> out) noexcept {
    return with_element(type, [&](auto element) { return latest<decltype(element)>(ring, out); });
}

}  // namespace

std::size_t first_not_finite(DType type, const void* values, std::size_t count) noexcept {
    return with_element(type, [&](auto element) -> std::size_t {
        using T = decltype(element);
        if constexpr (std::is_integral_v<T>) return count;
        for (std::size_t i = 0; i < count; ++i)
            if (!std::isfinite(static_cast<double>(static_cast<const T*>(values)[i]))) return i;
        return count;
    });
}

void to_float32(DType type, const std::byte* values, std::span<float> out) noexcept {
    with_element(type, [&](auto element) {
        using T = decltype(element);
        for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(reinterpret_cast<const T*>(values)[i]);
    });
}

__attribute__((flatten)) ProprioSample read_latest(const Ring& ring, DType type, std::span<float> out) noexcept {
    // What nearly all streams are, without what it takes to be ready for the others, and in one piece: a call is a tenth of
    // what it costs.
    if (type == DType::float32) return latest<float>(ring, out);
    return latest_converted(ring, type, out);
}

ProprioSample read_latest(const Ring& ring, DType type, std::span<std::byte> out) noexcept {
    return with_element(type, [&](auto element) {
        using T = decltype(element);
        return latest<T>(ring, elements_of<T>(out));
    });
}

ProprioSample read_at(const Ring& ring, DType type, TimePoint time, std::span<float> out) noexcept {
    return with_element(type, [&](auto element) { return at<decltype(element)>(ring, time, out); });
}

ProprioSample read_at(const Ring& ring, DType type, TimePoint time, std::span<std::byte> out) noexcept {
    return with_element(type, [&](auto element) {
        using T = decltype(element);
        return at<T>(ring, time, elements_of<T>(out));
    });
}

}  // namespace chiral::detail
