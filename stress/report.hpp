// SPDX-License-Identifier: Apache-2.0
// The verdict for people and for programs.
#pragma once

#include "options.hpp"
#include "run.hpp"
#include "verdict.hpp"

#include <string>

namespace chiral::stress {

/// The line before the run: what is about to happen.
std::string describe(const Options& options);
/// The table after it, a line per promise, and the final "verdict: ..." line.
std::string table(const Options& options, const RunResult& result, const Verdict& verdict);
std::string json(const Options& options, const RunResult& result, const Verdict& verdict);

/// Throws std::runtime_error that names the file and the reason if it cannot be written, leaving its content as it is.
void require_writable(const std::string& path);
/// Throws std::runtime_error that names the file and the reason, also for a full disk.
void write_file(const std::string& path, const std::string& content);

}  // namespace chiral::stress
