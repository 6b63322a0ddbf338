// SPDX-License-Identifier: Apache-2.0
#include "frame_pattern.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace chiral::stress {
namespace {

constexpr std::uint64_t kPositionStep = 0x9e3779b97f4a7c15u;
constexpr std::uint64_t kFloatNumbers = std::uint64_t{1} << 24;  // a float counts exactly up to here
constexpr std::uint64_t kMostFrames = std::uint64_t{1} << 40;    // leaves a double the 13 bits of kMatrixUnit and the camera
constexpr double kMatrixUnit = 1.0 / 4096.0;

// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) and its inverse: neighbouring numbers differ in about half of
// all bits, and no two numbers give the same word.
constexpr std::uint64_t mix(std::uint64_t x) noexcept {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}
constexpr std::uint64_t unmix(std::uint64_t x) noexcept {
    x = (x ^ (x >> 31) ^ (x >> 62)) * 0x319642b2d24d8ec3u;
    x = (x ^ (x >> 27) ^ (x >> 54)) * 0x96de1b173f119089u;
    return x ^ (x >> 30) ^ (x >> 60);
}
static_assert(unmix(mix(0x0123456789abcdefu)) == 0x0123456789abcdefu);

constexpr std::uint64_t image_seed(std::uint64_t number, std::size_t camera) noexcept {
    return mix(number << 8 | (camera & 0xff));
}

std::uint64_t load(const std::uint8_t* at, std::size_t bytes = sizeof(std::uint64_t)) noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, at, bytes);
    return word;
}

std::optional<std::uint64_t> decode_unit(std::uint64_t word, std::size_t unit, std::size_t camera) noexcept {
    const std::uint64_t plain = unmix(word - unit * kPositionStep);
    if ((plain & 0xff) != (camera & 0xff) || plain >> 8 >= kMostFrames) return std::nullopt;
    return plain >> 8;
}

// The number congruent to `low` modulo `numbers`, a power of two, that is nearest to `about`.
std::uint64_t nearest(std::uint64_t low, std::uint64_t about, std::uint64_t numbers = kFloatNumbers) noexcept {
    const std::uint64_t up = (low - about) & (numbers - 1);
    const std::uint64_t down = (about - low) & (numbers - 1);
    return up <= down || down > about ? about + up : about - down;
}

std::optional<std::uint64_t> decode_float(float value, std::uint64_t about, std::uint64_t offset) noexcept {
    if (!(value >= 0.f) || value >= static_cast<float>(kFloatNumbers) || value != std::floor(value)) return std::nullopt;
    return nearest((static_cast<std::uint64_t>(value) - offset) & (kFloatNumbers - 1), about);
}

constexpr std::uint64_t proprio_offset(std::size_t element, std::size_t stream) noexcept {
    return element * 7919 + stream * 1000003;
}

float proprio_value(std::uint64_t number, std::size_t element, std::size_t stream) noexcept {
    return static_cast<float>((number + proprio_offset(element, stream)) & (kFloatNumbers - 1));
}

// How far an element of this type counts exactly.
constexpr std::uint64_t numbers_of(DType type) noexcept {
    switch (type) {
        case DType::boolean: return 2;
        case DType::uint8:
        case DType::int8: return 1 << 8;
        case DType::uint16:
        case DType::int16: return 1 << 16;
        case DType::float16: return 1 << 11;
        default: return kFloatNumbers;
    }
}

// The element that is this number, as its bits.
std::uint64_t depth_bits(DType type, std::uint64_t number) noexcept {
    const std::uint64_t low = number & (numbers_of(type) - 1);
    switch (type) {
        case DType::float16: {  // IEEE 754 binary16: 5 bits of exponent, biased by 15, and 10 of fraction
            if (low == 0) return 0;
            const auto exponent = static_cast<unsigned>(std::bit_width(low)) - 1;
            return (exponent + 15) << 10 | ((low << (10 - exponent)) & 0x3ff);
        }
        case DType::float32: return std::bit_cast<std::uint32_t>(static_cast<float>(low));
        case DType::float64: return std::bit_cast<std::uint64_t>(static_cast<double>(low));
        default: return low;
    }
}

