// SPDX-License-Identifier: Apache-2.0
// Where the lines of a client go: few, and said by threads that nobody waits for. A server has chiral::Log.
#pragma once

#include "net/standard_descriptors.hpp"

#include <cstdio>
#include <functional>
#include <string>
#include <utility>

#include <unistd.h>

namespace chiral::client {

using LogLine = std::function<void(const std::string&)>;

/// The user's log, which may throw without ending the thread that has something to say; stderr where there is none.
inline LogLine guarded_log(LogLine log) {
    if (!log)
        return [](const std::string& line) {
            if (net::was_open(STDERR_FILENO)) std::fprintf(stderr, "chiral: %s\n", line.c_str());
        };
    return [log = std::move(log)](const std::string& line) {
        try {
            log(line);
        } catch (...) {  // what a log cannot take must not end a thread
        }
    };
}

}  // namespace chiral::client
