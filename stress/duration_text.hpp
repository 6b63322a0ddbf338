// SPDX-License-Identifier: Apache-2.0
// Durations for people.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <string>

namespace chiral::stress {

/// Three digits and the unit that fits: "412 us", "1.05 ms".
inline std::string text(std::chrono::nanoseconds value) {
    const auto us = static_cast<double>(value.count()) / 1e3;
    if (us < 999.5) return fmt::format("{:.3g} us", us);
    if (us < 999.5e3) return fmt::format("{:.3g} ms", us / 1e3);
    return fmt::format("{:.4g} s", us / 1e6);
}

}  // namespace chiral::stress