std::optional<std::uint64_t> decode_depth(DType type, std::uint64_t bits, std::uint64_t about) noexcept {
    double value = static_cast<double>(bits);
    if (type == DType::float16)
        value = std::ldexp(1024.0 + static_cast<double>(bits & 0x3ff), static_cast<int>(bits >> 10) - 25);
    if (type == DType::float32) value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (type == DType::float64) value = std::bit_cast<double>(bits);
    if (bits == 0) value = 0;
    if (!(value >= 0 && value < static_cast<double>(numbers_of(type)))) return std::nullopt;
    const auto low = static_cast<std::uint64_t>(value);
    return depth_bits(type, low) == bits ? std::optional(nearest(low, about, numbers_of(type))) : std::nullopt;
}

double matrix_value(std::uint64_t number, std::size_t element, std::size_t camera) noexcept {
    return static_cast<double>(number) + static_cast<double>(element + 16 * (camera & 0xff)) * kMatrixUnit;
}

Difference image_difference(std::span<const std::uint8_t> image, std::uint64_t seed, std::size_t unit,
                            std::size_t camera) noexcept {
    const std::size_t bytes = std::min<std::size_t>(8, image.size() - unit * 8);
    const std::uint64_t word = load(image.data() + unit * 8, bytes);
    const std::uint64_t wrong = word ^ (seed + unit * kPositionStep);
    const auto byte = static_cast<std::size_t>(std::countr_zero(wrong)) / 8;
    return {unit * 8 + byte, bytes == 8 ? decode_unit(word, unit, camera) : std::nullopt};
}

bool unit_differs(std::span<const std::uint8_t> image, std::uint64_t seed, std::size_t unit) noexcept {
    const std::size_t bytes = std::min<std::size_t>(8, image.size() - unit * 8);
    std::uint64_t wrong = load(image.data() + unit * 8, bytes) ^ (seed + unit * kPositionStep);
    if (bytes < 8) wrong &= (std::uint64_t{1} << (8 * bytes)) - 1;
    return wrong != 0;
}

}  // namespace

void fill_image(std::span<std::uint8_t> image, std::uint64_t number, std::size_t camera) noexcept {
    const std::uint64_t seed = image_seed(number, camera);
    const std::size_t whole = image.size() / 8;
    std::uint8_t* const to = image.data();
    for (std::size_t unit = 0; unit < whole; ++unit) {
        const std::uint64_t word = seed + unit * kPositionStep;
        std::memcpy(to + unit * 8, &word, sizeof word);
    }
    const std::uint64_t last = seed + whole * kPositionStep;
    std::memcpy(to + whole * 8, &last, image.size() % 8);
}

void fill_depth(std::span<std::uint8_t> depth, DType type, std::uint64_t number) noexcept {
    if (depth.empty()) return;
    const std::uint64_t bits = depth_bits(type, number);
    std::size_t done = size_of(type);
    std::memcpy(depth.data(), &bits, done);
    for (; done < depth.size(); done *= 2)  // by doubling
        std::memcpy(depth.data() + done, depth.data(), std::min(done, depth.size() - done));
}

void fill_matrix(std::span<double> matrix, std::uint64_t number, std::size_t camera) noexcept {
    for (std::size_t i = 0; i < matrix.size(); ++i) matrix[i] = matrix_value(number, i, camera);
}

void fill_proprio(std::span<float> values, std::uint64_t number, std::size_t stream) noexcept {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = proprio_value(number, i, stream);
}

std::optional<std::uint64_t> image_number(std::span<const std::uint8_t> image, std::size_t camera) noexcept {
    if (image.size() < 8) return std::nullopt;
    return decode_unit(load(image.data()), 0, camera);
}

std::optional<std::uint64_t> depth_number(std::span<const std::uint8_t> depth, DType type, std::uint64_t about) noexcept {
    if (depth.size() < size_of(type)) return std::nullopt;
    return decode_depth(type, load(depth.data(), size_of(type)), about);
}

std::optional<std::uint64_t> matrix_number(std::span<const double> matrix, std::size_t camera) noexcept {
    if (matrix.empty()) return std::nullopt;
    const double number = matrix[0] - matrix_value(0, 0, camera);
    if (!(number >= 0.0) || number >= static_cast<double>(kMostFrames) || number != std::floor(number)) return std::nullopt;
    return static_cast<std::uint64_t>(number);
}

std::optional<std::uint64_t> proprio_number(std::span<const float> values, std::uint64_t about,
                                            std::size_t stream) noexcept {
    if (values.empty()) return std::nullopt;
    return decode_float(values[0], about, proprio_offset(0, stream));
}

