// SPDX-License-Identifier: Apache-2.0
// Writes the seeds of every target, as files for libFuzzer:  write_seeds FOLDER
#include "seeds.hpp"
#include "targets.hpp"

#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <stdexcept>

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: write_seeds FOLDER\n");
        return 2;
    }
    try {
        for (const auto& target : chiral::fuzz::all_targets) {
            const auto folder = std::filesystem::path(argv[1]) / target.name;
            std::filesystem::create_directories(folder);
            for (const auto& [name, bytes] : chiral::fuzz::seeds_of(target.name)) {
                std::ofstream file(folder / name, std::ios::binary);
                file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
                if (!file.flush()) throw std::runtime_error("cannot write " + (folder / name).string());
            }
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "write_seeds: %s\n", error.what());
        return 1;
    }
}
