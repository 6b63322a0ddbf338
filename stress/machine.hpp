// SPDX-License-Identifier: Apache-2.0
// Where and with what a run was made, for whoever reads its figures later.
#pragma once

#include <string>

namespace chiral::stress {

struct Machine {
    std::string cpu;
    int cores{0};
    std::string kernel;
    std::string preemption;  ///< "PREEMPT_RT", "PREEMPT_DYNAMIC", ... as the kernel names its model; "none" if it names none
    std::string compiler;
    std::string build;   ///< CMake build type and sanitizers
    std::string commit;  ///< as of the last configuration; empty if unknown
};

Machine this_machine();

}  // namespace chiral::stress
