// SPDX-License-Identifier: Apache-2.0
// chiral-stress: proves no tearing and no stalls, or shows where they are. See --help.
#include "options.hpp"
#include "report.hpp"
#include "run.hpp"
#include "verdict.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

namespace {

constexpr int kPass = 0;
constexpr int kFail = 1;
constexpr int kUsage = 2;
constexpr int kInterrupted = 130;

int run_and_report(const chiral::stress::Options& options) {
    using namespace chiral::stress;
    fmt::print("{}", describe(options));
    std::fflush(stdout);
    const RunResult result = run(options);
    const Verdict verdict = judge(options, result);
    fmt::print("{}", table(options, result, verdict));
    int code = !verdict.pass() ? kFail : result.interrupted ? kInterrupted : kPass;
    if (!options.json.empty()) {
        try {
            write_file(options.json, json(options, result, verdict));
        } catch (const std::exception& error) {
            fmt::print(stderr, "chiral-stress: {}\n", error.what());
            code = kFail;
        }
    }
    if (std::fflush(stdout) != 0) {
        std::perror("chiral-stress: cannot write the table");
        code = kFail;
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
        return kFail;
    }
}
