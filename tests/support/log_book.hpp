// SPDX-License-Identifier: Apache-2.0
// What was logged, to be waited for and counted.
#pragma once

#include "support/waiting.hpp"

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace chiral::test {

class LogBook {
public:
    std::function<void(const std::string&)> sink() {
        return [this](const std::string& line) { lines_.change([&](auto& lines) { lines.push_back(line); }); };
    }
    [[nodiscard]] bool wait_for(const std::string& part) const {
        return lines_.wait([&](const auto& lines) { return count_in(lines, part) > 0; });
    }
    /// Waits until so many lines have been written.
    [[nodiscard]] bool wait_for_lines(std::size_t lines) const {
        return lines_.wait([&](const auto& written) { return written.size() >= lines; });
    }
    std::size_t count(const std::string& part) const { return count_in(lines_.get(), part); }
    std::vector<std::string> lines() const { return lines_.get(); }

private:
    static std::size_t count_in(const std::vector<std::string>& lines, const std::string& part) {
        std::size_t found = 0;
        for (const std::string& line : lines) found += line.find(part) != std::string::npos;
        return found;
    }
    Watched<std::vector<std::string>> lines_;
};

}  // namespace chiral::test