std::optional<Difference> check_image(std::span<const std::uint8_t> image, std::uint64_t number, std::size_t camera,
                                      Coverage coverage) noexcept {
    const std::uint64_t seed = image_seed(number, camera);
    const std::size_t units = image_units(image.size());
    std::size_t unit = coverage.first;
    if (coverage.stride == 1) {
        // No branch within a block, so that the compiler makes vector code of it.
        constexpr std::size_t kBlock = 512;
        for (; unit + kBlock <= image.size() / 8; unit += kBlock) {
            std::uint64_t wrong = 0;
            for (std::size_t i = 0; i < kBlock; ++i)
                wrong |= load(image.data() + (unit + i) * 8) ^ (seed + (unit + i) * kPositionStep);
            if (wrong) break;
        }
    }
    for (; unit < units; unit += coverage.stride) {
        if (unit_differs(image, seed, unit)) return image_difference(image, seed, unit, camera);
        if (coverage.stride == 0) break;
    }
    return std::nullopt;
}

std::optional<Difference> check_depth(std::span<const std::uint8_t> depth, DType type, std::uint64_t number,
                                      Coverage coverage) noexcept {
    const std::size_t size = size_of(type);
    const std::size_t elements = depth.size() / size;
    const std::uint64_t expected = depth_bits(type, number);
    std::size_t i = coverage.first;
    if (coverage.stride == 1) {
        // Units of 8 bytes, which hold whole elements. No branch within a block, so that the compiler makes vector code of it.
        std::uint64_t unit = expected;
        for (std::size_t bytes = size; bytes < sizeof unit; bytes *= 2) unit |= unit << (8 * bytes);
        constexpr std::size_t kBlock = 512;
        const std::size_t per_block = kBlock * sizeof unit / size;
        for (i = 0; i + per_block <= elements; i += per_block) {
            std::uint64_t wrong = 0;
            for (std::size_t j = 0; j < kBlock; ++j) wrong |= load(depth.data() + i * size + j * sizeof unit) ^ unit;
            if (wrong) break;
        }
    }
    for (; i < elements; i += coverage.stride) {
        const std::uint64_t bits = load(depth.data() + i * size, size);
        if (bits != expected) return Difference{i, decode_depth(type, bits, number)};
        if (coverage.stride == 0) break;
    }
    return std::nullopt;
}

std::optional<Difference> check_matrix(std::span<const double> matrix, std::uint64_t number, std::size_t camera) noexcept {
    for (std::size_t i = 0; i < matrix.size(); ++i)
        if (std::bit_cast<std::uint64_t>(matrix[i]) != std::bit_cast<std::uint64_t>(matrix_value(number, i, camera))) {
            const double shifted = matrix[i] - matrix_value(0, i, camera);
            return Difference{i, matrix_number({&shifted, 1}, 0)};
        }
    return std::nullopt;
}

std::optional<Difference> check_proprio(std::span<const float> values, std::uint64_t number, std::size_t stream) noexcept {
    for (std::size_t i = 0; i < values.size(); ++i)
        if (std::bit_cast<std::uint32_t>(values[i]) != std::bit_cast<std::uint32_t>(proprio_value(number, i, stream)))
            return Difference{i, decode_float(values[i], number, proprio_offset(i, stream))};
    return std::nullopt;
}

// A time is a count of 100 us blocks, plus the number in steps of 100 ns.
std::chrono::nanoseconds tag_time(std::chrono::nanoseconds now, std::uint64_t number,
                                  std::chrono::nanoseconds previous) noexcept {
    constexpr std::int64_t kBlock = 100'000;
    const auto tag = static_cast<std::int64_t>(number % 1000) * 100;
    const std::int64_t tagged = (now.count() / kBlock - 1) * kBlock + tag;  // a block back: never in the future
    if (tagged > previous.count()) return std::chrono::nanoseconds(tagged);
    return std::chrono::nanoseconds((previous.count() / kBlock + 1) * kBlock + tag);
}

bool time_carries(std::chrono::nanoseconds time, std::uint64_t number) noexcept {
    const std::int64_t step = (time.count() + 50) / 100;
    const std::int64_t off = time.count() - step * 100;
    return off >= -40 && off <= 40 && step % 1000 == static_cast<std::int64_t>(number % 1000);
}

}  // namespace chiral::stress
