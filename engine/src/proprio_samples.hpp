// SPDX-License-Identifier: Apache-2.0
// Samples of streams as they lie in a ring: words of eight bytes, and what their elements are.
#pragma once

#include <chiral/core/sample_ring.hpp>
#include <chiral/dtype.hpp>
#include <chiral/snapshot.hpp>

#include <Eigen/Core>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace chiral::detail {

/// Calls `use` with an element of this type, and returns what that returns.
template <class Use>
auto with_element(DType type, Use use) {
    switch (type) {
        case DType::boolean:
        case DType::uint8: return use(std::uint8_t{});
        case DType::int8: return use(std::int8_t{});
        case DType::uint16: return use(std::uint16_t{});
        case DType::int16: return use(std::int16_t{});
        case DType::uint32: return use(std::uint32_t{});
        case DType::int32: return use(std::int32_t{});
        case DType::uint64: return use(std::uint64_t{});
        case DType::int64: return use(std::int64_t{});
        case DType::float16: return use(Eigen::half{});
        case DType::float32: break;
        case DType::float64: return use(double{});
    }
    return use(float{});
}

/// Index of the first element that is NaN or infinite, or `count`.
std::size_t first_not_finite(DType type, const void* values, std::size_t count) noexcept;

/// As many elements as `out` has.
void to_float32(DType type, const std::byte* values, std::span<float> out) noexcept;

/// A proprio sample as it was read.
struct ProprioSample {
    ProprioRead how{ProprioRead::empty};
    Stamp stamp;
    std::uint32_t steps{0};
};

inline constexpr int kRingAttempts = 4;  // a reader gives up when the writer laps the ring in each of them

/// The newest sample, and the one at a time. Values go to `out` as float32, or, from those that take bytes, as they are.
ProprioSample read_latest(const core::SampleRing<core::StdAtomics>& ring, DType type, std::span<float> out) noexcept;
ProprioSample read_latest(const core::SampleRing<core::StdAtomics>& ring, DType type, std::span<std::byte> out) noexcept;
ProprioSample read_at(const core::SampleRing<core::StdAtomics>& ring, DType type, TimePoint time,
                      std::span<float> out) noexcept;
ProprioSample read_at(const core::SampleRing<core::StdAtomics>& ring, DType type, TimePoint time,
                      std::span<std::byte> out) noexcept;

}  // namespace chiral::detail
