// SPDX-License-Identifier: Apache-2.0
// Every call of the engine that must neither allocate nor lock nor call the system, many times over.
#pragma once

#include <chiral/engine.hpp>

#include <cstdint>

namespace chiral::test {

/// Two cameras and three streams, with `readers` readers.
struct Subject {
    explicit Subject(int readers = 2, TimePoint (*now)() noexcept = nullptr);
    Engine engine;
    Reader reader;
};

/// What a round consists of. Successful calls and refused ones: an error must cost no more.
enum class Work { updates, frames, proprios, snapshots, reads, errors, waits_that_do_not_sleep, everything };
inline constexpr Work kAllWork[] = {
    Work::updates,   Work::frames, Work::proprios, Work::snapshots, Work::reads, Work::errors, Work::waits_that_do_not_sleep,
    Work::everything};
const char* to_string(Work work) noexcept;

/// Does it and returns how many results were not as expected. Uses nothing but the engine and the stack.
std::uint64_t run(Subject& subject, Work work, std::uint64_t rounds) noexcept;

}  // namespace chiral::test
