// SPDX-License-Identifier: Apache-2.0
// Runs chiral-stress as a user does.
#pragma once

#include <nlohmann/json.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace chiral::stress::test {

struct Outcome {
    int exit_code{-1};
    std::string output;  // both streams
};

inline Outcome shell(const std::string& command) {
    Outcome outcome;
    std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
    if (!pipe) return outcome;
    char buffer[4096];
    while (const std::size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) outcome.output.append(buffer, n);
    const int status = ::pclose(pipe);
    outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return outcome;
}

inline Outcome stress(const std::string& options) { return shell(std::string(CHIRAL_STRESS) + " " + options); }

class TemporaryFile {
public:
    TemporaryFile()
        : path_(std::filesystem::temp_directory_path() / ("chiral-stress-" + std::to_string(::getpid()) + ".json")) {}
    ~TemporaryFile() {
        std::error_code ignored;
        std::filesystem::remove(path_, ignored);
    }
    std::string path() const { return path_.string(); }

private:
    std::filesystem::path path_;
};

/// A run with its JSON.
struct ShortRun {
    Outcome outcome;
    nlohmann::json json;
};

inline ShortRun run_with_json(const std::string& options) {
    const TemporaryFile file;
    ShortRun run{stress("--json " + file.path() + " " + options), {}};
    std::ifstream(file.path()) >> run.json;
    return run;
}

}  // namespace chiral::stress::test
