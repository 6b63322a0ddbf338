// SPDX-License-Identifier: Apache-2.0
// chiral-stress: proves no tearing and no stalls, or shows where they are. See --help.
#include "command_line.hpp"
#include "options.hpp"
#include "report.hpp"
#include "run.hpp"
#include "verdict.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

namespace {

using chiral::tools::kFailed;
using chiral::tools::kInterrupted;
using chiral::tools::kOk;
using chiral::tools::kUsage;

int run_and_report(const chiral::stress::Options& options) {
    using namespace chiral::stress;
    fmt::print("{}", describe(options));
    std::fflush(stdout);
    const RunResult result = run(options);
    const Verdict verdict = judge(options, result);
    fmt::print("{}", table(options, result, verdict));
    int code = !verdict.pass() ? kFailed : result.interrupted ? kInterrupted : kOk;
    if (!options.json.empty()) {
        try {
            write_file(options.json, json(options, result, verdict));
        } catch (const std::exception& error) {
            fmt::print(stderr, "chiral-stress: {}\n", error.what());
            code = kFailed;
        }
    }
    if (std::fflush(stdout) != 0) {
        std::perror("chiral-stress: cannot write the table");
        code = kFailed;
    }
    // Whoever waits for stuck threads is stuck.
    if (result.stuck) std::_Exit(code);
    return code;
}

}  // namespace

int main(int argc, char** argv) {
    int exit_code = kUsage;
    const auto options = chiral::stress::parse_options(argc, argv, exit_code);
    if (!options) return exit_code;
    try {
        if (!options->json.empty()) chiral::stress::require_writable(options->json);
    } catch (const std::exception& error) {
        fmt::print(stderr, "chiral-stress: --json: {}\n", error.what());
        return kUsage;
    }
    try {
        return run_and_report(*options);
    } catch (const std::exception& error) {
        fmt::print(stderr, "chiral-stress: {}\n", error.what());
        return kFailed;
    }
}
