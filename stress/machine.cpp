// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include <sys/utsname.h>

#include <fstream>
#include <string_view>
#include <thread>

namespace chiral::stress {
namespace {

std::string cpu_model() {
    std::ifstream cpuinfo("/proc/cpuinfo");
    for (std::string line; std::getline(cpuinfo, line);)
        if (line.starts_with("model name"))
            if (const auto colon = line.find(": "); colon != std::string::npos) return line.substr(colon + 2);
    return "unknown";
}

// "#1 SMP PREEMPT_RT Debian 6.1.55-1" names it among other words.
std::string preemption_model(std::string_view version) {
    const auto first = version.find("PREEMPT");
    if (first == std::string_view::npos) return "none";
    return std::string(version.substr(first, version.find(' ', first) - first));
}

}  // namespace

Machine this_machine() {
    Machine machine;
    machine.cpu = cpu_model();
    machine.cores = static_cast<int>(std::thread::hardware_concurrency());
    utsname name{};
    if (::uname(&name) == 0) {
        machine.kernel = std::string(name.sysname) + " " + name.release;
        machine.preemption = preemption_model(name.version);
    }
#ifdef __clang__
    machine.compiler = __VERSION__;
#else
    machine.compiler = "GCC " __VERSION__;
#endif
    machine.build = CHIRAL_STRESS_BUILD;
    machine.commit = CHIRAL_STRESS_COMMIT;
    return machine;
}

}  // namespace chiral::stress
