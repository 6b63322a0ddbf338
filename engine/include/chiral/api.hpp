// SPDX-License-Identifier: Apache-2.0
// What every public header begins with: the language that they need, and what a shared library shows of itself.
#pragma once

#if !(defined(_MSVC_LANG) && _MSVC_LANG >= 202002L) && __cplusplus < 202002L
#error "chiral needs C++20: set CXX_STANDARD 20 for your target, or compile with -std=c++20"
#endif

/// Marks what libraries of this project offer. All else stays hidden in a shared library (BUILD_SHARED_LIBS).
#if defined(__GNUC__)
#define CHIRAL_API __attribute__((visibility("default")))
#else
#define CHIRAL_API
#endif
