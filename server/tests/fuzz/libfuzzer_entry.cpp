// SPDX-License-Identifier: Apache-2.0
// What libFuzzer calls, for the target that CHIRAL_FUZZ_TARGET names.
#include "properties.hpp"

#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        chiral::fuzz::CHIRAL_FUZZ_TARGET({data, size});
    } catch (const chiral::fuzz::PropertyViolated& violation) {
        std::fprintf(stderr, "%s\n", violation.what());
        std::abort();  // libFuzzer keeps the input
    }
    return 0;
}
