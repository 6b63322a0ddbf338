// SPDX-License-Identifier: Apache-2.0
// What the engine tests share: numbered payloads, contents of snapshots, a clock that is set by hand.
#pragma once

#include "support/cameras.hpp"
#include "support/waiting.hpp"

#include <chiral/engine.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/syscall.h>
#include <unistd.h>

namespace chiral::test {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
inline constexpr bool kSanitized = __has_feature(thread_sanitizer) || __has_feature(address_sanitizer);
#else
inline constexpr bool kSanitized = false;
#endif

#if defined(CHIRAL_EMULATED)
inline constexpr bool kEmulated = true;
#else
inline constexpr bool kEmulated = false;
#endif

/// `count` in an ordinary build, an eighth of it under a sanitizer or an emulator: every load is bounded in all.
constexpr std::uint64_t load(std::uint64_t count) { return kSanitized || kEmulated ? (count + 7) / 8 : count; }

inline constexpr std::array<Field, 4> kAllFields{Field::image, Field::depth, Field::intrinsics, Field::extrinsics};

inline EngineOptions with_readers(int readers) {
    EngineOptions options;
    options.readers = readers;
    options.verify_pins = true;
    return options;
}

inline TimePoint at_ns(std::int64_t nanoseconds) { return TimePoint(std::chrono::nanoseconds(nanoseconds)); }

// ---- payloads that carry a number in every element ----

/// Writes `number` into all of `bytes`, eight bytes at a time; the last word may be cut.
inline void fill(std::span<std::uint8_t> bytes, std::uint64_t number) {
    std::size_t done = std::min(bytes.size(), sizeof number);
    if (done == 0) return;
    std::memcpy(bytes.data(), &number, done);
    // By doubling: as fast as memcpy, and sanitizers look at whole ranges.
    for (; done < bytes.size(); done *= 2)
        std::memcpy(bytes.data() + done, bytes.data(), std::min(done, bytes.size() - done));
}
template <class T>
void fill(std::span<T> values, T number) {
    for (T& value : values) value = number;
}

/// The number that every element carries, or nothing if they differ.
inline std::optional<std::uint64_t> number_in(std::span<const std::uint8_t> bytes) {
    std::uint64_t number = 0;
    if (bytes.size() <= sizeof number) {
        std::memcpy(&number, bytes.data(), bytes.size());
        return number;
    }
    std::memcpy(&number, bytes.data(), sizeof number);
    // Each word equals the next one: the bytes equal themselves, shifted by a word.
    if (std::memcmp(bytes.data(), bytes.data() + sizeof number, bytes.size() - sizeof number) != 0) return std::nullopt;
    return number;
}
template <class T>
std::optional<std::uint64_t> number_in(std::span<const T> values) {
    if (values.size() > 1 && std::memcmp(values.data(), values.data() + 1, values.size_bytes() - sizeof(T)) != 0)
        return std::nullopt;
    return static_cast<std::uint64_t>(values[0]);
}

inline Eigen::Matrix3d numbered_K(std::uint64_t number) { return Eigen::Matrix3d::Constant(static_cast<double>(number)); }
inline Eigen::Matrix4d numbered_T(std::uint64_t number) { return Eigen::Matrix4d::Constant(static_cast<double>(number)); }

/// Matrices of which every element differs, so that rows and columns cannot be mixed up: 11 12 13 / 21 22 23 / ...
inline Eigen::Matrix3d asymmetric_K(double base = 0) {
    Eigen::Matrix3d K;
    for (int r = 0; r < 3; ++r)
        for (int c = 0; c < 3; ++c) K(r, c) = base + 10 * (r + 1) + c + 1;
    return K;
}
inline Eigen::Matrix4d asymmetric_T(double base = 0) {
    Eigen::Matrix4d T;
    for (int r = 0; r < 4; ++r)
        for (int c = 0; c < 4; ++c) T(r, c) = base + 10 * (r + 1) + c + 1;
    return T;
}

inline std::vector<std::uint8_t> bytes_from(const std::vector<float>& values) {
    std::vector<std::uint8_t> bytes(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

// ---- everything a snapshot says, copied out, to compare before and after ----

struct CameraContents {
    std::vector<std::uint8_t> image;
    std::vector<float> depth;
    std::vector<double> intrinsics;
    std::vector<double> extrinsics;
    std::array<std::uint64_t, 4> sequences{};
    std::array<TimePoint, 4> captured{};
    std::array<TimePoint, 4> published{};
    std::uint64_t version{0};
    bool operator==(const CameraContents&) const = default;
};

struct Contents {
    std::vector<CameraContents> cameras;
    std::vector<std::vector<float>> proprios;
    std::vector<std::uint64_t> proprio_sequences;
    bool operator==(const Contents&) const = default;
};

/// The number in the newest image of a camera.
inline std::optional<std::uint64_t> newest_number(Reader& reader, std::size_t camera = 0) {
    const Snapshot snapshot = reader.snapshot();
    return number_in(snapshot.camera(camera).image());
}

inline CameraContents contents_of(const CameraView& view) {
    CameraContents contents;
    contents.image.assign(view.image().begin(), view.image().end());
    contents.depth.assign(view.depth().begin(), view.depth().end());
    contents.intrinsics.assign(view.intrinsics().begin(), view.intrinsics().end());
    contents.extrinsics.assign(view.extrinsics().begin(), view.extrinsics().end());
    for (const Field field : kAllFields) {
        const Stamp stamp = view.stamp(field);
        contents.sequences[static_cast<std::size_t>(field)] = stamp.sequence;
        contents.captured[static_cast<std::size_t>(field)] = stamp.captured;
        contents.published[static_cast<std::size_t>(field)] = stamp.published;
    }
    contents.version = view.version();
    return contents;
}

inline Contents contents_of(const Snapshot& snapshot) {
    Contents contents;
    for (std::size_t i = 0; i < snapshot.cameras(); ++i) contents.cameras.push_back(contents_of(snapshot.camera(i)));
    for (std::size_t i = 0; i < snapshot.proprios(); ++i) {
        const ProprioView view = snapshot.proprio(i);
        contents.proprios.emplace_back(view.values().begin(), view.values().end());
        contents.proprio_sequences.push_back(view.sequence());
    }
    return contents;
}

inline Contents contents_of(Reader& reader) { return contents_of(reader.snapshot()); }

// ---- time and threads ----

/// A clock that moves only when told to. One per process: EngineOptions::now is a plain function.
struct HandClock {
    static TimePoint now() noexcept { return at_ns(nanoseconds.load(std::memory_order_relaxed)); }
    static void set(TimePoint time) noexcept {
        nanoseconds.store(time.time_since_epoch().count(), std::memory_order_relaxed);
    }
    static void advance(Duration by) noexcept { nanoseconds.fetch_add(by.count(), std::memory_order_relaxed); }

private:
    static inline std::atomic<std::int64_t> nanoseconds{0};
};

inline long thread_id() { return syscall(SYS_gettid); }

/// State letter of a thread of this process as proc(5) shows it: 'S' while it sleeps; 0 once it is gone.
inline char thread_state(long tid) {
    std::ifstream file("/proc/self/task/" + std::to_string(tid) + "/stat");
    std::string line;
    std::getline(file, line);
    const std::size_t name_end = line.rfind(')');
    return name_end == std::string::npos || name_end + 2 >= line.size() ? '\0' : line[name_end + 2];
}

}  // namespace chiral::test
