// SPDX-License-Identifier: Apache-2.0
#include "imaging/resample.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace chiral::imaging {

namespace {

// Weights sum to 1 << 22; times 255 that leaves a bit for the sign of a 32-bit sum.
constexpr int fraction_bits = 22;
constexpr std::int32_t half = 1 << (fraction_bits - 1);

std::uint8_t level(std::int32_t sum) noexcept { return static_cast<std::uint8_t>(std::clamp(sum >> fraction_bits, 0, 255)); }

// Scales one row across. The number of channels is a constant here, so that their sums stay in registers.
template <int Channels, class Taps>
void scale_row(const std::uint8_t* row, const std::vector<Taps>& taps, const std::int32_t* weights, std::uint8_t* out) {
    for (const Taps& at : taps) {
        const std::uint8_t* pixel = row + static_cast<std::size_t>(at.first) * Channels;
        const std::int32_t* weight = weights + at.weights;
        std::int32_t sums[Channels];
        std::fill_n(sums, Channels, half);
        for (int i = 0; i < at.count; ++i, pixel += Channels)
            for (int c = 0; c < Channels; ++c) sums[c] += pixel[c] * weight[i];
        for (int c = 0; c < Channels; ++c) *out++ = level(sums[c]);
    }
}

template <class Taps>
void scale_row(const std::uint8_t* row, int channels, const std::vector<Taps>& taps, const std::int32_t* weights,
               std::uint8_t* out) {
    for (const Taps& at : taps)
        for (int c = 0; c < channels; ++c) {
            const std::uint8_t* sample = row + static_cast<std::size_t>(at.first) * channels + c;
            std::int32_t sum = half;
            for (int i = 0; i < at.count; ++i, sample += channels) sum += *sample * weights[at.weights + i];
            *out++ = level(sum);
        }
}

}  // namespace

// The filter is a triangle of width 2 in pixels of the result, or of the source if those are larger.
void Resampler::Axis::prepare(double begin, double extent, int source, int result) {
    taps.clear();
    weights.clear();
    const double scale = extent / result;
    const double support = std::max(scale, 1.0);
    std::vector<double> real;
    for (int i = 0; i < result; ++i) {
        const double centre = begin + (i + 0.5) * scale;
        const int first = std::max(0, static_cast<int>(centre - support + 0.5));
        const int end = std::min(source, static_cast<int>(centre + support + 0.5));
        real.clear();
        double sum = 0;
        for (int sample = first; sample < end; ++sample) {
            real.push_back(std::max(0.0, 1.0 - std::abs((sample - centre + 0.5) / support)));
            sum += real.back();
        }
        taps.push_back({first, end - first, weights.size()});
        for (const double weight : real)
            weights.push_back(static_cast<std::int32_t>(std::lround(weight / sum * (1 << fraction_bits))));
    }
}

void Resampler::image(const std::uint8_t* source, ImageSize camera, int channels, const Placement& placement,
                      std::uint8_t* out) {
    const std::size_t pixel = static_cast<std::size_t>(channels);
    if (placement.identity(camera)) {
        std::memcpy(out, source, pixel * camera.height * camera.width);
        return;
    }
    const Box& box = placement.source;
    const std::vector<double> wanted{box.top,
                                     box.left,
                                     box.height,
                                     box.width,
                                     double(camera.height),
                                     double(camera.width),
                                     double(placement.scaled.height),
                                     double(placement.scaled.width)};
    if (prepared_ != wanted) {
        x_.prepare(box.left, box.width, camera.width, placement.scaled.width);
        y_.prepare(box.top, box.height, camera.height, placement.scaled.height);
        prepared_ = wanted;
    }
    if (placement.scaled != placement.size) std::memset(out, 0, pixel * placement.size.height * placement.size.width);
    const int first_row = y_.taps.front().first;
    const int end_row = y_.taps.back().first + y_.taps.back().count;
    across(source, camera.width, channels, first_row, end_row - first_row);
    down(channels, first_row, placement, out);
}

void Resampler::across(const std::uint8_t* source, int width, int channels, int first_row, int rows) {
    const std::size_t source_stride = static_cast<std::size_t>(width) * channels;
    const std::size_t stride = x_.taps.size() * channels;
    narrowed_.resize(stride * rows);
    for (int row = 0; row < rows; ++row) {
        const std::uint8_t* from = source + (first_row + row) * source_stride;
        std::uint8_t* to = narrowed_.data() + row * stride;
        switch (channels) {
            case 1: scale_row<1>(from, x_.taps, x_.weights.data(), to); break;
            case 3: scale_row<3>(from, x_.taps, x_.weights.data(), to); break;
            case 4: scale_row<4>(from, x_.taps, x_.weights.data(), to); break;
            default: scale_row(from, channels, x_.taps, x_.weights.data(), to);
        }
    }
}

void Resampler::down(int channels, int first_row, const Placement& placement, std::uint8_t* out) {
    const std::size_t stride = x_.taps.size() * channels;
    const std::size_t out_stride = static_cast<std::size_t>(placement.size.width) * channels;
    out += placement.top * out_stride + static_cast<std::size_t>(placement.left) * channels;
    sums_.resize(stride);
    for (const Axis::Taps& at : y_.taps) {
        std::int32_t* sums = sums_.data();
        std::fill_n(sums, stride, half);
        for (int i = 0; i < at.count; ++i) {  // row by row: the inner loop has no end in sight and is vectorised
            const std::int32_t weight = y_.weights[at.weights + i];
            const std::uint8_t* row = narrowed_.data() + (at.first - first_row + i) * stride;
            for (std::size_t x = 0; x < stride; ++x) sums[x] += row[x] * weight;
        }
        for (std::size_t x = 0; x < stride; ++x) out[x] = level(sums[x]);
        out += out_stride;
    }
}

void Resampler::depth(const float* source, ImageSize camera, const Placement& placement, float* out) {
    const auto pixels = [](ImageSize size) { return static_cast<std::size_t>(size.height) * size.width; };
    if (placement.identity(camera)) {
        std::memcpy(out, source, pixels(camera) * sizeof(float));
        return;
    }
    if (placement.scaled != placement.size) std::fill_n(out, pixels(placement.size), 0.f);
    const auto nearest = [](int i, double begin, double extent, int scaled, int limit) {
        return std::clamp(static_cast<int>(std::floor(begin + (i + 0.5) * extent / scaled)), 0, limit - 1);
    };
    const Box& box = placement.source;
    columns_.resize(placement.scaled.width);
    for (int x = 0; x < placement.scaled.width; ++x)
        columns_[x] = nearest(x, box.left, box.width, placement.scaled.width, camera.width);
    for (int y = 0; y < placement.scaled.height; ++y) {
        const int row = nearest(y, box.top, box.height, placement.scaled.height, camera.height);
        const float* from = source + static_cast<std::size_t>(row) * camera.width;
        float* to = out + static_cast<std::size_t>(placement.top + y) * placement.size.width + placement.left;
        for (int x = 0; x < placement.scaled.width; ++x) to[x] = from[columns_[x]];
    }
}

}  // namespace chiral::imaging
