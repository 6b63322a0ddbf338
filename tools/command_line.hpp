// SPDX-License-Identifier: Apache-2.0
// What the command lines of all programs here have in common: exit codes, --version, and how a mistake is told.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace chiral::tools {

enum ExitCode : int {
    kOk = 0,             ///< done, and all that was checked held
    kFailed = 1,         ///< it could not be done, or something that was checked did not hold
    kUsage = 2,          ///< the command line is wrong; nothing was begun
    kInterrupted = 130,  ///< a signal came before it was done; nothing was wrong until then
};

/// The codes as --help tells them.
inline constexpr const char* exit_codes =
    "Exit code: 0 good, 1 failed, 2 wrong usage, 130 interrupted (Ctrl-C) with nothing wrong until then.";

/// Parses the command line with --version added. Empty: go on. Otherwise the program ends with this code, and what there is to
/// say has been said: help or version on standard output, or on standard error what is wrong, and which option may have
/// been meant.
std::optional<int> parse_command_line(CLI::App& app, int argc, const char* const* argv);

/// A mistake that the parser cannot see: prints "PROGRAM: MESSAGE" and where help is. Returns kUsage.
int wrong_usage(std::string_view program, std::string_view message);

/// "; did you mean 'mutex'?", or nothing if none of the known words is near.
std::string did_you_mean(std::string_view given, const std::vector<std::string>& known);

}  // namespace chiral::tools
