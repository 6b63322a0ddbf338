// SPDX-License-Identifier: Apache-2.0
// Options as Python gives them: dicts whose keys are the names of the C++ fields, with times in seconds.
#pragma once

#include "interpreter.hpp"

#include <chiral/client.hpp>
#include <chiral/options.hpp>

#include <chrono>

namespace chiral::python {

/// Seconds as a Duration; anything beyond a year is as good as for ever.
inline Duration to_duration(double seconds) {
    constexpr double longest = 365.0 * 24 * 3600;
    if (!(seconds >= -longest)) throw nb::value_error("a time in seconds is not a number");
    if (seconds > longest) return Duration::max();
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

/// Both throw TypeError for a name that is not known and for a value of the wrong type.
ServerOptions server_options(const nb::dict& options);
ClientOptions client_options(const nb::dict& options);

}  // namespace chiral::python
